package debug_test

import (
	"log"
	"net/http"

	"lsmdb/db"
	"lsmdb/db/debug"
)

// A program mounts the page on an address that only its operators reach.
func ExampleHandler() {
	d, err := db.Open("/var/lib/myprogram/data", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	http.Handle("/debug/lsmdb/", http.StripPrefix("/debug/lsmdb", debug.Handler(d)))
	log.Print(http.ListenAndServe("127.0.0.1:6060", nil))
}
