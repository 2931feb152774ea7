package db_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

const accounts = 40

func account(i int) []byte { return fmt.Appendf(nil, "account%03d", i) }

// balance encodes an amount, with a tail that makes tables grow.
func balance(amount int64) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(amount)), make([]byte, 150)...)
}

func amount(value []byte) int64 { return int64(binary.LittleEndian.Uint64(value)) }

// TestTransfers moves money between accounts while the tree is being flushed and
// compacted. Every reader, whatever it uses, must find the sum unchanged.
func TestTransfers(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 16 << 10, Durability: db.NoSync, CacheBytes: 30 << 10})
	fixture.Must(t, err)
	b := d.NewBatch()
	for i := range accounts {
		fixture.Must(t, b.Put(account(i), balance(1000)))
	}
	fixture.Must(t, d.Apply(t.Context(), b))

	var all sync.WaitGroup
	var stop atomic.Bool
	spawn := func(n int, body func(rng *rand.Rand) error) {
		for i := range n {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 7))
				for !stop.Load() {
					if err := body(rng); err != nil {
						t.Error(err)
						stop.Store(true)
					}
				}
			})
		}
	}
	var mu sync.Mutex // transfers read and write: one at a time
	var transfers, sums atomic.Int64
	spawn(2, func(rng *rand.Rand) error {
		mu.Lock()
		defer mu.Unlock()
		transfers.Add(1)
		return transfer(d, rng)
	})
	spawn(1, func(rng *rand.Rand) error { return noise(d, rng) })
	spawn(2, func(rng *rand.Rand) error { sums.Add(1); return sumByIterator(d, d, rng) })
	spawn(1, func(rng *rand.Rand) error { sums.Add(1); return sumBySnapshot(d, rng) })
	spawn(1, func(rng *rand.Rand) error {
		runtime.Gosched()
		if rng.IntN(4) == 0 {
			return d.Compact(context.Background(), nil, nil)
		}
		return d.Flush(context.Background())
	})
	for !stop.Load() { // until all of it has happened often
		if m := d.Metrics(); transfers.Load() > 500 && sums.Load() > 1000 && m.Flush.Jobs > 40 && m.Compact.Jobs > 15 {
			break
		}
		runtime.Gosched()
	}
	stop.Store(true)
	all.Wait()
	fixture.Must(t, sumByIterator(d, d, rand.New(rand.NewPCG(1, 1))))
	m := d.Metrics()
	t.Logf("%d transfers, %d sums, %d flushes, %d merges", transfers.Load(), sums.Load(), m.Flush.Jobs, m.Compact.Jobs)
	fixture.Must(t, d.Close())
}

// transfer moves some money, and sees it moved at once.
func transfer(d *db.DB, rng *rand.Rand) error {
	from, to := account(rng.IntN(accounts)), account(rng.IntN(accounts))
	if string(from) == string(to) {
		return nil
	}
	a, err := d.Get(from)
	if err != nil {
		return err
	}
	c, err := d.Get(to)
	if err != nil {
		return err
	}
	b := d.NewBatch()
	sum := rng.Int64N(100)
	b.Delete(from)
	b.Put(to, balance(amount(c)+sum))
	b.Put(from, balance(amount(a)-sum))
	if err := d.Apply(context.Background(), b); err != nil {
		return err
	}
	now, err := d.Get(from)
	if err == nil && amount(now) != amount(a)-sum {
		err = fmt.Errorf("%s has %d right after %d was written", from, amount(now), amount(a)-sum)
	}
	return err
}

// noise fills memtables with other keys and looks its own writes up.
func noise(d *db.DB, rng *rand.Rand) error {
	key := fmt.Appendf(nil, "noise%04d", rng.IntN(2000))
	value := make([]byte, rng.IntN(400))
	if rng.IntN(4) == 0 {
		if err := d.Delete(key); err != nil {
			return err
		}
		if ok, err := d.Has(key); ok || err != nil {
			return fmt.Errorf("%s is there after it was deleted: %v", key, err)
		}
		return nil
	}
	if err := d.Put(key, value); err != nil {
		return err
	}
	got, err := d.Get(key)
	if err == nil && len(got) != len(value) {
		err = fmt.Errorf("%s has %d bytes right after %d were written", key, len(got), len(value))
	}
	return err
}

func sumByIterator(d *db.DB, from fixture.Reader, rng *rand.Rand) error {
	it, err := from.NewIterator(&db.IterOptions{Prefix: []byte("account")})
	if err != nil {
		return err
	}
	defer it.Close()
	for range 2 {
		sum, n := int64(0), 0
		move := it.Next
		ok := it.First()
		if rng.IntN(2) == 0 {
			move, ok = it.Prev, it.Last()
		}
		for ; ok; ok = move() {
			sum += amount(it.Value())
			n++
		}
		if sum != 1000*accounts || n != accounts || it.Err() != nil {
			return fmt.Errorf("an iterator finds %d in %d accounts: %v", sum, n, it.Err())
		}
	}
	return nil
}

func sumBySnapshot(d *db.DB, rng *rand.Rand) error {
	s, err := d.NewSnapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	for range 3 {
		sum := int64(0)
		var buffer []byte
		for i := range accounts {
			if buffer, err = s.AppendValue(buffer[:0], account(i)); err != nil {
				return fmt.Errorf("snapshot: %s: %w", account(i), err)
			}
			sum += amount(buffer)
		}
		if sum != 1000*accounts {
			return fmt.Errorf("a snapshot finds %d by Get", sum)
		}
		if err := sumByIterator(d, s, rng); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	return nil
}

// TestSubmitOrder keeps many writes of one key under way: the last one wins.
func TestSubmitOrder(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 16 << 10})
	fixture.Must(t, err)
	defer d.Close()
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			key := fmt.Appendf(nil, "key%d", g)
			var last *db.Pending
			for i := range 500 {
				b := d.NewBatch()
				b.Put(key, fmt.Append(nil, i))
				p, err := d.Submit(context.Background(), b, db.Durability(i%2))
				if err != nil {
					t.Error(err)
					return
				}
				last = p
			}
			if err := last.Wait(context.Background()); err != nil {
				t.Error(err)
			}
			if v, err := d.Get(key); string(v) != "499" || err != nil {
				t.Errorf("%s is %s, %v", key, v, err)
			}
		})
	}
	all.Wait()
}
