package attach_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"lsmdb/db"
	"lsmdb/db/attach"
)

// A program lets others look at its database: "lsmdb scan DIR" works beside it, and
// "lsmdb top DIR" shows it at work.
func ExampleServe() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	d, err := db.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close() // ends the server, too
	if _, err := attach.Serve(d); err != nil {
		log.Print(err) // the program can do without
	}
	info, err := os.Stat(filepath.Join(dir, "ATTACH"))
	fmt.Println(info.Mode(), err)
	// Output: Srw------- <nil>
}
