package crash

import (
	"fmt"
	"maps"
	"math/rand/v2"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// againLooks is how many crashes of a recovery are looked at.
const againLooks = 6

// again opens a state that was found to hold so many batches, writes to it, takes the
// power away somewhere on the way, and opens what is left.
func (s *sweep) again(state *vfstest.State, batches int, rng *rand.Rand) error {
	disk := state.Disk()
	second := &sweep{recording: &recording{
		name: s.name, options: s.options, origin: s.recording, trace: disk.Record(""), keys: maps.Clone(s.keys),
		clock: s.clock, views: []fixture.State{s.views[batches]}, ends: make(map[uint64]int),
	}}
	d, err := s.open(disk)
	if err != nil {
		return fmt.Errorf("opened once more: %w", err)
	}
	second.last = d.Metrics().Sequence
	second.ends[second.last] = 0
	for i := range 3 {
		o := fixture.Operation{Key: fmt.Sprintf("again%d", i), Value: fmt.Sprint(i)}
		second.add(fixture.Commit{o})
		disk.Mark(markIssued, i+1)
		if err := d.Put([]byte(o.Key), []byte(o.Value), []db.Durability{db.NoSync, db.Sync, db.NoSync}[i]); err != nil {
			return fmt.Errorf("write to what was recovered: %w", err)
		}
		if i == 1 {
			disk.Mark(markSynced, i+1)
		}
	}
	if err := d.Close(); err != nil {
		return fmt.Errorf("close of what was recovered: %w", err)
	}
	disk.Mark(markSynced, 3)
	disk.Mark(markClosed, 1)
	second.trace.Stop()
	if err := second.some(rng); err != nil {
		return fmt.Errorf("%d batches were recovered, then: %w", batches, err)
	}
	return nil
}

// some looks at a few of the states of a short recording.
func (s *sweep) some(rng *rand.Rand) error {
	stops := make(map[int]bool)
	for range againLooks {
		stops[1+rng.IntN(len(s.trace.Events))] = true
	}
	legal := s.trace.Legal()
	for n := 1; ; n++ {
		e := legal.Step()
		if e == nil {
			return nil
		}
		s.marks.note(e)
		if !stops[n] {
			continue
		}
		found, err := s.look(legal.Draw(rng))
		if err == nil {
			err = s.marks.check(found)
		}
		if err != nil {
			return s.explain(n, err)
		}
	}
}
