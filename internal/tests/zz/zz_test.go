package zz

import (
	"context"
	"errors"
	"fmt"
	"bytes"
	"testing"
	"time"

	"lsmdb/db"
)

func must(t *testing.T, err error) { t.Helper(); if err != nil { t.Fatal(err) } }

func TestRanges(t *testing.T) {
	ctx := context.Background()
	d, err := db.Open(t.TempDir(), &db.Options{MemtableBytes: 4 << 20})
	must(t, err)
	defer d.Close()
	fmt.Println(errors.Is(d.DeleteRange(make([]byte, 70000), nil), db.ErrKeyTooLarge), errors.Is(d.DeleteRange([]byte("a"), bytes.Repeat([]byte("b"), 70000)), db.ErrKeyTooLarge))
	fmt.Println(d.DeleteRange([]byte("b"), []byte("a")), d.DeleteRange(nil, []byte{}))
	for _, p := range [][]byte{nil, {}, {0xff}, {0xff, 0xff}, []byte("a"), []byte("a\xff")} { s, e := db.PrefixRange(p); fmt.Printf("%q: %q %q nil %v\n", p, s, e, e == nil) }
	b := d.NewBatch()
	n := 0
	for i := range 1000000 {
		b.Put(fmt.Appendf(nil, "key%07d", i), bytes.Repeat([]byte("v"), 100))
		n++
		if b.Len() == 2000 { must(t, d.Apply(ctx, b, db.NoSync)); b.Reset() }
	}
	must(t, d.Flush(ctx))
	must(t, d.Put([]byte("zzz"), nil))
	time.Sleep(3 * time.Second)
	m := d.Metrics()
	c, by := m.Tables()
	fmt.Println("tables", c, by, "read", m.Compact.BytesRead)
	snap, _ := d.NewSnapshot()
	start := time.Now()
	must(t, d.DeleteRange(db.PrefixRange([]byte("key"))))
	fmt.Println("delete range", time.Since(start))
	walk := func(what string) {
		it, _ := d.NewIterator(nil)
		start := time.Now()
		ok := it.First()
		fmt.Println(what, ok, string(it.Key()), time.Since(start))
		start = time.Now()
		fmt.Println(it.Last(), string(it.Key()), it.Prev(), time.Since(start))
		it.Close()
		start = time.Now()
		_, err := d.Get([]byte("key0500000"))
		fmt.Println(err, time.Since(start))
	}
	walk("memtable"); walk("memtable")
	must(t, d.Flush(ctx))
	walk("flushed")
	m = d.Metrics(); c, by = m.Tables()
	fmt.Println("with a snapshot: tables", c, by)
	snap.Close()
	before := d.Metrics().Compact.BytesRead
	for range 100 {
		m = d.Metrics(); c, by = m.Tables()
		if by < 1<<20 { break }
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Println("tables", c, by, "read", m.Compact.BytesRead-before, m.Levels)
}

func TestExpiry(t *testing.T) {
	ctx := context.Background()
	d, err := db.Open(t.TempDir(), &db.Options{MemtableBytes: 1 << 20})
	must(t, err)
	defer d.Close()
	end := time.Now().Add(3 * time.Second)
	b := d.NewBatch()
	for i := range 100000 {
		b.PutUntil(fmt.Appendf(nil, "key%07d", i), bytes.Repeat([]byte("v"), 100), end)
		if b.Len() == 2000 { must(t, d.Apply(ctx, b, db.NoSync)); b.Reset() }
	}
	m := d.Metrics(); c, by := m.Tables()
	fmt.Println("tables", c, by)
	read := m.Compact.BytesRead
	start := time.Now()
	for range 200 {
		m = d.Metrics(); c, by = m.Tables()
		if time.Now().After(end) && by < 1<<16 && m.Memtable.ActiveCount == 0 { break }
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Println("tables", c, by, m.Memtable, "read", m.Compact.BytesRead-read, time.Since(start), "after the end", time.Since(end))
}

func TestSizes(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	d, err := db.Open(dir, nil)
	must(t, err)
	for _, n := range []int{1000, 2000, 3000, 4000, 5000, 10000, 100000} {
		must(t, d.Put(fmt.Appendf(nil, "k%07d", n), make([]byte, n)))
	}
	must(t, d.Flush(ctx))
	must(t, d.Close())
	d, err = db.Open(dir, nil)
	must(t, err)
	defer d.Close()
	for _, n := range []int{1000, 2000, 3000, 4000, 5000, 10000, 100000} {
		before := d.Metrics().Reads.BlocksRead
		size, err := d.GetSize(fmt.Appendf(nil, "k%07d", n))
		fmt.Println(n, size, err, "blocks", d.Metrics().Reads.BlocksRead-before)
	}
}
