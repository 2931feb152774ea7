package sstable

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"lsmdb/internal/base"
)

// TestRoomThatOthersMake: who waits for a read, as the system is out of descriptors, goes on
// when the file is closed for another reason.
func TestRoomThatOthersMake(t *testing.T) {
	open := new(OpenFiles)
	files, handles := scarceTables(t, 2, 1, ReaderOptions{}, open)
	files.lenient = true
	reading, release := make(chan struct{}), make(chan struct{})
	files.onUse = func(name string) {
		if name == "0" {
			close(reading)
			<-release
		}
	}
	var readers sync.WaitGroup
	readers.Go(func() { handles[0].ReadAt(make([]byte, 1), 0) })
	<-reading
	readers.Go(func() {
		if _, err := handles[1].Table(); err != nil {
			t.Error(err)
		}
	})
	for waits := false; !waits; runtime.Gosched() {
		open.mu.Lock() // who waits in makeRoom has given it up
		waits = open.waiting.Load() > 0
		open.mu.Unlock()
	}
	if err := handles[0].Close(); err != nil {
		t.Error(err)
	}
	close(release)
	readers.Wait()
	open.CloseAll()
}

// TestOpenFilesUnderAllAtOnce: readers of many tables, tables that are closed meanwhile,
// a system that is short of descriptors now and then, and CloseAll in the middle of it.
// Everybody comes to an end (or the test does not), no read fails but for these reasons, and no file stays open.
func TestOpenFilesUnderAllAtOnce(t *testing.T) {
	for seed := range uint64(30) {
		limit := int(seed % 4) // 0: none
		open := &OpenFiles{Limit: limit}
		free := 1 + int(seed%3)
		files, handles := scarceTables(t, 8, free, ReaderOptions{}, open)
		files.lenient = true
		var readers sync.WaitGroup
		for reader := range uint64(8) {
			readers.Go(func() {
				rng := rand.New(rand.NewPCG(seed, reader))
				for range 150 {
					i := rng.IntN(len(handles))
					if rng.IntN(100) == 0 && i > 3 {
						if err := handles[i].Close(); err != nil {
							t.Error(err)
						}
						continue
					}
					table, err := handles[i].Table()
					if err == nil {
						it := table.NewIterator(IteratorOptions{NoCacheFill: true})
						n := 0
						for ok := it.First(); ok; ok = it.Next() {
							n++
						}
						if err = it.Err(); err == nil && n != 10 {
							t.Errorf("%d items", n)
						}
						it.Close()
					}
					if err != nil && !errors.Is(err, base.ErrClosed) {
						t.Errorf("seed %d: %v", seed, err)
					}
				}
			})
		}
		if seed%2 == 0 {
			for range 200 {
				open.Len()
			}
			open.CloseAll()
		}
		readers.Wait()
		open.CloseAll()
		if open.Len() != 0 {
			t.Errorf("seed %d: %d files are open", seed, open.Len())
		}
		if limit > 0 && files.peak > limit {
			t.Errorf("seed %d: %d files were open, at most %d may", seed, files.peak, limit)
		}
	}
}
