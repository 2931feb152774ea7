package db_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// BenchmarkOpenAndGet opens what was closed properly and reads one key.
func BenchmarkOpenAndGet(b *testing.B) { benchmarkOpenAndGet(b, 0) }

// BenchmarkRecoverAndGet opens what a killed process left, with 32 MiB in its log, and
// reads one key. Close is not timed.
func BenchmarkRecoverAndGet(b *testing.B) { benchmarkOpenAndGet(b, 32<<10) }

func benchmarkOpenAndGet(b *testing.B, logged int) {
	dir := filepath.Join(b.TempDir(), "db")
	d, err := db.Open(dir, nil)
	fixture.Must(b, err)
	for i := range 100_000 {
		fixture.Must(b, d.Put(fmt.Appendf(nil, "k%08d", i), make([]byte, 100), db.NoSync))
	}
	fixture.Must(b, d.Compact(b.Context(), nil, nil))
	for i := range logged {
		fixture.Must(b, d.Put(fmt.Appendf(nil, "k%08d", i), make([]byte, 1<<10), db.NoSync))
	}
	fixture.Must(b, d.Sync(b.Context()))
	killed := filepath.Join(b.TempDir(), "killed")
	fixture.Must(b, os.CopyFS(killed, os.DirFS(dir)))
	fixture.Must(b, d.Close())
	for b.Loop() {
		if b.StopTimer(); logged > 0 {
			fixture.Must(b, os.RemoveAll(dir))
			fixture.Must(b, os.CopyFS(dir, os.DirFS(killed)))
		}
		b.StartTimer()
		d, err := db.Open(dir, nil)
		fixture.Must(b, err)
		_, err = d.Get([]byte("k00000007"))
		fixture.Must(b, err)
		b.StopTimer()
		fixture.Must(b, d.Close())
		b.StartTimer()
	}
}
