package db_test

import (
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

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
