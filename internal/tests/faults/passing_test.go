package faults

import (
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestShortagesPass lets a few operations in a row fail for want of descriptors and the
// like, at every place of a life with takeover, rotations, flushes, merges and a rewritten
// MANIFEST. What is refused meanwhile is refused as a shortage; nothing ends the database,
// and nothing that was acknowledged is lost.
func TestShortagesPass(t *testing.T) {
	step := 1
	if testing.Short() || base.Invariants { // CI takes each step without the race detector
		step = 5
	}
	for errno, most := range map[syscall.Errno]int{
		syscall.EMFILE: 9, syscall.EAGAIN: 9, syscall.EINTR: 9, syscall.ENOSPC: 9,
		syscall.ENOMEM: 1, // or nothing may say what became of a rename
	} {
		for count := 1; count <= most; count += 4 {
			for n, through := 1, false; !through; n += step {
				synctest.Test(t, func(t *testing.T) { // the house waits for such things to pass
					through = liveThrough(t, fmt.Sprintf("%v, %d from operation %d", errno, count, n), errno, n, count)
				})
				if t.Failed() {
					return
				}
			}
		}
	}
}

// liveThrough reports whether the shortage came after the end.
func liveThrough(t *testing.T, what string, errno syscall.Errno, n, count int) (through bool) {
	short := vfstest.NewShortage(errno)
	if errno == syscall.ENOSPC {
		short = vfstest.NewShortage(errno, vfstest.OpCreate, vfstest.OpRename, vfstest.OpAllocate)
	}
	short.Strike(n, count)
	disk := vfstest.NewDisk()
	fs := vfstest.NewFault(disk, short.Inject)
	want := fixture.View{}
	for life := range 2 {
		d, err := db.Open(fixture.Dir, fixture.On(fs, db.Options{MemtableBytes: 16 << 10}))
		for tries := 0; err != nil && tries < 2*count; tries++ {
			mustBeShortage(t, what+": Open", err)
			d, err = db.Open(fixture.Dir, fixture.On(fs, db.Options{MemtableBytes: 16 << 10}))
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for i := range 150 {
			key, value := fmt.Sprintf("%d-%03d", life, i%60), fmt.Sprintf("%0300d", i)
			if err := d.Put([]byte(key), []byte(value), db.NoSync); err == nil {
				want[key] = value
			} else {
				mustBeShortage(t, what+": Put", err)
			}
			if i%50 == 49 {
				if err := d.Flush(t.Context()); err != nil {
					mustBeShortage(t, what+": Flush", err)
				}
			}
		}
		if err := d.Compact(t.Context(), nil, nil); err != nil {
			mustBeShortage(t, what+": Compact", err)
		}
		found, err := fixture.Scan(d)
		for tries := 0; err != nil && tries < 2*count; tries++ {
			mustBeShortage(t, what+": Scan", err)
			found, err = fixture.Scan(d)
		}
		if err := fixture.Differ(want, found); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("%s: Close: %v", what, err)
		}
	}
	through = short.Met() == 0
	short.End()
	fixture.MustHold(t, disk, want)
	return through
}

func mustBeShortage(t *testing.T, what string, err error) {
	t.Helper()
	if !base.IsShortage(err) {
		t.Errorf("%s: %v", what, err)
	}
}
