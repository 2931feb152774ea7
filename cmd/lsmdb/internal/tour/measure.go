package tour

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// timings are the durations of one kind of operation.
type timings struct {
	name  string
	spans []time.Duration
	bytes int64
}

func newTimings(name string) *timings { return &timings{name: name} }

// time measures one operation that moves some bytes.
func (t *timings) time(bytes int, operation func() error) error {
	start := time.Now()
	err := operation()
	t.spans = append(t.spans, time.Since(start))
	t.bytes += int64(bytes)
	return err
}

// quantile returns the duration that a share of the operations did not exceed; 0
// when there are none.
func (t *timings) quantile(share float64) time.Duration {
	if len(t.spans) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t.spans))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// total is the time of all operations together.
func (t *timings) total() (sum time.Duration) {
	for _, d := range t.spans {
		sum += d
	}
	return sum
}

// MarshalJSON writes the figures that the picture shows.
func (t *timings) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"name": t.name, "count": len(t.spans), "bytes": t.bytes, "total_ns": t.total(),
		"median_ns": t.quantile(0.5), "p99_ns": t.quantile(0.99), "max_ns": t.quantile(1)})
}

// What is measured: numbers that are fixed, so that runs compare, for all but a few
// files. Where the files are large, the bytes end it before.
const (
	measuredGets     = 20_000
	measuredMisses   = 50_000
	measuredScans    = 500
	measuredMaxBytes = 1 << 30
	scannedEntries   = 100
)

func (t *tour) measure(ctx context.Context) error {
	start := time.Now()
	random := rand.New(rand.NewPCG(1, 2))
	gets, misses := newTimings("get"), newTimings("get, absent key")
	scans := newTimings(fmt.Sprintf("seek and %d next", scannedEntries))
	for _, measurement := range []func() error{
		func() error { return t.measureGets(ctx, random, gets, misses) },
		func() error { return t.measureMisses(ctx, random, misses) },
		func() error { return t.measureScans(ctx, random, scans) },
	} {
		if err := measurement(); err != nil {
			return err
		}
	}
	t.result.Timings = append(t.result.Timings, gets, misses, scans)
	t.done("measure", start, "%s gets, %s of absent keys, %s scans", units.Count(len(gets.spans)), units.Count(len(misses.spans)), units.Count(len(scans.spans)))
	return nil
}

// measureGets reads random files; those that were deleted count as misses.
func (t *tour) measureGets(ctx context.Context, random *rand.Rand, gets, misses *timings) error {
	start, most := time.Now(), min(measuredGets, 20*len(t.tree.files))
	var value []byte
	for n := 0; n < most && gets.bytes < measuredMaxBytes; n++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		index := random.IntN(len(t.tree.files))
		into, wanted := gets, error(nil)
		if isDeleted(index) {
			into, wanted = misses, db.ErrNotFound
		}
		key := t.tree.key(index)
		err := into.time(0, func() (err error) { value, err = t.database.AppendValue(value[:0], key); return err })
		if !errors.Is(err, wanted) {
			return fmt.Errorf("get of key %s: got %v, want %v", text.Quote(key), err, wanted)
		}
		if err == nil {
			gets.bytes += int64(len(value))
		}
		t.live(display.Progress{Verb: "measuring", Done: int64(n), Total: int64(most), Items: "gets", Since: start})
	}
	return nil
}

// measureMisses reads keys that were never there; no file's name has a zero byte.
func (t *tour) measureMisses(ctx context.Context, random *rand.Rand, misses *timings) error {
	start, most := time.Now(), min(measuredMisses, 50*len(t.tree.files))
	for n := range most {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		key := append(t.tree.key(random.IntN(len(t.tree.files))), 0)
		err := misses.time(0, func() error { _, err := t.database.AppendValue(nil, key); return err })
		if !errors.Is(err, db.ErrNotFound) {
			return fmt.Errorf("get of absent key %s: got %v", text.Quote(key), err)
		}
		t.live(display.Progress{Verb: "measuring", Done: int64(n), Total: int64(most), Items: "gets of absent keys", Since: start})
	}
	return nil
}

// measureScans seeks to random files and reads on from there.
func (t *tour) measureScans(ctx context.Context, random *rand.Rand, into *timings) error {
	start, most := time.Now(), min(measuredScans, len(t.tree.files))
	it, err := t.database.NewIterator(nil)
	if err != nil {
		return err
	}
	defer it.Close()
	for n := 0; n < most && into.bytes < measuredMaxBytes; n++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		key := t.tree.key(random.IntN(len(t.tree.files)))
		scanned := 0
		err := into.time(0, func() error {
			for ok := it.SeekGE(key); ok && scanned < scannedEntries; ok = it.Next() {
				scanned++
				into.bytes += int64(len(it.Value()))
			}
			return it.Err()
		})
		if err != nil {
			return err
		}
		t.live(display.Progress{Verb: "measuring", Done: int64(n), Total: int64(most), Items: "scans", Since: start})
	}
	return nil
}
