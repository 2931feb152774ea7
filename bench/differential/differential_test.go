package differential

import (
	"flag"
	"os"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/metamorphic"
	"lsmdb/internal/tests/metamorphic/subject"
)

var (
	histories    = flag.Int("histories", 4, "how many histories TestDifferential runs on every database")
	firstHistory = flag.Uint64("history", 1, "seed of the first of them")
	operations   = flag.Int("operations", 1500, "operations of each history")
	script       = flag.String("script", "", "file with the only history that TestDifferential runs, as a failure prints it")
)

// TestDifferential runs the same histories on lsmdb, Pebble and goleveldb. Every
// result must be that of a sorted list, and so the same on all of them. A failure
// prints a short script; saved, it is run again by
//
//	go test ./differential -script "$PWD"/FILE
func TestDifferential(t *testing.T) {
	list := drawHistories(t)
	total := 0
	for _, s := range []metamorphic.Subject{
		{Name: "lsmdb", Open: openLsmdb},
		{Name: "pebble", Open: openPebble},
		{Name: "goleveldb", Open: openGoleveldb},
	} {
		t.Run(s.Name, func(t *testing.T) {
			for i, h := range list {
				if f := s.Compare(h); f != nil {
					t.Fatalf("history %d: %s", *firstHistory+uint64(i), s.Explain(h, f))
				}
				total += len(h)
			}
		})
	}
	t.Logf("%d histories on 3 databases, %d operations compared", len(list), total)
}

func drawHistories(t *testing.T) []metamorphic.History {
	t.Helper()
	if *script != "" {
		text, err := os.ReadFile(*script)
		if err != nil {
			t.Fatal(err)
		}
		h, err := metamorphic.Parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		return []metamorphic.History{h}
	}
	var list []metamorphic.History
	for i := range uint64(*histories) {
		seed := *firstHistory + i
		list = append(list, metamorphic.Generate(seed, *operations, []int{40, 200, 2000}[seed%3]))
	}
	return list
}

// openLsmdb makes a new database as small as those of the others, in a directory.
func openLsmdb() (metamorphic.Store, error) {
	dir, err := os.MkdirTemp("", "lsmdb-differential-")
	if err != nil {
		return nil, err
	}
	return subject.Open(subject.Directory(dir), func(int) db.Options {
		return db.Options{MemtableBytes: 64 << 10, Durability: db.NoSync}
	})
}
