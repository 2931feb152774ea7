package db_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// TestReadsMergeLevel0: tables in level 0 that are too few to be merged for their
// number are merged when reads have paid for it, by seeks as by gets.
func TestReadsMergeLevel0(t *testing.T) {
	key := func(i int) []byte { return fmt.Appendf(nil, "%05d", i*7919%3000) }
	for name, read := range map[string]func(d *db.DB, i int){
		"seeks": func(d *db.DB, i int) {
			it, err := d.NewIterator(nil)
			fixture.Must(t, err)
			it.SeekGE(key(i))
			fixture.Must(t, it.Close())
		},
		"gets": func(d *db.DB, i int) {
			_, err := d.Has(key(i))
			fixture.Must(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 1 << 20, Durability: db.NoSync})
			fixture.Must(t, err)
			for table := range 3 {
				for i := range 1000 {
					fixture.Must(t, d.Put(key(3*i+table), make([]byte, 100)))
				}
				fixture.Must(t, d.Flush(context.Background()))
			}
			read(d, 0)
			time.Sleep(10 * time.Millisecond) // a merge for the number of tables would have started
			if m := d.Metrics(); m.Levels[0].Tables != 3 || m.Compact.Jobs > 0 {
				t.Fatalf("%d tables in level 0 and %d compactions before the reads", m.Levels[0].Tables, m.Compact.Jobs)
			}
			deadline := time.Now().Add(time.Minute)
			for i := 0; d.Metrics().Levels[0].Tables > 0; i++ {
				if time.Now().After(deadline) {
					t.Fatalf("level 0 is still there after %d reads", i)
				}
				for j := range 64 {
					read(d, i+j)
				}
			}
			fixture.Must(t, d.Close())
		})
	}
}
