package backup

import (
	"context"
	"fmt"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// BenchmarkPuts puts without a sync, alone and beside a Run. The difference is what the Run
// costs: it has ended when the time is taken, with all that was put in the bucket.
func BenchmarkPuts(b *testing.B) {
	for _, running := range []bool{false, true} {
		name := "alone"
		if running {
			name = "run"
		}
		b.Run(name, func(b *testing.B) {
			d, err := db.Open(b.TempDir(), &db.Options{Durability: db.NoSync, KeepChangesBytes: 1 << 30})
			fixture.Must(b, err)
			defer d.Close()
			s := store{memblob.OpenBucket(nil)}
			var r *follower
			if running {
				r = begun(b, d, s)
			}
			key, value := make([]byte, 0, 16), make([]byte, 100)
			b.SetBytes(116)
			b.ResetTimer()
			for i := range b.N {
				key = fmt.Appendf(key[:0], "%016x", uint64(i)*0x9e3779b97f4a7c15)
				fixture.Must(b, d.Put(key, value))
			}
			fixture.Must(b, d.Sync(context.Background()))
			if running {
				reached(b, s, uint64(b.N))
				r.stop()
				<-r.done
			}
		})
	}
}

// follower is a Run of a benchmark.
type follower struct {
	stop context.CancelFunc
	done chan error
}

func begun(b *testing.B, d *db.DB, s store) *follower {
	ctx, stop := context.WithCancel(context.Background())
	r := &follower{stop, make(chan error, 1)}
	go func() { r.done <- run(ctx, local{d}, s, (&Options{LogInterval: 100 * time.Millisecond}).resolved()) }()
	eventually(b, "there was a point", func() bool { names, err := s.points(ctx); return err == nil && len(names) > 0 })
	return r
}

// BenchmarkRestore restores a database of 100,000 entries, half of them from the log.
func BenchmarkRestore(b *testing.B) {
	d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync, KeepChangesBytes: 1 << 30})
	fixture.Must(b, err)
	defer d.Close()
	s := store{memblob.OpenBucket(nil)}
	put := func(from int) {
		batch := d.NewBatch()
		for i := range 50_000 {
			fixture.Must(b, batch.Put(fmt.Appendf(nil, "%016x", uint64(from+i)*0x9e3779b97f4a7c15), make([]byte, 100)))
		}
		fixture.Must(b, d.Apply(context.Background(), batch, db.Sync))
	}
	put(0)
	r := begun(b, d, s)
	put(50_000)
	reached(b, s, 100_000)
	r.stop()
	<-r.done
	b.ResetTimer()
	for i := range b.N {
		report, err := Restore(context.Background(), s.Bucket, fmt.Sprintf("%s/%d", b.TempDir(), i), Latest)
		fixture.Must(b, err)
		b.SetBytes(report.TableBytes + 50_000*120)
	}
}
