package merge

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// tableOf writes pairs into a table of small blocks.
func tableOf(t *testing.T, pairs []pair) *sstable.Table {
	t.Helper()
	disk := vfs.NewMem()
	file, err := disk.Create("t.sst")
	if err != nil {
		t.Fatal(err)
	}
	w := sstable.NewWriter(file, "t.sst", sstable.WriterOptions{Identity: 1, BlockBytes: 150})
	for _, p := range pairs {
		if err := w.Add(p.key, p.value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	table, err := sstable.Open(disk, "t.sst", sstable.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// dealt makes versions of random keys, with heads that are equal for some and not for
// others, and deals them to a memtable and n-1 tables. It returns all of them in order.
func dealt(t *testing.T, rng *rand.Rand, n int) (children []Run, all []pair) {
	hands := make([][]pair, n)
	prefix := []string{"", "a", "shared-by-all-of-them-"}[rng.IntN(3)]
	for seq := range base.Seq(400) {
		key := base.MakeInternalKey(fmt.Appendf(nil, "%s%0*d", prefix, 1+rng.IntN(2)*9, rng.IntN(150)), seq+1, base.KindSet)
		p := pair{key, fmt.Append(nil, seq)}
		hand := rng.IntN(n)
		hands[hand] = append(hands[hand], p)
		all = append(all, p)
	}
	order := func(a, b pair) int { return base.Compare(a.key, b.key) }
	slices.SortFunc(all, order)
	for i, hand := range hands {
		slices.SortFunc(hand, order)
		if i > 0 || n == 1 {
			it := tableOf(t, hand).NewIterator(sstable.IteratorOptions{})
			children = append(children, Run{Iterator: it, Table: it})
			continue
		}
		m := memtable.New(1 << 20)
		for _, p := range hand {
			m.Insert(p.key.UserKey(), p.value, p.key.Seq(), base.KindSet)
		}
		children = append(children, Run{Iterator: m.NewIterator()})
	}
	return children, all
}

// TestTables walks memtables and tables at random, and compares with the model where
// it stands and whether it came from the same user key.
func TestTables(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 0))
		children, all := dealt(t, rng, 1+rng.IntN(6))
		it := New(children...)
		at, from := -1, -1
		for range 2000 {
			var ok bool
			switch draw := rng.IntN(100); {
			case draw == 0:
				ok, at, from = it.First(), 0, -1
			case draw == 1:
				ok, at, from = it.Last(), len(all)-1, -1
			case draw < 4 || at < 0:
				key := all[rng.IntN(len(all))].key
				ok, from = it.SeekGE(key), -1
				at, _ = slices.BinarySearchFunc(all, key, func(p pair, key base.InternalKey) int { return base.Compare(p.key, key) })
			case draw < 4+int(seed)*3:
				ok, at, from = it.Next(), at+1, at
			default:
				ok, at, from = it.Prev(), at-1, at
			}
			if at == len(all) {
				at = -1
			}
			if ok != (at >= 0) || ok != it.Valid() || it.Err() != nil {
				t.Fatalf("seed %d: returned %v, the model stands at %d of %d, %v", seed, ok, at, len(all), it.Err())
			}
			if !ok {
				continue
			}
			again := from >= 0 && bytes.Equal(all[at].key.UserKey(), all[from].key.UserKey())
			if !bytes.Equal(it.Key(), all[at].key) || !bytes.Equal(it.Value(), all[at].value) || it.Again() != again {
				t.Fatalf("seed %d: at %s = %s, again %v; want %s = %s, %v", seed, it.Key(), it.Value(), it.Again(), all[at].key, all[at].value, again)
			}
		}
		var key base.InternalKey
		if at >= 0 {
			key = it.Key()
		}
		if err := it.Close(); err != nil || it.Valid() || it.Next() {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, c := range children { // another walk with the same buffers
			if table := c.Table; table != nil {
				table.Reset(tableOf(t, []pair{{base.MakeInternalKey(bytes.Repeat([]byte("z"), 20), 1, base.KindSet), nil}}), &sstable.IteratorOptions{})
				table.First()
			}
		}
		if at >= 0 && !bytes.Equal(key, all[at].key) {
			t.Fatalf("seed %d: the last key became %s, was %s", seed, key, all[at].key)
		}
	}
}
