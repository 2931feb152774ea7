package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"lsmdb/internal/vfstest"
)

// TestUpperEndsBeforeDamage: what lies behind the bound of an iterator does not matter
// to it where the index tells so, whatever state it is in.
func TestUpperEndsBeforeDamage(t *testing.T) {
	var broken atomic.Int64 // where the damage starts
	fs := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		if at := broken.Load(); at > 0 && op.Kind == vfstest.OpRead && op.Offset >= at {
			return syscall.EIO
		}
		return nil
	})
	d, err := Open("/d", &Options{fs: fs, CacheBytes: -1, Compression: NoCompression, Durability: NoSync})
	must(t, err)
	for i := range 20 { // one block each
		must(t, d.Put(fmt.Appendf(nil, "%c%d", 'a'+i/10, i%10), make([]byte, 5000)))
	}
	must(t, d.Compact(t.Context(), nil, nil))
	full, err := d.NewIterator(nil)
	must(t, err)
	full.First() // opens the table
	broken.Store(10 * 5000)
	for _, o := range []*IterOptions{{Prefix: []byte("a")}, {Upper: []byte("b")}} {
		it, err := d.NewIterator(o)
		must(t, err)
		n := 0
		for range it.All() {
			n++
		}
		if n != 10 || it.Err() != nil {
			t.Errorf("%+v: %d keys, %v", o, n, it.Err())
		}
		must(t, it.Close())
	}
	if full.SeekGE([]byte("b5")) || !errors.Is(full.Err(), syscall.EIO) {
		t.Errorf("beyond the bound nothing is damaged: %v", full.Err())
	}
	wantErr(t, "Close", full.Close(), syscall.EIO)
	must(t, d.Close())
}

// TestRecycledIterators opens, breaks and closes iterators of several databases in
// turn, so that they inherit each other's insides. What was shown last stays readable.
func TestRecycledIterators(t *testing.T) {
	var broken atomic.Bool
	fs := vfstest.NewFault(vfstest.NewDisk(), func(op vfstest.Op) error {
		if broken.Load() && op.Kind == vfstest.OpRead {
			return syscall.EIO
		}
		return nil
	})
	var all []*DB
	for i := range 3 {
		d, err := Open(fmt.Sprintf("/d%d", i), &Options{fs: fs, CacheBytes: -int64(i % 2), MemtableBytes: 64 << 10, Durability: NoSync})
		must(t, err)
		for j := range 1000 {
			must(t, d.Put(fmt.Appendf(nil, "%d-%04d", i, j), fmt.Appendf(nil, "%d-%04d-%0100d", i, j, 0)))
			if j == 500 {
				must(t, d.Flush(context.Background()))
			}
		}
		all = append(all, d)
	}
	type shown struct {
		key, value []byte
		want       string
	}
	var kept []shown
	for round := range 300 {
		i := round % 3
		it, err := all[i].NewIterator(nil)
		must(t, err)
		at := round * 7 % 990
		ok := it.SeekGE(fmt.Appendf(nil, "%d-%04d", i, at))
		switch round % 5 {
		case 1:
			ok = it.Next()
			at++
		case 2:
			ok = it.Next() && it.Prev()
		case 3:
			broken.Store(true)
			for it.Next() {
			}
			if i == 1 && at < 300 && !errors.Is(it.Err(), syscall.EIO) {
				t.Fatalf("round %d: %v", round, it.Err())
			}
			broken.Store(false)
		}
		if round%5 != 3 {
			if !ok {
				t.Fatalf("round %d: %v", round, it.Err())
			}
			kept = append(kept, shown{it.Key(), it.Value(), fmt.Sprintf("%d-%04d", i, at)})
		}
		_ = it.Close()
		if it.Close() != nil || it.Valid() || it.Key() != nil || it.Value() != nil || it.Next() || it.First() || it.SeekLT(nil) || !errors.Is(it.Err(), ErrClosed) {
			t.Fatalf("round %d: a closed iterator moves, or %v", round, it.Err())
		}
	}
	last, err := all[0].NewIterator(nil)
	must(t, err)
	last.First()
	for _, d := range all {
		must(t, d.Close())
	}
	if last.Next() || !errors.Is(last.Err(), ErrClosed) {
		t.Errorf("an iterator outlives its database: %v", last.Err())
	}
	wantErr(t, "Close", last.Close(), ErrClosed)
	for _, s := range kept {
		if !bytes.Equal(s.key, []byte(s.want)) || !strings.HasPrefix(string(s.value), s.want) {
			t.Fatalf("%s = %s was %s", s.key, short(string(s.value)), s.want)
		}
	}
}
