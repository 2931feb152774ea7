// Package transactions tests what transactions promise, from outside. It consists of tests.
package transactions

import (
	"errors"
	"fmt"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// openTx opens a database in memory with some pairs.
func openTx(t testing.TB, pairs ...string) *db.DB {
	t.Helper()
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync})
	fixture.Must(t, err)
	t.Cleanup(func() { fixture.Must(t, d.Close()) })
	for i := 0; i < len(pairs); i += 2 {
		fixture.Must(t, d.Put([]byte(pairs[i]), []byte(pairs[i+1])))
	}
	return d
}

// begin begins a transaction that ends with the test.
func begin(t testing.TB, d *db.DB) *db.Tx {
	t.Helper()
	tx, err := d.Begin()
	fixture.Must(t, err)
	t.Cleanup(tx.Discard)
	return tx
}

// reader is what keys can be looked up in.
type reader interface {
	Get(key []byte) ([]byte, error)
}

// get returns the value of a key, "-" if there is none.
func get(t testing.TB, r reader, key string) string {
	t.Helper()
	value, err := r.Get([]byte(key))
	if errors.Is(err, db.ErrNotFound) {
		return "-"
	}
	fixture.Must(t, err)
	return string(value)
}

// pairs returns what an iterator shows, as "key=value".
func pairs(t testing.TB, it *db.Iterator, err error) (shown []string) {
	t.Helper()
	fixture.Must(t, err)
	for key, value := range it.All() {
		shown = append(shown, fmt.Sprintf("%s=%s", key, value))
	}
	fixture.Must(t, it.Close())
	return shown
}

func put(t testing.TB, w interface{ Put(key, value []byte) error }, key, value string) {
	t.Helper()
	fixture.Must(t, w.Put([]byte(key), []byte(value)))
}

// wantConflict checks which key a commit conflicts with; "": none.
func wantConflict(t testing.TB, what string, err error, key string) {
	t.Helper()
	var conflict *db.ConflictError
	switch {
	case key == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case key != "" && (!errors.As(err, &conflict) || !errors.Is(err, db.ErrConflict)):
		t.Errorf("%s: %v, want a conflict with %q", what, err, key)
	case key != "" && string(conflict.Key) != key:
		t.Errorf("%s: conflict with %q, want %q", what, conflict.Key, key)
	}
}
