package compactor

import (
	"bytes"
	"slices"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// checkJobs checks, without the picker's own means, that the running jobs are
// sound and do not get into each other's way.
func checkJobs(t *testing.T, v *manifest.Version, running []*Job, setAside map[uint64]error) {
	t.Helper()
	users := make(map[uint64]*Job)
	for _, job := range running {
		checkJob(t, v, job)
		for _, table := range job.tables() {
			if other := users[table.Number]; other != nil {
				t.Fatalf("table %d is part of %s and of %s", table.Number, other, job)
			}
			if users[table.Number] = job; setAside[table.Number] != nil && !job.Drop {
				t.Fatalf("table %d, part of %s, is set aside", table.Number, job)
			}
		}
	}
	for i, a := range running {
		for _, b := range running[:i] {
			if a.Drop || b.Drop {
				continue // they write nothing
			}
			if a.Level == 0 && b.Level == 0 {
				t.Fatalf("%s and %s both empty level 0", a, b)
			}
			if a.OutputLevel == b.OutputLevel && bytes.Compare(a.Lower, b.Upper) <= 0 && bytes.Compare(b.Lower, a.Upper) <= 0 {
				t.Fatalf("%s and %s may write the same keys", a, b)
			}
		}
	}
}

// checkJob checks that no newer version can sink below an older one.
func checkJob(t *testing.T, v *manifest.Version, job *Job) {
	t.Helper()
	within := func(table *manifest.TableMeta, tables []*manifest.TableMeta) bool {
		for _, o := range tables {
			if o.Number == table.Number {
				return true
			}
		}
		return false
	}
	ends := func(a, b *manifest.TableMeta) bool { // before b begins
		c := bytes.Compare(a.Largest.UserKey(), b.Smallest.UserKey())
		return c < 0 || c == 0 && a.Largest.Kind() == base.KindRangeDelete
	}
	overlap := func(a, b *manifest.TableMeta) bool { return !ends(a, b) && !ends(b, a) }
	if job.Drop {
		return
	}
	if len(job.Inputs) == 0 || job.OutputLevel < job.Level || job.TableBytes <= 0 {
		t.Fatalf("%s makes no sense", job)
	}
	if job.OutputLevel == 0 {
		checkStretch(t, v, job)
		return
	}
	for _, in := range job.Inputs {
		if !within(in, v.Levels[job.Level]) {
			t.Fatalf("%s: table %d is not in its level", job, in.Number)
		}
		for level := job.Level; level <= job.OutputLevel; level++ {
			for _, o := range v.Levels[level] {
				older := level > 0 || o.LargestSeq < in.LargestSeq
				if older && overlap(in, o) && !within(o, job.tables()) {
					t.Fatalf("%s overtakes table %d in level %d", job, o.Number, level)
				}
			}
		}
	}
	for _, o := range job.Overlaps {
		if !within(o, v.Levels[job.OutputLevel]) {
			t.Fatalf("%s: table %d is not in the output level", job, o.Number)
		}
	}
	for _, o := range v.Levels[job.OutputLevel] {
		inRange := bytes.Compare(o.Largest.UserKey(), job.Lower) >= 0 && bytes.Compare(o.Smallest.UserKey(), job.Upper) <= 0
		atEnd := bytes.Equal(o.Smallest.UserKey(), job.Upper) && !slices.ContainsFunc(job.tables(), func(in *manifest.TableMeta) bool { return overlap(in, o) })
		if inRange && !atEnd && !within(o, job.tables()) {
			t.Fatalf("%s: outputs may overlap table %d", job, o.Number)
		}
	}
	if job.Trivial && (len(job.Inputs) != 1 || len(job.Overlaps) != 0) {
		t.Fatalf("%s cannot be trivial", job)
	}
}

// checkStretch checks that a job within level 0 takes a stretch of its history.
func checkStretch(t *testing.T, v *manifest.Version, job *Job) {
	t.Helper()
	newest, oldest := job.Inputs[0].LargestSeq, job.Inputs[len(job.Inputs)-1].SmallestSeq
	taken := 0
	for _, o := range v.Levels[0] {
		if o.LargestSeq >= oldest && o.SmallestSeq <= newest {
			taken++
		}
	}
	if taken != len(job.Inputs) || len(job.Overlaps) > 0 || job.Trivial {
		t.Fatalf("%s leaves out tables of its time", job)
	}
}
