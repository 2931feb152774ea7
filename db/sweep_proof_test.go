package db

import (
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/vfstest"
)

// TestEverySyncIsNecessary removes every sync of the engine in turn, by its place in
// the sources and the calls that led there, and expects the crash sweep to fail each
// time: a sync that nothing fails without would be a wasted one, or a sweep that
// misses something. The recorded histories are the same; the sync counts for nothing
// in them, as if it had never been called.
func TestEverySyncIsNecessary(t *testing.T) {
	recordings := recordAll(t)
	sites := make(map[string]bool)
	for _, r := range recordings {
		for _, site := range r.trace.Sites() {
			sites[site] = true
		}
	}
	proven := 0
	for _, site := range slices.Sorted(keysOf(sites)) {
		err := withoutSync(recordings, site)
		switch {
		case err != nil:
			proven++
			t.Logf("necessary: %s\n\twithout it: %s", site, strings.SplitN(err.Error(), "\n", 2)[0])
		default:
			t.Errorf("nothing fails without the sync by %s", site)
		}
	}
	t.Logf("%d of %d sync points proven necessary", proven, len(sites))
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// recordAll goes through the histories of two seeds.
func recordAll(t *testing.T) []*recording {
	var recordings []*recording
	for seed := range uint64(2) {
		for _, k := range sweepKinds {
			recordings = append(recordings, k.record(t, 1000+seed))
		}
	}
	return recordings
}

// withoutSync sweeps the histories that come to a sync, without it.
func withoutSync(recordings []*recording, site string) error {
	for _, r := range recordings {
		from := slices.IndexFunc(r.trace.Events, func(e vfstest.Event) bool { return e.Site == site })
		if from < 0 {
			continue
		}
		s := sweep{recording: r, seed: 1, sample: 1, effort: vfstest.Effort{Subsets: 6, Tears: 4}, from: from,
			ignore: func(e *vfstest.Event) bool { return e.Site == site }}
		if err := s.run(); err != nil {
			return err
		}
	}
	return nil
}
