package db_test

import (
	"context"
	"fmt"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// BenchmarkTransaction compares a transaction that reads and writes one key with a Get and
// a Put.
func BenchmarkTransaction(b *testing.B) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync})
	fixture.Must(b, err)
	defer d.Close()
	key := func(i int) []byte { return fmt.Appendf(nil, "key %08d", i%100_000) }
	value, buffer := make([]byte, 100), make([]byte, 0, 200)
	for i := range 100_000 {
		fixture.Must(b, d.Put(key(i), value))
	}
	keys := make([][]byte, 1024)
	for i := range keys {
		keys[i] = key(i * 7919)
	}
	b.Run("get and put", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			k := keys[i%len(keys)]
			buffer, _ = d.AppendValue(buffer[:0], k)
			fixture.Must(b, d.Put(k, value))
		}
	})
	b.Run("transaction", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			k := keys[i%len(keys)]
			fixture.Must(b, d.Update(context.Background(), func(tx *db.Tx) error {
				buffer, _ = tx.AppendValue(buffer[:0], k)
				return tx.Put(k, value)
			}))
		}
	})
}
