package dbtest_test

import (
	"testing"

	"lsmdb/db"
	"lsmdb/db/dbtest"
)

func ExampleOpen() {
	var t *testing.T // of the test

	d := dbtest.Open(t, &db.Options{Durability: db.NoSync})
	if err := d.Put([]byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	it, err := d.NewIterator(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close() // without this line the test fails, and names the line of NewIterator
	for key, value := range it.All() {
		t.Logf("%s=%s", key, value)
	}
}
