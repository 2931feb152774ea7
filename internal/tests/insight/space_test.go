// Package insight tests what a database tells of itself: how it comes to an answer, and what
// takes its space. It consists of tests.
package insight

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

const keys = 8000

func key(i int) []byte { return fmt.Appendf(nil, "key%07d", i) }

// filler writes values that cannot be compressed.
type filler struct {
	t   *testing.T
	rng *rand.Rand
	d   *db.DB
}

func (f *filler) value(bytes int) []byte {
	p := make([]byte, bytes)
	for i := range p {
		p[i] = byte(f.rng.Uint32())
	}
	return p
}

// load loads so many keys into a table of their own, on a deep level.
func (f *filler) load(n, bytes int) {
	fixture.Must(f.t, f.d.Load(f.t.Context(), func(yield func(key, value []byte) bool) {
		for i := range n {
			if !yield(key(i), f.value(bytes)) {
				return
			}
		}
	}))
}

// each does something with a share of the keys, which lie anywhere, in few commits.
func (f *filler) each(n int, share float64, do func(b *db.Batch, i int) error) {
	b := f.d.NewBatch()
	for i := range n {
		if f.rng.Float64() < share {
			fixture.Must(f.t, do(b, i))
		}
	}
	fixture.Must(f.t, f.d.Apply(f.t.Context(), b, db.NoSync))
}

func (f *filler) overwrite(share float64) {
	f.each(keys, share, func(b *db.Batch, i int) error { return b.Put(key(i), f.value(120)) })
}

func (f *filler) flush() { fixture.Must(f.t, f.d.Flush(f.t.Context())) }

// shape is what happens to a database of so many keys before it is looked at.
type shape struct {
	fill       func(f *filler)
	start, end []byte // outside of which nothing happens
	inMemory   bool   // what happens last stays in the log
	little     bool   // next to nothing is to be given back
}

var shapes = map[string]shape{
	"nothing": {fill: func(*filler) {}, little: true},
	"new keys": {fill: func(f *filler) {
		f.each(2000, 1, func(b *db.Batch, i int) error { return b.Put(key(keys+i), f.value(120)) })
	}, little: true},
	"5 % overwritten":  {fill: func(f *filler) { f.overwrite(0.05) }},
	"20 % overwritten": {fill: func(f *filler) { f.overwrite(0.2) }},
	"50 % overwritten": {fill: func(f *filler) { f.overwrite(0.5) }},
	"90 % overwritten": {fill: func(f *filler) { f.overwrite(0.9) }},
	"all overwritten again and again": {fill: func(f *filler) {
		for range 3 {
			f.overwrite(1)
			f.flush()
		}
	}},
	"some overwritten again and again": {fill: func(f *filler) {
		for range 3 {
			f.overwrite(0.3)
			f.flush()
		}
	}},
	"neighbours overwritten": {fill: func(f *filler) {
		f.each(keys/4, 1, func(b *db.Batch, i int) error { return b.Put(key(keys/3+i), f.value(120)) })
	}},
	"overwritten in memory": {fill: func(f *filler) { f.overwrite(0.5) }, inMemory: true},
	"30 % deleted":          {fill: func(f *filler) { f.each(keys, 0.3, func(b *db.Batch, i int) error { return b.Delete(key(i)) }) }},
	"all deleted":           {fill: func(f *filler) { f.each(keys, 1, func(b *db.Batch, i int) error { return b.Delete(key(i)) }) }},
	"40 % deleted at once": {fill: func(f *filler) {
		fixture.Must(f.t, f.d.DeleteRange(key(keys/5), key(keys/5*3)))
	}, inMemory: true},
	"40 % ended": {fill: func(f *filler) {
		f.each(keys, 0.4, func(b *db.Batch, i int) error {
			return b.PutUntil(key(i), f.value(120), fixture.Epoch.Add(time.Second))
		})
	}},
	"40 % that will end": {fill: func(f *filler) {
		f.each(2*keys, 0.4, func(b *db.Batch, i int) error {
			return b.PutUntil(key(keys+i), f.value(120), fixture.Epoch.Add(time.Hour))
		})
	}, little: true},
	"large values": {fill: func(f *filler) {
		for range 2 {
			f.each(300, 0.7, func(b *db.Batch, i int) error { return b.Put(key(i), f.value(5000)) })
			f.flush()
		}
	}},
	"operands": {fill: func(f *filler) {
		f.each(2000, 1, func(b *db.Batch, i int) error { return b.Merge(key(keys+i), f.value(60)) })
	}, little: true},
	"a part": {fill: func(f *filler) {
		f.each(keys/2, 0.5, func(b *db.Batch, i int) error { return b.Put(key(keys/4+i), f.value(120)) })
	}, start: key(keys / 4), end: key(keys / 4 * 3)},
	"a small part": {fill: func(f *filler) {
		f.each(40, 0.5, func(b *db.Batch, i int) error { return b.Put(key(keys/2+i), f.value(120)) })
	}, start: key(keys / 2), end: key(keys/2 + 40)},
}

// tableBytes is how long all tables are.
func tableBytes(d *db.DB) int64 {
	m := d.Metrics()
	_, bytes := m.Tables()
	return bytes
}

// all is the sum of a Space.
func all(s db.Space) int64 { return s.LiveBytes + s.DeadBytes + s.TombstoneBytes + s.ExpiredBytes }

func spaceOf(t *testing.T, d *db.DB, start, end []byte) db.Space {
	t.Helper()
	s, err := d.SpaceOf(t.Context(), start, end)
	fixture.Must(t, err)
	var sum db.LevelSpace
	for i, l := range s.Levels {
		if l.Level != i || min(l.LiveBytes, l.DeadBytes, l.TombstoneBytes, l.ExpiredBytes) < 0 {
			t.Errorf("level %d: %+v", i, l)
		}
		sum.LiveBytes, sum.DeadBytes = sum.LiveBytes+l.LiveBytes, sum.DeadBytes+l.DeadBytes
		sum.TombstoneBytes, sum.ExpiredBytes = sum.TombstoneBytes+l.TombstoneBytes, sum.ExpiredBytes+l.ExpiredBytes
	}
	if len(s.Levels) != db.NumLevels || sum != (db.LevelSpace{LiveBytes: s.LiveBytes, DeadBytes: s.DeadBytes, TombstoneBytes: s.TombstoneBytes, ExpiredBytes: s.ExpiredBytes}) || s.PinnedBytes > s.DeadBytes {
		t.Errorf("the levels do not add up: %+v", s)
	}
	return s
}

// TestSpace compares what is said to come back with what does.
func TestSpace(t *testing.T) {
	tested := 0
	for name, c := range shapes {
		t.Run(name, func(t *testing.T) {
			disk, clock := vfstest.NewDisk(), fixture.NewClock()
			var files vfs.FS = disk
			open := func(o db.Options) *db.DB {
				d, err := db.Open(fixture.Dir, fixture.On(files, fixture.Speaking(o, clock)))
				fixture.Must(t, err)
				return d
			}
			f := &filler{t: t, rng: rand.New(rand.NewPCG(1, 17)), d: open(db.Options{MemtableBytes: 8 << 20})}
			f.load(keys, 120)
			c.fill(f)
			if !c.inMemory {
				f.flush()
			}
			fixture.Must(t, f.d.Close())
			clock.Set(fixture.Epoch.Add(time.Minute).UnixNano())

			d := open(db.Options{ReadOnly: true}) // so that nothing is merged meanwhile
			said, before := spaceOf(t, d, c.start, c.end), tableBytes(d)
			if whole := spaceOf(t, d, nil, nil); differs(all(whole), before, 0.001) {
				t.Errorf("%d of %d bytes are told of", all(whole), before)
			}
			if again := spaceOf(t, d, c.start, c.end); fmt.Sprint(again) != fmt.Sprint(said) {
				t.Errorf("%+v, and then %+v", said, again)
			}
			fixture.Must(t, d.Close())

			measured := make(chan struct{}) // merges wait for that
			if c.inMemory {
				files = oneTableUntil(disk, measured)
			}
			d = open(db.Options{})
			defer d.Close()
			fixture.Must(t, d.Flush(t.Context()))
			if c.inMemory {
				before = tableBytes(d)
			}
			close(measured)
			fixture.Must(t, d.Compact(t.Context(), nil, nil))
			after := tableBytes(d)
			came, free := before-after, all(said)-said.LiveBytes
			t.Logf("before %d, after %d: %d came back, %d was said: %+v", before, after, came, free, said)
			switch {
			case c.little && free > before/20:
				t.Errorf("%d of %d bytes are said to come back", free, before)
			case !c.little && (free < came*7/10 || free > came*13/10):
				t.Errorf("%d bytes are said to come back, %d did", free, came)
			}
			if !c.little && came > 0 {
				tested++
			}
			now := spaceOf(t, d, nil, nil)
			if differs(now.LiveBytes, after, 0.05) || differs(all(now), after, 0.001) {
				t.Errorf("after the compaction: %+v of %d", now, after)
			}
		})
	}
	if tested < len(shapes)/2 {
		t.Errorf("only in %d cases something came back", tested)
	}
}

// oneTableUntil is a disk on which no more than one table is begun before a channel is closed.
func oneTableUntil(disk vfs.FS, closed <-chan struct{}) vfs.FS {
	var tables atomic.Int32
	return vfstest.NewFault(disk, func(op vfstest.Op) error {
		if op.Kind == vfstest.OpCreate && strings.HasSuffix(op.Name, ".sst") && tables.Add(1) > 1 {
			<-closed
		}
		return nil
	})
}

// differs reports whether a number is farther from another one than a part of that.
func differs(got, want int64, part float64) bool {
	return float64(got) < (1-part)*float64(want)-1 || float64(got) > (1+part)*float64(want)+1
}

// TestSpaceOfSnapshots: what snapshots see is pinned until they are closed.
func TestSpaceOfSnapshots(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 8 << 20})
	fixture.Must(t, err)
	defer d.Close()
	f := &filler{t: t, rng: rand.New(rand.NewPCG(2, 17)), d: d}
	f.load(keys, 120)
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	for range 2 { // what the first round writes nobody sees after the second
		f.overwrite(1)
		f.flush()
	}
	before := spaceOf(t, d, nil, nil)
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	held, with := tableBytes(d), spaceOf(t, d, nil, nil)
	fixture.Must(t, s.Close())
	without := spaceOf(t, d, nil, nil)
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	pinned := held - tableBytes(d)
	if pinned < held/3 {
		t.Fatalf("%d of %d bytes came back", pinned, held)
	}
	if differs(before.PinnedBytes, pinned, 0.2) || differs(with.PinnedBytes, pinned, 0.1) || differs(with.DeadBytes, pinned, 0.1) {
		t.Errorf("%d bytes were pinned; before %+v, merged %+v", pinned, before, with)
	}
	if without.PinnedBytes != 0 || differs(without.DeadBytes, pinned, 0.1) {
		t.Errorf("%d bytes are dead: %+v", pinned, without)
	}
}

// TestSpaceIsCheap: however large a database is, no more blocks of it are read, and none
// comes into the cache.
func TestSpaceIsCheap(t *testing.T) {
	const most = 1500
	for _, n := range []int{1000, 20_000, 120_000} {
		disk := vfstest.NewDisk()
		d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 8 << 20}))
		fixture.Must(t, err)
		f := &filler{t: t, rng: rand.New(rand.NewPCG(3, 17)), d: d}
		f.load(n, 100)
		for range 3 {
			f.each(n, 0.1, func(b *db.Batch, i int) error { return b.Put(key(i), f.value(100)) })
			f.flush()
		}
		fixture.Must(t, d.Close())
		d, err = db.Open(fixture.Dir, fixture.On(disk, db.Options{ReadOnly: true}))
		fixture.Must(t, err)
		read := func(start, end []byte) uint64 {
			before := d.Metrics().Reads.BlocksRead
			spaceOf(t, d, start, end)
			return d.Metrics().Reads.BlocksRead - before
		}
		whole, small := read(nil, nil), read(key(n/2), key(n/2+20))
		t.Logf("%d keys, %d bytes: %d blocks were read, %d for a small range", n, tableBytes(d), whole, small)
		if whole == 0 || whole > most || small == 0 || small > 30 {
			t.Errorf("%d keys: %d blocks were read, %d for a small range", n, whole, small)
		}
		if c := d.Metrics().Cache; c.Blocks != 0 || c.Misses != 0 || c.Hits != 0 {
			t.Errorf("the cache was used: %+v", c)
		}
		fixture.Must(t, d.Close())
	}
}

// TestSpaceIsRefused: bad ranges are empty, and bad calls are errors.
func TestSpaceIsRefused(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true})
	fixture.Must(t, err)
	fixture.Must(t, errors.Join(d.Put([]byte("k"), []byte("v")), d.Flush(t.Context())))
	for _, bounds := range [][2][]byte{{[]byte("z"), []byte("a")}, {[]byte("k"), []byte("k")}, {[]byte("l"), nil}, {nil, []byte("k")}, {nil, {}}} {
		if s := spaceOf(t, d, bounds[0], bounds[1]); all(s) != 0 {
			t.Errorf("%q: %+v", bounds, s)
		}
	}
	if s := spaceOf(t, d, []byte("k"), []byte("k\x00")); s.LiveBytes != tableBytes(d) {
		t.Errorf("%+v of %d", s, tableBytes(d))
	}
	ended, end := context.WithCancel(t.Context())
	end()
	_, err = d.SpaceOf(ended, nil, nil)
	fixture.WantErr(t, "SpaceOf", err, context.Canceled)
	_, err = d.Explain(ended, nil)
	fixture.WantErr(t, "Explain", err, context.Canceled)
	var none context.Context
	if _, err := d.SpaceOf(none, nil, nil); err == nil {
		t.Error("SpaceOf takes no context")
	}
	if _, err := d.Explain(none, nil); err == nil {
		t.Error("Explain takes no context")
	}
	fixture.Must(t, d.Close())
	_, err = d.SpaceOf(t.Context(), nil, nil)
	fixture.WantErr(t, "SpaceOf", err, db.ErrClosed)
	_, err = d.Explain(t.Context(), nil)
	fixture.WantErr(t, "Explain", err, db.ErrClosed)
}

// TestDamageIsNamed: where a block that is needed is damaged, both say which file, and where.
func TestDamageIsNamed(t *testing.T) {
	disk := vfstest.NewDisk()
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{}))
	fixture.Must(t, err)
	f := &filler{t: t, rng: rand.New(rand.NewPCG(4, 17)), d: d}
	f.load(300, 100)
	fixture.Must(t, d.Close())
	files := fixture.FilesOf(t, disk, fixture.Dir)
	table := files.Named(".sst")[0]
	const at = 10_000
	d = openFiles(t, files.Flipped(table, at).Disk(t))
	check := func(what string, err error) {
		t.Helper()
		damage, ok := errors.AsType[*db.CorruptionError](err)
		if !ok || filepath.Base(damage.File) != table || damage.Offset > at || damage.Offset < at-5000 {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = d.SpaceOf(t.Context(), nil, nil)
	check("SpaceOf", err)
	failed := 0
	for i := range 300 {
		_, want := d.Get(key(i))
		e, err := d.Explain(t.Context(), key(i))
		if (err == nil) != (want == nil) || e.Found != (want == nil) {
			t.Errorf("%s: Get %v, Explain %v, %+v", key(i), want, err, e)
		}
		if err != nil {
			failed++
			check("Explain", err)
			if steps := e.Steps; e.DecidedBy != "" || len(steps) == 0 || steps[len(steps)-1].Place != "table" {
				t.Errorf("Explain: %+v", e)
			}
		}
	}
	if failed == 0 || failed > 60 {
		t.Errorf("%d keys cannot be read", failed)
	}
}

// openFiles opens what lies on a disk for reading, until the test ends.
func openFiles(t *testing.T, disk vfs.FS) *db.DB {
	t.Helper()
	d, err := db.Open(fixture.Dir, fixture.On(disk, fixture.Speaking(db.Options{ReadOnly: true}, fixture.NewClock())))
	fixture.Must(t, err)
	t.Cleanup(func() { fixture.Must(t, d.Close()) })
	return d
}
