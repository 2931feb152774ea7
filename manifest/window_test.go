package manifest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/sstable"
)

// TestWindow compares what the range deletes of a level's tables say, key by key, with
// what they say one by one. Only the table that a key lies in may be opened.
func TestWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	key := func(i int) []byte { return fmt.Appendf(nil, "%03d", i) }
	mem, files := newDir(t), new(sstable.OpenFiles)
	var tables []*TableMeta
	var all []ranges.List
	for i := range 8 { // table i has keys of [20i, 20i+20)
		path := base.TablePath(testDir, uint64(i+1))
		file, err := mem.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		w := sstable.NewWriter(file, path, sstable.WriterOptions{Identity: uint64(i + 1)})
		var lists []ranges.List
		for range 1 + i%3 {
			from := 20*i + 2 + rng.IntN(10)
			lists = append(lists, ranges.Of(key(from), key(from+1+rng.IntN(5)), base.Seq(1+rng.IntN(50))))
		}
		if i%3 > 0 { // a key before them, or behind
			if err := w.Add(base.MakeInternalKey(key(20*i+18*(i%3-1)), 7, base.KindSet), nil); err != nil {
				t.Fatal(err)
			}
		}
		w.AddRanges(ranges.Merge(lists...))
		p, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		m := MetaOf(uint64(i+1), p)
		m.Handle = sstable.NewHandle(mem, path, sstable.ReaderOptions{SizeBytes: m.SizeBytes, Identity: m.Identity}, files)
		tables, all = append(tables, m), append(all, lists...)
	}
	newest := func(k []byte, seq base.Seq) (newest base.Seq) {
		for _, l := range all {
			newest = max(newest, l.Newest(k, seq))
		}
		return newest
	}
	for i := range 170 {
		for _, seq := range []base.Seq{10, 25, base.MaxSeq} {
			w, err := Window(tables, key(i), seq)
			if err != nil || w.Newest != newest(key(i), seq) {
				t.Fatalf("%d at %d: %+v, %v; want %d", i, seq, w, err, newest(key(i), seq))
			}
			holds := false
			for j := range 170 {
				if bytes.Compare(key(j), w.From) >= 0 && (w.Until == nil || bytes.Compare(key(j), w.Until) < 0) {
					if holds = holds || i == j; newest(key(j), seq) != w.Newest {
						t.Fatalf("the window of %d at %d, %q to %q, holds %d, which %d covers, not %d", i, seq, w.From, w.Until, j, newest(key(j), seq), w.Newest)
					}
				}
			}
			if !holds {
				t.Fatalf("the window of %d is from %q to %q", i, w.From, w.Until)
			}
		}
	}
}
