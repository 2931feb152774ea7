package db

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkOpenAndGet opens what was closed properly and reads one key.
func BenchmarkOpenAndGet(b *testing.B) { benchmarkOpenAndGet(b, 0) }

// BenchmarkRecoverAndGet opens what a killed process left, with 32 MiB in its log, and
// reads one key. Close is not timed.
func BenchmarkRecoverAndGet(b *testing.B) { benchmarkOpenAndGet(b, 32<<10) }

func benchmarkOpenAndGet(b *testing.B, logged int) {
	dir := filepath.Join(b.TempDir(), "db")
	d, err := Open(dir, nil)
	must(b, err)
	for i := range 100_000 {
		must(b, d.Put(fmt.Appendf(nil, "k%08d", i), make([]byte, 100), NoSync))
	}
	must(b, d.Compact(b.Context(), nil, nil))
	for i := range logged {
		must(b, d.Put(fmt.Appendf(nil, "k%08d", i), make([]byte, 1<<10), NoSync))
	}
	must(b, d.Sync(b.Context()))
	killed := filepath.Join(b.TempDir(), "killed")
	must(b, os.CopyFS(killed, os.DirFS(dir)))
	must(b, d.Close())
	for b.Loop() {
		if b.StopTimer(); logged > 0 {
			must(b, os.RemoveAll(dir))
			must(b, os.CopyFS(dir, os.DirFS(killed)))
		}
		b.StartTimer()
		d, err := Open(dir, nil)
		must(b, err)
		_, err = d.Get([]byte("k00000007"))
		must(b, err)
		b.StopTimer()
		must(b, d.Close())
		b.StartTimer()
	}
}
