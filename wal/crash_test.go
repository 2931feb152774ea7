package wal

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"lsmdb/internal/base"
)

// crashRun is a log being written, and at each step of its file's journal what
// had been appended and what had been promised.
type crashRun struct {
	journal []change
	records [][]byte
	issued  []int // per journal step: records whose append had begun
	synced  []int // per journal step: records that were durable for the caller
	ended   []bool
}

func runToCrash(t *testing.T, script ...any) *crashRun {
	f := &memoryFile{}
	run := &crashRun{}
	synced, begun := 0, 0
	note := func(ended bool) {
		for len(run.issued) < len(f.journal) {
			run.issued = append(run.issued, begun)
			run.synced = append(run.synced, synced)
			run.ended = append(run.ended, ended)
		}
	}
	w := mustWriter(t, f)
	note(false)
	for i, step := range script {
		switch step := step.(type) {
		case int:
			run.records = append(run.records, noise(uint64(i), step))
			begun++
			mustDo(t, w.Append(run.records[begun-1]))
			note(false)
		case string:
			switch step {
			case "sync":
				mustDo(t, w.Sync())
				note(false)
				synced = begun
			case "close":
				mustDo(t, w.Close())
				note(false)
			default:
				_, err := w.Finish()
				mustDo(t, err)
				note(true)
			}
		}
	}
	run.journal = f.journal
	return run
}

// The machine stops after any step. What was synced is there; each later write
// survived whole, in part or not at all, in any combination. None of that is
// damage: the log must open, hold a prefix of what was appended, and all of it that
// was synced.
func TestCrashAnywhere(t *testing.T) {
	scripts := map[string][]any{
		"sync each":   {3, "sync", 500, "sync", 40, "sync", "finish"},
		"sync some":   {3, 500, "sync", 40, 0, 9, "sync", 11, 12},
		"sync none":   {3, 500, 40, 9, 30},
		"two blocks":  {30000, "sync", 5000, 20, "sync", 40, 7, "finish"},
		"grows":       {60000, "sync", 9000, 20, "sync", 40, 7, "finish"},
		"large write": {1100 << 10, 20, "sync", 40, "finish"},
		"is cut":      {30000, 9000, "sync", "close"},
		"cut as is":   {3, 500, "sync", 40, 9, "close"},
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := runToCrash(t, script...)
			for stop := range len(run.journal) + 1 {
				run.crashAt(t, stop)
			}
		})
	}
}

// crashAt tries the images that a stop before journal step stop may leave.
func (run *crashRun) crashAt(t *testing.T, stop int) {
	t.Helper()
	durable := 0
	for i, c := range run.journal[:stop] {
		if c.kind == changeSync {
			durable = i + 1
		}
	}
	pending := run.journal[durable:stop]
	limit := 6
	switch {
	case len(run.journal) > 20: // a long log
		limit = 1
	case base.Invariants:
		limit = 4
	}
	var settled []change // what of a long queue of pending writes is certain
	if len(pending) > limit {
		settled, pending = pending[:len(pending)-limit], pending[len(pending)-limit:]
	}
	promised, begun := 0, 0
	if stop > 0 {
		promised, begun = run.synced[stop-1], run.issued[stop-1]
	}
	certain := &memoryFile{data: make([]byte, 0, 4<<20)}
	for _, c := range slices.Concat(run.journal[:durable], settled) {
		certain.apply(c)
	}
	for fate := range power(3, len(pending)) {
		image := survivors(certain.data, pending, fate)
		if err := run.check(image, promised, begun); err != nil {
			t.Fatalf("stopped before step %d, fate %d: %v", stop, fate, err)
		}
	}
}

func power(b, n int) int {
	p := 1
	for range n {
		p *= b
	}
	return p
}

// survivors builds a file from what is certain and the fate of what is not: each
// pending change, in base 3, is lost, done, or done for its first half.
func survivors(certain []byte, pending []change, fate int) []byte {
	f := &memoryFile{data: slices.Clone(certain)}
	for _, c := range pending {
		switch fate % 3 {
		case 1:
			f.apply(c)
		case 2:
			if c.kind == changeWrite {
				c.data = c.data[:(len(c.data)+1)/2]
				f.apply(c)
			}
		}
		fate /= 3
	}
	return f.data
}

func (run *crashRun) check(image []byte, promised, begun int) error {
	o := readLog(image)
	if o.err != nil {
		return o.err
	}
	if len(o.records) < promised || len(o.records) > begun {
		return fmt.Errorf("%d records, %d were durable and %d written", len(o.records), promised, begun)
	}
	for i, record := range o.records {
		if !bytes.Equal(record, run.records[i]) {
			return fmt.Errorf("record %d is not what was written", i)
		}
	}
	if o.end.Sealed && len(o.records) != len(run.records) {
		return fmt.Errorf("sealed with %d records of %d", len(o.records), len(run.records))
	}
	return nil
}

// The pages of one write reach the disk in any order.
func TestCrashReordersPages(t *testing.T) {
	const page = 4096
	f := &memoryFile{}
	w := mustWriter(t, f)
	mustDo(t, w.Append(noise(1, 100)))
	mustDo(t, w.Sync())
	synced := slices.Clone(f.data)
	long := noise(2, 8*page)
	mustDo(t, w.Append(long))
	mustDo(t, w.Append(noise(3, 50)))
	end := int64(len(bytes.TrimRight(f.data, "\x00")))
	pages := int((end + page - 1) / page)
	for fate := range 1 << pages {
		image := append(slices.Clone(synced), make([]byte, len(f.data)-len(synced))...)
		for p := range pages {
			if fate>>p&1 == 1 {
				copy(image[p*page:(p+1)*page], f.data[p*page:])
			}
		}
		o := readLog(image)
		if o.err != nil || len(o.records) < 1 {
			t.Fatalf("pages %b: %d records, error %v", fate, len(o.records), o.err)
		}
		if whole := fate == 1<<pages-1; whole != (len(o.records) == 3) {
			t.Fatalf("pages %b: %d records", fate, len(o.records))
		}
	}
}
