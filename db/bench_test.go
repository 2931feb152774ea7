package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

const benchmarkKeys = 200_000

func benchmarkKey(dst []byte, i int) []byte { return fmt.Appendf(dst[:0], "key%013d", i) }

func benchmarkDB(b *testing.B) *db.DB {
	b.Helper()
	d, err := db.Open(b.TempDir(), &db.Options{Durability: db.NoSync})
	fixture.Must(b, err)
	b.Cleanup(func() { fixture.Must(b, d.Close()) })
	return d
}

// loadedDB holds benchmarkKeys keys with values of 100 bytes, all in tables.
func loadedDB(b *testing.B) *db.DB {
	b.Helper()
	d := benchmarkDB(b)
	value := make([]byte, 100)
	batch := d.NewBatch()
	var key []byte
	for i := range benchmarkKeys {
		key = benchmarkKey(key, i)
		fixture.Must(b, batch.Put(key, value))
		if batch.Len() == 1000 {
			fixture.Must(b, d.Apply(b.Context(), batch))
			batch.Reset()
		}
	}
	fixture.Must(b, d.Compact(b.Context(), nil, nil))
	return d
}

func BenchmarkPutSequential(b *testing.B) { benchmarkPut(b, func(i int) int { return i }) }

func BenchmarkPutRandom(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	benchmarkPut(b, func(int) int { return rng.IntN(1 << 30) })
}

func benchmarkPut(b *testing.B, next func(i int) int) {
	d := benchmarkDB(b)
	value := make([]byte, 100)
	var key []byte
	b.ReportAllocs()
	b.SetBytes(116)
	for i := 0; b.Loop(); i++ {
		key = benchmarkKey(key, next(i))
		if err := d.Put(key, value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBatch100(b *testing.B) {
	d := benchmarkDB(b)
	value := make([]byte, 100)
	batch := d.NewBatch()
	var key []byte
	b.ReportAllocs()
	b.SetBytes(100 * 116)
	for i := 0; b.Loop(); i++ {
		batch.Reset()
		for j := range 100 {
			key = benchmarkKey(key, i*100+j)
			batch.Put(key, value)
		}
		if err := d.Apply(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetHit(b *testing.B) { benchmarkGet(b, 0) }

func BenchmarkGetMiss(b *testing.B) { benchmarkGet(b, 1) }

// benchmarkGet looks up keys that exist, or ones that lie between them.
func benchmarkGet(b *testing.B, suffix int) {
	d := loadedDB(b)
	rng := rand.New(rand.NewPCG(1, 2))
	var key, value []byte
	b.ReportAllocs()
	for b.Loop() {
		key = benchmarkKey(key, rng.IntN(benchmarkKeys))
		key = append(key, "x"[:suffix]...)
		var err error
		if value, err = d.AppendValue(value[:0], key); (err == nil) != (suffix == 0) {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetHitParallel(b *testing.B) {
	d := loadedDB(b)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		rng := rand.New(rand.NewPCG(1, rand.Uint64()))
		var key, value []byte
		for p.Next() {
			key = benchmarkKey(key, rng.IntN(benchmarkKeys))
			var err error
			if value, err = d.AppendValue(value[:0], key); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkNext(b *testing.B) {
	benchmarkMove(b, func(it *db.Iterator) bool { return it.Next() || it.First() })
}

func BenchmarkPrev(b *testing.B) {
	benchmarkMove(b, func(it *db.Iterator) bool { return it.Prev() || it.Last() })
}

func BenchmarkSeek(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	var key []byte
	benchmarkMove(b, func(it *db.Iterator) bool {
		key = benchmarkKey(key, rng.IntN(benchmarkKeys))
		return it.SeekGE(key)
	})
}

func benchmarkMove(b *testing.B, move func(*db.Iterator) bool) {
	it, err := loadedDB(b).NewIterator(nil)
	fixture.Must(b, err)
	defer it.Close()
	b.ReportAllocs()
	for b.Loop() {
		if !move(it) {
			b.Fatal(it.Err())
		}
	}
}

// BenchmarkSubmit100 keeps four batches of 100 under way, as a program does that loads.
func BenchmarkSubmit100(b *testing.B) {
	d := benchmarkDB(b)
	value := make([]byte, 100)
	var batches [4]*db.Batch
	var pending [4]*db.Pending
	for i := range batches {
		batches[i] = d.NewBatch()
	}
	var key []byte
	b.ReportAllocs()
	b.SetBytes(100 * 116)
	for i := 0; b.Loop(); i++ {
		at := i % len(batches)
		if pending[at] != nil {
			fixture.Must(b, pending[at].Wait(b.Context()))
		}
		batch := batches[at]
		batch.Reset()
		for j := range 100 {
			key = benchmarkKey(key, i*100+j)
			batch.Put(key, value)
		}
		var err error
		pending[at], err = d.Submit(b.Context(), batch)
		fixture.Must(b, err)
	}
}

func BenchmarkBatchPut(b *testing.B) {
	batch, value := new(db.DB).NewBatch(), make([]byte, 100)
	key := benchmarkKey(nil, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 {
			batch.Reset()
		}
		batch.Put(key, value)
	}
}

func BenchmarkPutSynced(b *testing.B) {
	d := benchmarkDB(b)
	value := make([]byte, 100)
	var key []byte
	for i := 0; b.Loop(); i++ {
		key = benchmarkKey(key, i)
		fixture.Must(b, d.Put(key, value, db.Sync))
	}
}

// BenchmarkTransaction compares a transaction that reads and writes one key with a Get and
// a Put, of one client and of eight with keys of their own.
func BenchmarkTransaction(b *testing.B) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync})
	fixture.Must(b, err)
	defer d.Close()
	const keysEach = 10_000
	key := func(dst []byte, client, i int) []byte {
		return fmt.Appendf(dst[:0], "key %02d %05d", client, i*7919%keysEach)
	}
	value := make([]byte, 100)
	for client := range 9 {
		for i := range keysEach {
			fixture.Must(b, d.Put(key(nil, client, i), value))
		}
	}
	plain := func(k, buffer []byte) ([]byte, error) {
		buffer, _ = d.AppendValue(buffer[:0], k)
		return buffer, d.Put(k, value)
	}
	update := func(k, buffer []byte) ([]byte, error) {
		err := d.Update(context.Background(), func(tx *db.Tx) error {
			buffer, _ = tx.AppendValue(buffer[:0], k)
			return tx.Put(k, value)
		})
		return buffer, err
	}
	for _, clients := range []int{1, 8} {
		for _, c := range []struct {
			name string
			do   func(k, buffer []byte) ([]byte, error)
		}{{"get and put", plain}, {"transaction", update}} {
			b.Run(fmt.Sprintf("%s, %d", c.name, clients), func(b *testing.B) {
				b.ReportAllocs()
				var wait sync.WaitGroup
				for client := range clients {
					wait.Go(func() {
						k, buffer := make([]byte, 0, 20), make([]byte, 0, 200)
						for i := range b.N / clients {
							k = key(k, client, i)
							var err error
							if buffer, err = c.do(k, buffer); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wait.Wait()
			})
		}
	}
}

// BenchmarkPutFollowed is what puts with a sync cost, on a disk that takes no time, with
// loops over the changes that hear of each.
func BenchmarkPutFollowed(b *testing.B) {
	for _, loops := range []int{0, 1, 4} {
		b.Run(fmt.Sprintf("loops=%d", loops), func(b *testing.B) {
			d, err := db.Open("", &db.Options{InMemory: true})
			fixture.Must(b, err)
			var followers sync.WaitGroup
			for range loops {
				followers.Go(func() {
					for _, err := range d.Changes(b.Context(), 0) {
						if err != nil {
							return
						}
					}
				})
			}
			value := make([]byte, 100)
			var key []byte
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				key = benchmarkKey(key, i)
				fixture.Must(b, d.Put(key, value))
			}
			fixture.Must(b, d.Close())
			followers.Wait()
		})
	}
}
