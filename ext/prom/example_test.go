package prom_test

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lsmdb/db"
	"lsmdb/ext/prom"
)

func Example() {
	dir, err := os.MkdirTemp("", "orders-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	d, err := db.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(prom.NewCollector(d, prometheus.Labels{"database": "orders"}))
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	if err := d.Put([]byte("order/1"), []byte("tea")); err != nil {
		log.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "lsmdb_operations_total" {
			fmt.Println(family.GetHelp(), family.Metric[0].GetCounter().GetValue())
		}
	}
	// Output: Puts, deletes and other operations that were written. 1
}
