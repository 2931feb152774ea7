package stages

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"lsmdb/internal/base"
)

// These tests are about when space comes back: after range deletes, and when values end.

func deleteRange(start, end string) *Commit {
	c := NewCommit()
	bound := []byte(end)
	if end == "" {
		bound = nil
	}
	if err := c.Add(base.KindRangeDelete, []byte(start), bound, 0); err != nil {
		panic(err)
	}
	return c
}

func putUntil(key, value string, until time.Time) *Commit {
	c := NewCommit()
	if err := c.Add(base.KindSetExpiring, []byte(key), []byte(value), until.UnixNano()); err != nil {
		panic(err)
	}
	return c
}

// readBytes is how much compactions have read so far.
func (r *rig) readBytes() uint64 { return r.p.Metrics().Compact.BytesRead }

// TestRangeDeleteGivesSpaceBack: what is deleted is gone soon after, and unread where it
// makes whole tables, whether somebody flushes or not.
func TestRangeDeleteGivesSpaceBack(t *testing.T) {
	for _, c := range []struct {
		name, start, end string
		flush            bool
		least, most      int64
	}{
		{"all", "", "", true, 0, 0},
		{"all, not flushed", "", "", false, 0, 0},
		{"all, with bounds", "k", "zz", true, 0, 0},
		{"half of a table", "k100", "k250", true, 140 << 10, 170 << 10},
		{"most of a table, not flushed", "k020", "", false, 10 << 10, 30 << 10},
		{"next to nothing", "k150", "k151", false, 290 << 10, 320 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t).large()
				must(t, r.put(set("z", "")))
				time.Sleep(3 * time.Second)
				before := r.readBytes()
				must(t, r.put(deleteRange(c.start, c.end)))
				if c.flush {
					must(t, r.p.Flush(context.Background()))
				}
				time.Sleep(5 * time.Second)
				_, size := r.tables()
				if read := r.readBytes() - before; size < c.least || size > c.most || read > max(1<<10, uint64(c.most)*20) {
					t.Errorf("%d bytes are left, %d were read", size, read)
				}
				if !r.atRest() {
					t.Error("not at rest")
				}
				r.close()
			})
		})
	}
}

// TestRangeDeletesWaitForSnapshots: what a snapshot sees stays until it is released.
func TestRangeDeletesWaitForSnapshots(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).large()
		s := r.p.Acquire(new(Snapshot))
		must(t, r.put(deleteRange("k", "l")))
		must(t, r.p.Flush(context.Background()))
		time.Sleep(time.Minute)
		if _, size := r.tables(); size < 300<<10 {
			t.Errorf("%d bytes are left while a snapshot sees them", size)
		}
		r.p.Release(s)
		time.Sleep(5 * time.Second)
		if counts, size := r.tables(); size > 0 || !r.atRest() {
			t.Errorf("%v tables with %d bytes are left", counts, size)
		}
		r.close()
	})
}

// TestDamagedTablesAreDropped: a table that cannot be read needs not be read to be dropped.
func TestDamagedTablesAreDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).large()
		for _, table := range r.p.State().Version.Levels[6] {
			r.damage(table.Number)
		}
		must(t, r.put(set("k100", "newer", "k200", "newer")))
		must(t, r.p.Flush(context.Background()))
		_ = r.p.Compact(context.Background(), nil, nil)
		if r.p.Metrics().Compact.SetAside == 0 {
			t.Fatal("nothing is damaged")
		}
		must(t, r.put(deleteRange("", "")))
		must(t, r.p.Flush(context.Background()))
		time.Sleep(5 * time.Second)
		if counts, size := r.tables(); size > 0 || r.p.Metrics().Compact.SetAside > 0 {
			t.Errorf("%v tables with %d bytes are left, %d set aside", counts, size, r.p.Metrics().Compact.SetAside)
		}
		r.close()
	})
}

// TestEndedValuesGoByThemselves: nobody writes or reads, and no timer runs but the one for
// the next end.
func TestEndedValuesGoByThemselves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		began := time.Now()
		for i := range 100 {
			key := fmt.Sprintf("k%03d", i)
			until := began.Add(time.Hour)
			if i%4 > 0 {
				until = began.Add(3 * time.Hour)
			}
			must(t, r.put(putUntil(key, kilobyte(key), until)))
		}
		must(t, r.p.Flush(context.Background()))
		time.Sleep(time.Hour - time.Minute)
		_, full := r.tables()
		read := r.readBytes()
		time.Sleep(2*time.Hour - time.Minute)
		if _, size := r.tables(); size < full/2 || !r.atRest() {
			t.Errorf("%d bytes of %d are left while three quarters are there", size, full)
		}
		time.Sleep(2*time.Minute + time.Second)
		if counts, size := r.tables(); size > 0 || !r.atRest() || r.p.compactor.ending != nil {
			t.Errorf("%v tables with %d bytes are left", counts, size)
		}
		if more := r.readBytes() - read; more > 0 {
			t.Errorf("%d bytes were read for that", more)
		}
		r.close()
	})
}

// TestHalfEndedTables: three quarters of the values have ended, and are gone without the
// others.
func TestHalfEndedTables(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		began := time.Now()
		for i := range 200 {
			key := fmt.Sprintf("k%03d", i)
			until := began.Add(time.Minute)
			if i%4 == 0 {
				until = began.Add(1000 * time.Hour)
			}
			must(t, r.put(putUntil(key, kilobyte(key), until)))
		}
		must(t, r.p.Flush(context.Background()))
		time.Sleep(30 * time.Second)
		s := r.p.Acquire(new(Snapshot))
		_, full := r.tables()
		time.Sleep(2 * time.Minute)
		if _, size := r.tables(); size < full {
			t.Errorf("%d bytes of %d are left while a snapshot sees all", size, full)
		}
		r.p.Release(s)
		time.Sleep(10 * time.Second)
		if _, size := r.tables(); size > full/3 || size < full/5 || !r.atRest() {
			t.Errorf("%d bytes of %d are left", size, full)
		}
		r.close()
	})
}

// TestDayOfMetrics: a day of values that end after an hour takes the space of about one
// hour, and they are not read to go.
func TestDayOfMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		began, hour := time.Now(), int64(0)
		for minute := range 24 * 60 {
			for i := range 4 {
				key := fmt.Sprintf("%05d.%d", minute, i)
				must(t, r.put(putUntil(key, kilobyte(key), time.Now().Add(time.Hour))))
			}
			time.Sleep(time.Minute)
			if _, size := r.tables(); minute == 70 {
				hour = size
			} else if minute > 70 && size > hour*3/2 {
				t.Fatalf("%d bytes after %v, %d in the first hour", size, time.Since(began), hour)
			}
		}
		if m := r.p.Metrics().Compact; hour == 0 || m.BytesRead > uint64(hour) {
			t.Errorf("%d bytes in an hour, %+v", hour, m)
		}
		r.close()
	})
}

// TestOperandsAmongStages merges, deletes and flushes at random, beside jobs and snapshots:
// each operand counts once and in its place.
func TestOperandsAmongStages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.env.Merger = &base.Merger{Name: "chain", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
			return append(append(dst, older...), newer...), nil
		}}
		r.open()
		rng := rand.New(rand.NewPCG(1, 1))
		want := make(map[string]string)
		var open []*Snapshot
		for i := range 3000 {
			key := fmt.Sprintf("k%02d", rng.IntN(30))
			c := NewCommit()
			switch rng.IntN(40) {
			case 0:
				must(t, c.Add(base.KindDelete, []byte(key), nil, 0))
				delete(want, key)
			case 1:
				must(t, c.Add(base.KindRangeDelete, []byte(key), []byte(key+"~"), 0))
				delete(want, key)
			default:
				operand := fmt.Sprintf("%d %s,", i, strings.Repeat("x", rng.IntN(50)))
				must(t, c.Add(base.KindMerge, []byte(key), []byte(operand), 0))
				want[key] += operand
			}
			must(t, r.put(c))
			switch rng.IntN(60) {
			case 0:
				open = append(open, r.p.Acquire(new(Snapshot)))
			case 1:
				for _, s := range open {
					r.p.Release(s)
				}
				open = nil
			case 2:
				time.Sleep(2 * time.Second)
			}
		}
		for _, s := range open {
			r.p.Release(s)
		}
		must(t, r.p.Flush(context.Background()))
		must(t, r.p.Compact(context.Background(), nil, nil))
		for i := range 30 {
			key := fmt.Sprintf("k%02d", i)
			if got, ok := r.get(key); ok != (want[key] != "") || got != want[key] {
				t.Errorf("%s is %.80q, want %.80q", key, got, want[key])
			}
		}
		if r.p.Metrics().MergeFailures > 0 {
			t.Error("the operator failed")
		}
		r.close()
	})
}
