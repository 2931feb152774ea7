package importer_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"lsmdb/db"
	"lsmdb/ext/importer"
)

func ExampleImport() {
	dir, err := os.MkdirTemp("", "import-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	old, err := bbolt.Open(filepath.Join(dir, "old.bolt"), 0o600, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = old.Update(func(tx *bbolt.Tx) error {
		orders, err := tx.CreateBucket([]byte("orders"))
		if err != nil {
			return err
		}
		return orders.Put([]byte("1"), []byte("tea"))
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := old.Close(); err != nil {
		log.Fatal(err)
	}

	result, err := importer.Import(context.Background(), importer.Order{
		Source: filepath.Join(dir, "old.bolt"), Destination: filepath.Join(dir, "new"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Kind, result.Entries, result.Verified)

	d, err := db.Open(filepath.Join(dir, "new"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	value, err := d.Keyspace(importer.Prefix([]byte("orders"))).Get([]byte("1"))
	fmt.Println(string(value), err)
	// Output:
	// bbolt 1 true
	// tea <nil>
}
