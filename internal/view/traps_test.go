package view

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// TestTraps are bugs that other stores had: each is a short history of one or two keys,
// with a flush or a new memtable after some of its operations.
func TestTraps(t *testing.T) {
	op := func(kind base.Kind, key, value string) base.Op {
		return base.Op{Kind: kind, Key: []byte(key), Value: []byte(value)}
	}
	set := func(key, value string) base.Op { return op(base.KindSet, key, value) }
	merge := func(value string) base.Op { return op(base.KindMerge, "k", value) }
	for name, c := range map[string]struct {
		ops  []base.Op
		want string // of k; empty: none
	}{
		"operand on a range delete":     {[]base.Op{set("k", "old"), op(base.KindRangeDelete, "a", "z"), merge("m")}, "nil+m"},
		"operand on an ended value":     {[]base.Op{set("k", "old"), op(base.KindSetExpiring, "k", string(little(1))+"e"), merge("m")}, "nil+m"},
		"operands below an ended value": {[]base.Op{merge("1"), op(base.KindSetExpiring, "k", string(little(1))+"e")}, ""},
		"operands after an ended value": {[]base.Op{merge("1"), op(base.KindSetExpiring, "k", string(little(1))+"e"), merge("2"), merge("3")}, "nil+2+3"},
		"operand on a live value":       {[]base.Op{op(base.KindSetExpiring, "k", string(little(9999))+"e"), merge("m")}, "e+m"},
		"operand on an empty value":     {[]base.Op{set("k", ""), merge("m")}, "+m"},
		"put into a range delete":       {[]base.Op{set("k", "old"), op(base.KindRangeDelete, "", ""), set("k", "new")}, "new"},
		"range delete up to the key":    {[]base.Op{set("k", "old"), op(base.KindRangeDelete, "a", "k")}, "old"},
		"range delete from the key":     {[]base.Op{set("k", "old"), op(base.KindRangeDelete, "k", "k\x00")}, ""},
		"two range deletes":             {[]base.Op{set("k", "1"), op(base.KindRangeDelete, "a", "l"), merge("2"), op(base.KindRangeDelete, "j", "z"), merge("3")}, "nil+3"},
	} {
		for split := range 1 << (2 * min(3, len(c.ops))) {
			if len(c.ops) > 3 {
				split = rand.IntN(1 << (2 * len(c.ops)))
			}
			d := newWorld(t, rand.New(rand.NewPCG(1, 1)), 3)
			d.keys, d.clock = []string{"a", "k", "z"}, 1000
			for i, o := range c.ops {
				d.apply(o)
				switch split >> (2 * i) & 3 {
				case 1:
					d.w.Rotate(memtable.New(1 << 16))
				case 2:
					if len(d.w.State().Sealed) == 0 {
						d.flush(0)
					}
				case 3:
					if d.w.State().Version.Levels[0] == nil && len(d.w.State().Sealed) == 0 && i == 0 {
						d.flush(3)
					}
				}
			}
			at := d.w.At()
			if w := d.model(at, "k"); string(w.value) != c.want || w.found != (c.want != "") {
				t.Fatalf("%s: the model says %+v", name, w)
			}
			d.checkGets(at)
			d.checkAll(at)
			it := d.w.Enter().NewIterator(at, sstable.IteratorOptions{}, new(atomic.Bool))
			for range 3 { // to and fro
				if ok := it.SeekGE([]byte("b")); ok != (c.want != "") || ok && string(it.Value()) != c.want {
					t.Fatalf("%s, split %b: %v %q", name, split, ok, it.Value())
				}
				if it.Valid() && (it.Prev() || it.Next() && string(it.Value()) != c.want) {
					t.Fatalf("%s, split %b: %q %q", name, split, it.Key(), it.Value())
				}
			}
			must(t, it.Close())
		}
	}
}
