package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
	"lsmdb/stages"
)

// TestAllTogether has goroutines do everything that there is to do, on a disk that is full
// now and then, with few files open at a time; some leave their snapshots and iterators
// behind. Nobody may wait for ever. Afterwards the house comes to rest: three years are
// simulated, so whatever fires once per idle delay would take for ever.
func TestAllTogether(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() || base.Invariants { // CI takes all of them without the race detector
		seeds = 15
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { liveTogether(t, seed) })
	}
}

func liveTogether(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 9))
	short := vfstest.NewShortage(syscall.ENOSPC, vfstest.OpCreate, vfstest.OpRename, vfstest.OpAllocate)
	disk := vfstest.NewDisk()
	delay := time.Duration(1+rng.IntN(50)) * time.Millisecond
	d, err := db.Open(fixture.Dir, fixture.Tuned(vfstest.NewFault(disk, short.Inject), func(e *stages.Environment) { e.IdleDelay = delay },
		db.Options{MemtableBytes: 16 << 10, MaxOpenFiles: 1 + rng.IntN(3)}))
	fixture.Must(t, err)
	var people sync.WaitGroup
	for n := range uint64(5) {
		people.Go(func() {
			p := person{rng: rand.New(rand.NewPCG(seed, n)), d: d, batch: d.NewBatch()}
			for i := range 150 {
				if err := p.act(); err != nil && !isExpected(err) {
					t.Errorf("seed %d: %v", seed, err)
				}
				if n == 0 && i%20 == 0 {
					short.Strike(1+p.rng.IntN(10), p.rng.IntN(4))
				}
			}
		})
	}
	if seed%3 == 0 { // closed in the middle of it
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
	} else {
		people.Wait()
		short.End()
		time.Sleep(3 * 365 * 24 * time.Hour)
	}
	fixture.Must(t, d.Close())
	people.Wait()
	short.End()
	d, err = db.Open(fixture.Dir, fixture.On(disk, db.Options{}))
	fixture.Must(t, err)
	fixture.Contents(t, d)
	fixture.Must(t, d.Close())
}

func isExpected(err error) bool {
	for _, expected := range []error{db.ErrClosed, db.ErrNotFound, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, expected) {
			return true
		}
	}
	return base.IsShortage(err)
}

// person uses a database.
type person struct {
	rng   *rand.Rand
	d     *db.DB
	batch *db.Batch
}

// act does something.
func (p *person) act() error {
	key := fmt.Appendf(nil, "%03d", p.rng.IntN(300))
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(p.rng.IntN(30))*time.Millisecond)
	defer cancel()
	switch p.rng.IntN(13) {
	case 0, 1, 2:
		return p.d.Put(key, make([]byte, p.rng.IntN(900)), db.NoSync+db.Durability(p.rng.IntN(2))) // or Queued
	case 3, 4:
		return p.d.Delete(key)
	case 5:
		_, err := p.d.Get(key)
		return err
	case 6:
		return p.walk()
	case 7:
		return p.keepSnapshot(key)
	case 8:
		return p.d.Flush(ctx)
	case 9:
		return p.d.Compact(ctx, nil, nil)
	case 10:
		time.Sleep(time.Duration(p.rng.IntN(100)) * time.Millisecond)
		p.d.Metrics()
		return nil
	case 11:
		err := p.batch.Put(key, key)
		if err == nil {
			_, err = p.d.Submit(ctx, p.batch)
		}
		if p.rng.IntN(3) == 0 {
			p.batch.Reset()
		}
		return err
	}
	err := p.batch.Delete(key)
	if err == nil {
		err = p.d.Apply(ctx, p.batch)
	}
	p.batch.Reset()
	return err
}

// walk looks at some keys and mostly closes its iterator.
func (p *person) walk() error {
	it, err := p.d.NewIterator(nil)
	if err != nil {
		return err
	}
	for n := 0; n < 20 && it.Next(); n++ {
	}
	if err = it.Err(); p.rng.IntN(9) > 0 {
		it.Close()
	}
	return err
}

// keepSnapshot reads from a snapshot and mostly closes it.
func (p *person) keepSnapshot(key []byte) error {
	s, err := p.d.NewSnapshot()
	if err != nil {
		return err
	}
	_, err = s.Get(key)
	if p.rng.IntN(4) > 0 {
		s.Close()
	}
	return err
}
