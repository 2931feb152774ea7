//go:build !race

package db_test

import (
	"fmt"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// TestAllocations: the hot paths allocate nothing. (The race detector allocates.)
func TestAllocations(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync})
	fixture.Must(t, err)
	defer d.Close()
	value := make([]byte, 100)
	key := func(i int) []byte { return fmt.Appendf(nil, "key%06d", i) }
	for i := range 5000 {
		fixture.Must(t, d.Put(key(i), value))
	}
	fixture.Must(t, d.Flush(t.Context()))
	for i := range 1000 {
		fixture.Must(t, d.Put(key(2*i), value))
	}
	memory, table, miss := key(2), key(4001), key(999_999)
	buffer := make([]byte, 0, 1000)
	snapshot, err := d.NewSnapshot()
	fixture.Must(t, err)
	defer snapshot.Close()
	forward, err := d.NewIterator(nil)
	fixture.Must(t, err)
	defer forward.Close()
	backward, err := d.NewIterator(nil)
	fixture.Must(t, err)
	defer backward.Close()
	if !forward.First() || !backward.Last() {
		t.Fatal(forward.Err(), backward.Err())
	}
	space := d.Keyspace([]byte("key00"))
	within, err := space.NewIterator(nil)
	fixture.Must(t, err)
	defer within.Close()
	batch := d.NewBatch()
	view, seen := batch.In(space), snapshot.In(space)
	for _, c := range []struct {
		what    string
		allowed float64
		do      func()
	}{
		{"Put", 0, func() { d.Put(memory, value) }},
		{"Put that is Queued", 0, func() { d.Put(memory, value, db.Queued) }},
		{"Put that is Queued, and seen", 0, func() { d.Put(memory, value, db.Queued); buffer, _ = d.AppendValue(buffer[:0], memory) }},
		{"Delete", 0, func() { d.Delete(miss) }},
		{"AppendValue from a memtable", 0, func() { buffer, _ = d.AppendValue(buffer[:0], memory) }},
		{"AppendValue from a table", 0, func() { buffer, _ = d.AppendValue(buffer[:0], table) }},
		{"AppendValue of a missing key", 0, func() { buffer, _ = d.AppendValue(buffer[:0], miss) }},
		{"Has", 0, func() { d.Has(table) }},
		{"Snapshot.AppendValue", 0, func() { buffer, _ = snapshot.AppendValue(buffer[:0], table) }},
		{"View", 1, func() { // the snapshot
			d.View(func(s *db.Snapshot) (err error) { buffer, err = s.AppendValue(buffer[:0], table); return err })
		}},
		{"Update", 1, func() { // the transaction
			d.Update(t.Context(), func(tx *db.Tx) (err error) {
				if buffer, err = tx.AppendValue(buffer[:0], memory); err == nil {
					err = tx.Put(memory, value)
				}
				return err
			})
		}},
		{"Get", 1, func() { d.Get(table) }}, // the copy
		{"Next", 0, func() { forward.Next() }},
		{"Prev", 0, func() { backward.Prev() }},
		{"SeekGE", 0, func() { forward.SeekGE(table) }},
		{"SeekLT", 0, func() { backward.SeekLT(table) }},
		{"Keyspace.Put", 0, func() { space.Put(memory[5:], value) }},
		{"Keyspace.AppendValue", 0, func() { buffer, _ = space.AppendValue(buffer[:0], table[5:]) }},
		{"Batch.In", 0, func() { batch.Reset(); view.Put(memory[5:], value); view.Delete(table[5:]) }},
		{"Snapshot.In", 0, func() { buffer, _ = seen.AppendValue(buffer[:0], table[5:]) }},
		{"moves in a keyspace", 0, func() {
			if !within.SeekGE(table[5:]) || !within.Next() || !within.Prev() || !within.SeekLT(memory[5:]) || len(within.Key()) != 4 {
				t.Error("a move in a keyspace went wrong")
			}
		}},
		{"a short scan", 2, func() { // the Iterator, and the key that it showed last
			it, _ := d.NewIterator(nil)
			for ok, i := it.SeekGE(memory), 0; ok && i < 50; ok, i = it.Next(), i+1 {
			}
			it.Close()
		}},
	} {
		c.do() // buffers may grow once
		// AllocsPerRun counts everybody: what a block read allocates averages out.
		if n := testing.AllocsPerRun(2000, c.do); n > c.allowed {
			t.Errorf("%s allocates %v times, allowed are %v", c.what, n, c.allowed)
		}
	}
}
