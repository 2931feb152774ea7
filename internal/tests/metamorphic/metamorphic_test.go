package metamorphic_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/tests/metamorphic"
	"lsmdb/internal/tests/metamorphic/subject"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

var (
	histories     = flag.Int("metamorphic.histories", 2, "how many histories TestMetamorphic runs under every option set")
	firstHistory  = flag.Uint64("metamorphic.seed", 1, "seed of the first of them")
	operations    = flag.Int("metamorphic.operations", 1000, "operations of each history")
	historyScript = flag.String("metamorphic.script", "", "file with the only history that TestMetamorphic runs, as a failure prints it")
)

// TestMetamorphic runs the same histories under many option sets. Every result of
// every operation must be that of a sorted list, and so the same under all of them. A
// failure prints a short script; saved, it is run again by
//
//	go test ./internal/tests/metamorphic -run TestMetamorphic -metamorphic.script "$PWD"/FILE
func TestMetamorphic(t *testing.T) {
	list, err := drawHistories()
	if err != nil {
		t.Fatal(err)
	}
	ran, total := 0, 0
	did = tally{}
	sets := optionSets()
	for _, s := range sets {
		t.Run(s.Name, func(t *testing.T) {
			ran++
			for i, h := range list {
				if f := s.Compare(h); f != nil {
					t.Fatalf("history %d: %s", *firstHistory+uint64(i), s.Explain(h, f))
				}
				total += len(h)
			}
		})
	}
	t.Logf("%d histories under %d option sets, %d operations compared: %+v", len(list), ran, total, did)
	if whole := ran == len(sets) && *historyScript == "" && *operations >= 1000; whole && (did.flushes == 0 || did.compactions == 0 || did.moves == 0 || did.replayed == 0 || did.levels < 3) {
		t.Error("something that this test is for never happened")
	}
}

// tally counts what happened behind the scenes.
type tally struct {
	opens, flushes, compactions, moves, replayed uint64
	levels                                       int // in use at the same time
}

var did tally

func (c *tally) add(m db.Metrics) {
	c.opens++
	c.flushes += m.Flush.Jobs
	c.compactions += m.Compact.Jobs
	c.moves += m.Compact.Moves
	c.replayed += m.Recovery.Operations
	c.see(m)
}

// see notes the levels of a database, or of a checkpoint of it.
func (c *tally) see(m db.Metrics) {
	used := 0
	for _, l := range m.Levels {
		used += min(l.Tables, 1)
	}
	c.levels = max(c.levels, used)
}

func drawHistories() ([]metamorphic.History, error) {
	if *historyScript != "" {
		text, err := os.ReadFile(*historyScript)
		if err != nil {
			return nil, err
		}
		h, err := metamorphic.Parse(string(text))
		return []metamorphic.History{h}, err
	}
	var list []metamorphic.History
	for i := range uint64(*histories) {
		seed := *firstHistory + i
		list = append(list, metamorphic.GenerateWhole(seed, *operations, []int{40, 200, 2000}[seed%3]))
	}
	return list, nil
}

// optionSets are the ways in which every history runs. ReadOnly and MustExist come
// with the restarts.
func optionSets() []metamorphic.Subject {
	fixed := func(name string, place func() (subject.Place, error), o db.Options) metamorphic.Subject {
		return onPlace(name, place, func(int) db.Options { return o })
	}
	sets := []metamorphic.Subject{
		fixed("defaults", onDisk, db.Options{}),
		fixed("tiny", onDisk, db.Options{MemtableBytes: 1, CacheBytes: 1}),
		fixed("no cache", onDisk, db.Options{MemtableBytes: 1, CacheBytes: -1}),
		fixed("no filters", onDisk, db.Options{MemtableBytes: 1, FilterBitsPerKey: -1}),
		fixed("one filter bit", onDisk, db.Options{MemtableBytes: 1, CacheBytes: 64 << 10, FilterBitsPerKey: 1}),
		fixed("largest filters", onDisk, db.Options{MemtableBytes: 100 << 10, CacheBytes: 20 << 10, FilterBitsPerKey: 64}),
		fixed("uncompressed", onDisk, db.Options{MemtableBytes: 1, Compression: db.NoCompression}),
		fixed("unsynced", onDisk, db.Options{MemtableBytes: 40 << 10, Durability: db.NoSync}),
		fixed("in memory", inMemory, db.Options{InMemory: true, MemtableBytes: 1}),
		fixed("in memory, large", inMemory, db.Options{InMemory: true, MemtableBytes: 4 << 20, Compression: db.NoCompression}),
		fixed("tiny budget", onDisk, db.Options{Memory: db.NewMemoryBudget(1)}),
		fixed("one budget for all", onDisk, db.Options{Memory: shared, MemtableBytes: 200 << 10}),
		fixed("real directory", inDirectory, db.Options{MemtableBytes: 64 << 10, Durability: db.NoSync}),
		fixed("real directory, tiny cache", inDirectory, db.Options{MemtableBytes: 256 << 10, CacheBytes: 4 << 10}),
	}
	for seed := range uint64(4) {
		sets = append(sets, onPlace(fmt.Sprintf("drawn anew at each open, %d", seed), onDisk, func(opening int) db.Options {
			return drawOptions(rand.New(rand.NewPCG(seed, uint64(opening))))
		}))
	}
	return sets
}

// shared is the budget of several databases at a time.
var shared = db.NewMemoryBudget(300 << 10)

func drawOptions(rng *rand.Rand) db.Options {
	return db.Options{
		Durability:       db.Durability(rng.IntN(3)),
		MemtableBytes:    []int64{1, 16 << 10, 40 << 10, 150 << 10, 4 << 20}[rng.IntN(5)],
		CacheBytes:       []int64{-1, 1, 20 << 10, 300 << 10, 0}[rng.IntN(5)],
		Memory:           []*db.MemoryBudget{nil, nil, shared, db.NewMemoryBudget(rng.Int64N(1 << 20))}[rng.IntN(4)],
		FilterBitsPerKey: []int{-1, 0, 1, 3, 10, 64}[rng.IntN(6)],
		Compression:      db.Compression(rng.IntN(2)),
	}
}

func onPlace(name string, place func() (subject.Place, error), options func(opening int) db.Options) metamorphic.Subject {
	return metamorphic.Subject{Name: name, Open: func() (metamorphic.Store, error) {
		p, err := place()
		if err != nil {
			return nil, err
		}
		return subject.Open(p, func(opening int) db.Options {
			o := options(opening)
			o.MustExist = opening > 0
			return o
		})
	}}
}

// files is a Place on any file system of a test.
type files struct {
	fs   vfs.FS
	disk *vfstest.Disk // the same, where it can lose its power
	dir  string
	real bool // there is something to remove
	open *db.DB
	dead *atomic.Bool // stops every operation on its files
}

func onDisk() (subject.Place, error) {
	disk := vfstest.NewDisk()
	return &files{fs: disk, disk: disk, dir: "/base/db"}, nil
}

// inMemory keeps the memory of a database InMemory, for the next one to find.
func inMemory() (subject.Place, error) {
	return &files{fs: memoryDirectory{vfs.NewMem()}, dir: "memory"}, nil
}

// memoryDirectory is the directory that a vfs.Mem does not know, for MustExist.
type memoryDirectory struct{ vfs.FS }

func (m memoryDirectory) Stat(name string) (vfs.Info, error) {
	if name == "memory" {
		return vfs.Info{IsDir: true}, nil
	}
	return m.FS.Stat(name)
}

func inDirectory() (subject.Place, error) {
	dir, err := os.MkdirTemp("", "lsmdb-metamorphic-")
	return &files{fs: vfs.OS, dir: dir, real: true}, err
}

func (p *files) Open(o *db.Options) (*db.DB, error) {
	dead := new(atomic.Bool)
	p.dead = dead
	fsys := vfstest.NewFault(p.fs, func(vfstest.Op) error {
		if dead.Load() {
			return fixture.ErrDead
		}
		return nil
	})
	var err error
	p.open, err = db.Open(p.dir, fixture.On(fsys, *o))
	return p.open, err
}

// OpenCopy implements subject.Copying.
func (p *files) OpenCopy(c *db.Checkpoint, n int, o *db.Options) (*db.DB, func() error, error) {
	dir, fsys := fmt.Sprintf("%s-checkpoint-%d", p.dir, n), p.fs
	remove := func() error { return nil } // a disk in memory has room
	if p.real || p.disk == nil {          // what lies in memory is copied into a real directory
		above, err := os.MkdirTemp("", "lsmdb-checkpoint-")
		if err != nil {
			return nil, nil, err
		}
		remove = func() error { return os.RemoveAll(above) }
		dir, fsys = filepath.Join(above, "copy"), vfs.OS
	}
	if err := c.Link(dir); err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	d, err := db.Open(dir, fixture.On(fsys, *o))
	if err == nil {
		did.see(d.Metrics())
	}
	return d, remove, err
}

func (p *files) Verify() (*db.VerifyReport, error) {
	return fixture.VerifyOn(p.fs, p.dir)
}

func (p *files) End(end metamorphic.End) {
	did.add(p.open.Metrics())
	switch {
	case end == metamorphic.CleanClose:
	case end == metamorphic.PowerLost && p.disk != nil:
		p.disk = p.disk.CrashClone(nil)
		p.fs = p.disk
	default:
		p.dead.Store(true)
	}
}

func (p *files) Remove() error {
	if !p.real {
		return nil
	}
	return os.RemoveAll(p.dir)
}
