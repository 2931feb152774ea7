package faults

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// flushUntilFull has a flush begin that finds no room, and gives it up when Health tells of that.
func flushUntilFull(t *testing.T, d *db.DB) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	flushed := make(chan error, 1)
	go func() { flushed <- d.Flush(ctx) }()
	for !errors.Is(d.Health(), db.ErrDiskFull) {
		runtime.Gosched()
	}
	cancel()
	fixture.WantErr(t, "Flush", <-flushed, context.Canceled)
}

// untilFull returns a context that ends when a write waits for a flush that finds no room.
func untilFull(t *testing.T, d *db.DB) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	before := d.Metrics().Stalls.Count
	watching.Go(func() {
		for ctx.Err() == nil {
			if s := d.Metrics().Stalls; s.Count > before && s.Behind != "" && errors.Is(d.Health(), db.ErrDiskFull) {
				cancel()
			}
			runtime.Gosched()
		}
	})
	return ctx, func() {
		cancel()
		watching.Wait()
	}
}

// press writes until a write waits for a flush that finds no room, and takes that write back.
// The others are added to want.
func press(t *testing.T, d *db.DB, b *db.Batch, want fixture.View) {
	t.Helper()
	ctx, done := untilFull(t, d)
	defer done()
	value := strings.Repeat("v", 1000)
	for i := 0; ; i++ {
		key := fmt.Sprintf("pressed%05d", i)
		b.Reset()
		fixture.Must(t, b.Put([]byte(key), []byte(value)))
		if err := d.Apply(ctx, b, db.NoSync); err != nil {
			fixture.WantErr(t, "Apply under back-pressure", err, context.Canceled)
			return
		}
		want[key] = value
	}
}
