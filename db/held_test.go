package db_test

import (
	"runtime"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestTakeoverHoldsNothing: neither what was replayed nor the tables that Open found
// are kept alive by the open database.
func TestTakeoverHoldsNothing(t *testing.T) {
	f := fixture.NewFilled(t, db.Sync)
	looked := make(chan struct{}) // the takeover waits before it switches CURRENT
	fault := vfstest.NewFault(f.Disk(t), func(op vfstest.Op) error {
		if op.Kind == vfstest.OpRename {
			<-looked
		}
		return nil
	})
	d, err := db.Open(fixture.Dir, fixture.On(fault, db.Options{MemtableBytes: 1 << 20}))
	fixture.Must(t, err)
	released := make(chan struct{})
	runtime.AddCleanup(d.FirstSealed(), func(struct{}) { close(released) }, struct{}{})
	close(looked)
	fixture.Must(t, fixture.Differ(f.Want, fixture.Contents(t, d))) // opens all tables
	fixture.Must(t, fixture.TakeOver(d))
	for key := range f.Want {
		fixture.Must(t, d.Put([]byte(key), []byte("new"), db.NoSync))
	}
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	metrics := d.Metrics()
	live, _ := metrics.Tables()
	for try := 0; d.Metrics().Files.OpenTables > live; try++ {
		if try > 1000 {
			t.Fatalf("%d tables are open, %d are in the tree", d.Metrics().Files.OpenTables, live)
		}
		time.Sleep(time.Millisecond)
	}
	for gone := false; !gone; {
		runtime.GC()
		select {
		case <-released:
			gone = true
		case <-time.After(time.Millisecond):
		}
	}
	fixture.Must(t, d.Close())
}
