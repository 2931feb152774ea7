package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfstest"
	"lsmdb/sstable"
)

// level is a sorted level of real tables and what they hold.
type level struct {
	mem    *vfstest.Disk
	files  *sstable.OpenFiles
	tables []*TableMeta
	keys   []base.InternalKey
}

// newLevel writes the given number of tables with some keys each, several versions
// of some of them, into small blocks.
func newLevel(t testing.TB, rng *rand.Rand, tables int) *level {
	t.Helper()
	return newDeletingLevel(t, rng, tables, false)
}

// newDeletingLevel is newLevel, where tables may also hold range deletes, up to where the
// next one starts, and may consist of them.
func newDeletingLevel(t testing.TB, rng *rand.Rand, tables int, deleting bool) *level {
	t.Helper()
	l := &level{mem: newDir(t), files: &sstable.OpenFiles{}}
	for i := range tables {
		number := uint64(i + 1)
		path := base.TablePath(testDir, number)
		file, err := l.mem.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		w := sstable.NewWriter(file, path, sstable.WriterOptions{Identity: sstable.Identity(1, number), BlockBytes: 100})
		entries := 1 + rng.IntN(20)
		if deleting && rng.IntN(2) == 0 {
			w.AddRanges(ranges.Of(fmt.Appendf(nil, "%02d-%02d", i, rng.IntN(40)), fmt.Appendf(nil, "%02d-00", i+1), base.Seq(1+rng.IntN(40))))
			entries -= rng.IntN(entries + 1)
		}
		for j := range entries {
			for version := 1 + rng.IntN(3); version > 0; version-- {
				key := base.MakeInternalKey(fmt.Appendf(nil, "%02d-%02d", i, 2*j), base.Seq(10*version), base.KindSet)
				if err := w.Add(key, []byte("value of "+string(key))); err != nil {
					t.Fatal(err)
				}
				l.keys = append(l.keys, key)
			}
		}
		properties, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		meta := MetaOf(number, properties)
		meta.Handle = sstable.NewHandle(l.mem, path, sstable.ReaderOptions{SizeBytes: meta.SizeBytes, Identity: meta.Identity}, l.files)
		l.tables = append(l.tables, meta)
	}
	return l
}

// find returns the index of the first key at or after key.
func (l *level) find(key base.InternalKey) int {
	at, _ := slices.BinarySearchFunc(l.keys, key, base.Compare)
	return at
}

// randomSearch returns a key that may lie before, in, between or after the tables.
func (l *level) randomSearch(rng *rand.Rand) base.InternalKey {
	if len(l.keys) > 0 && rng.IntN(3) == 0 {
		return l.keys[rng.IntN(len(l.keys))]
	}
	user := fmt.Appendf(nil, "%02d-%02d", rng.IntN(len(l.tables)+1), rng.IntN(45))
	return base.AppendSearchKey(nil, user[:rng.IntN(len(user)+1)], base.Seq(rng.IntN(40)))
}

func TestLevelIteratorAgainstModel(t *testing.T) {
	for tables := range 6 {
		for seed := range uint64(12) {
			rng := rand.New(rand.NewPCG(seed, uint64(tables)))
			l := newDeletingLevel(t, rng, tables, seed%4 > 1)
			if err := checkLevel(1, l.tables); err != nil {
				t.Fatal(err)
			}
			it := NewLevelIterator(l.tables, sstable.IteratorOptions{NoCacheFill: seed%2 == 0, ReadAheadBytes: int(seed%3) * 200})
			if it.Valid() || it.Next() || it.Prev() {
				t.Fatal("stands on an entry before the first move")
			}
			at := -1 // where the model stands; -1: nowhere
			for range 300 {
				at = l.step(t, rng, it, at)
			}
			if err := errors.Join(it.Close(), it.Close()); err != nil || it.Valid() {
				t.Fatalf("close: %v", err)
			}
			if it.First() || it.Err() != nil {
				t.Fatalf("a move after Close: %v", it.Err())
			}
		}
	}
}

// step makes one random move and compares; it returns where the model now stands.
func (l *level) step(t *testing.T, rng *rand.Rand, it *LevelIterator, at int) int {
	t.Helper()
	var name string
	var got bool
	key := l.randomSearch(rng)
	switch draw := rng.IntN(30); {
	case draw == 0:
		name, got, at = "first", it.First(), 0
	case draw == 1:
		name, got, at = "last", it.Last(), len(l.keys)-1
	case draw < 5:
		name, got, at = "seek-ge "+key.String(), it.SeekGE(key), l.find(key)
	case draw < 8:
		name, got, at = "seek-lt "+key.String(), it.SeekLT(key), l.find(key)-1
	case at < 0:
		name, got = "next from nowhere", it.Next() || it.Prev()
	case draw < 19:
		name, got, at = "next", it.Next(), at+1
	default:
		name, got, at = "prev", it.Prev(), at-1
	}
	if at >= len(l.keys) {
		at = -1
	}
	if got != (at >= 0) || it.Valid() != got || it.Err() != nil {
		t.Fatalf("%s: returned %v, valid %v, err %v; the model stands at %d of %d", name, got, it.Valid(), it.Err(), at, len(l.keys))
	}
	if at < 0 {
		return at
	}
	if want := l.keys[at]; !bytes.Equal(it.Key(), want) || string(it.Value()) != "value of "+string(want) {
		t.Fatalf("%s: at %s = %q, want %s", name, it.Key(), it.Value(), want)
	}
	return at
}

// TestLevelIteratorOpensLate: only the tables that the walk reaches are opened.
func TestLevelIteratorOpensLate(t *testing.T) {
	l := newLevel(t, rand.New(rand.NewPCG(1, 1)), 5)
	it := NewLevelIterator(l.tables, sstable.IteratorOptions{})
	if l.files.Len() != 0 {
		t.Error("a table was opened before the first move")
	}
	it.SeekGE(l.tables[2].Smallest)
	for range 3 {
		it.SeekGE(l.tables[2].Largest)
		if l.files.Len() != 1 {
			t.Fatalf("%d tables are open, want 1", l.files.Len())
		}
	}
	if n := testing.AllocsPerRun(20, func() { it.SeekLT(l.tables[2].Largest); it.SeekGE(l.tables[2].Largest) }); n != 0 {
		t.Errorf("seeks within the open table allocate %v times", n)
	}
	if !it.Next() || l.files.Len() != 2 {
		t.Errorf("%d tables are open after the walk reached the second, want 2", l.files.Len())
	}
}

// TestLevelIteratorErrors damages one table in the middle, in several ways: the walk
// ends there with the error from both sides, and what lies elsewhere stays readable.
func TestLevelIteratorErrors(t *testing.T) {
	for name, damage := range map[string]struct {
		do   func(l *level)
		want error
	}{
		"missing": {func(l *level) { _ = l.mem.Remove(base.TablePath(testDir, 2)) }, nil},
		"footer":  {func(l *level) { l.flip(l.tables[1].SizeBytes - 3) }, base.ErrCorrupt},
		"block":   {func(l *level) { l.flip(5) }, base.ErrCorrupt},
	} {
		l := newLevel(t, rand.New(rand.NewPCG(2, 2)), 3)
		damage.do(l)
		it := NewLevelIterator(l.tables, sstable.IteratorOptions{})
		for _, walk := range []struct {
			name        string
			start, step func() bool
		}{{"forward", it.First, it.Next}, {"backward", it.Last, it.Prev}} {
			count := 0
			for ok := walk.start(); ok; ok = walk.step() {
				count++
			}
			if it.Err() == nil || damage.want != nil && !errors.Is(it.Err(), damage.want) || count == 0 || count >= len(l.keys) {
				t.Fatalf("%s, %s: %d of %d entries, %v", name, walk.name, count, len(l.keys), it.Err())
			}
			if it.Valid() || it.Next() || it.Prev() || it.Err() == nil {
				t.Fatalf("%s, %s: moved on after an error", name, walk.name)
			}
			if !it.SeekGE(l.tables[2].Smallest) || it.Err() != nil {
				t.Fatalf("%s, %s: cannot read another table: %v", name, walk.name, it.Err())
			}
		}
		if err := it.Close(); err != nil {
			t.Errorf("%s: close after a good seek: %v", name, err)
		}
	}
}

// flip changes one byte of the second table.
func (l *level) flip(offset int64) {
	name := base.TableName(2)
	path := base.TablePath(testDir, 2)
	old, err := l.mem.Open(path)
	if err != nil {
		panic(err)
	}
	contents := make([]byte, l.tables[1].SizeBytes)
	_, _ = old.ReadAt(contents, 0)
	contents[offset] ^= 0x40
	_ = l.mem.Remove(path)
	file, err := l.mem.Create(path)
	if err != nil {
		panic(name + ": " + err.Error())
	}
	if _, err := file.WriteAt(contents, 0); err != nil {
		panic(err)
	}
}

func TestLevelIteratorAfterCloseAll(t *testing.T) {
	l := newLevel(t, rand.New(rand.NewPCG(3, 3)), 3)
	it := NewLevelIterator(l.tables, sstable.IteratorOptions{})
	if !it.First() {
		t.Fatal(it.Err())
	}
	if err := l.files.CloseAll(); err != nil {
		t.Fatal(err)
	}
	for it.Next() {
	}
	if !errors.Is(it.Err(), base.ErrClosed) || !strings.Contains(it.Close().Error(), "closed") {
		t.Errorf("walk over closed files: %v", it.Err())
	}
}
