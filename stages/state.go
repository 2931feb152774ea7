package stages

import (
	"slices"
	"sync"
	"sync/atomic"
	"weak"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// ReadState is everything a reader searches, newest first: the active memtable,
// the sealed ones, the tree. It is immutable; only the active memtable still
// grows, and readers bound what they see of it by a sequence number.
type ReadState struct {
	Active  *memtable.Memtable
	Sealed  []*memtable.Memtable // newest first
	Version *manifest.Version

	nudged chan<- struct{} // the Compactor's; nil: there is none
}

// Hold keeps the memtables as they are until a change of -1 follows one of 1.
func (s *ReadState) Hold(change int64) {
	s.Active.Hold(change)
	for _, m := range s.Sealed {
		m.Hold(change)
	}
}

// Detoured tells what reads have spent on level 0: see manifest.Version.Detour. When
// it is time to do something about it, the Compactor hears of it.
func (s *ReadState) Detoured(bytes int64) {
	if s.Version.Detour(bytes) {
		nudge(s.nudged)
	}
}

// Passed tells how many deletes and deleted entries a read passed in a table before it came
// to something that it could show: see manifest.Version.Pass.
func (s *ReadState) Passed(level int, t *manifest.TableMeta, entries int64) {
	if s.Version.Pass(level, t, entries) {
		nudge(s.nudged)
	}
}

// PassedInMemtable is Passed for one of the memtables. A sealed one is being flushed already.
func (s *ReadState) PassedInMemtable(m *memtable.Memtable, entries int64) {
	if m == s.Active && m.Pass(entries) {
		nudge(s.nudged)
	}
}

// nudge makes the Compactor look for work again. Sending never waits: one nudge is as
// good as two.
func nudge(compactor chan<- struct{}) {
	select {
	case compactor <- struct{}{}:
	default:
	}
}

// Published is what readers see of the pipeline. They load the state first and
// the visible sequence number second: then the state holds every version that
// this number, or any later one, can ask for. (The other way round a compaction
// could remove a version between the two loads.) Should the memtable be rotated
// between the loads, the reader sees the instant of the rotation.
type Published struct {
	state   atomic.Pointer[ReadState]
	visible atomic.Uint64
	readers readers

	// replacing makes the two writers of state, the Writer's rotation and the
	// Keeper's edits, apply their change to each other's latest result.
	replacing sync.Mutex
	retired   []retired // oldest first; under replacing
}

// Publish starts with a state in which everything up to visible can be read.
func (p *Published) Publish(s ReadState, visible base.Seq) {
	p.state.Store(&s)
	p.visible.Store(uint64(visible))
}

// State returns the current read state, for whoever looks at no entry of a memtable.
func (p *Published) State() *ReadState { return p.state.Load() }

// Visible returns the sequence number of the newest visible write.
func (p *Published) Visible() base.Seq { return base.Seq(p.visible.Load()) }

// replace publishes what change makes of the current state.
func (p *Published) replace(change func(ReadState) ReadState) {
	p.replacing.Lock()
	defer p.replacing.Unlock()
	next := change(*p.state.Load())
	p.state.Store(&next)
	p.observe()
}

// rotate publishes active as the active memtable. The previous one becomes the
// newest sealed one, or is dropped where it holds nothing.
func (p *Published) rotate(active *memtable.Memtable) {
	p.replace(func(s ReadState) ReadState {
		if !s.Active.Empty() {
			s.Sealed = append([]*memtable.Memtable{s.Active}, s.Sealed...)
		}
		s.Active = active
		return s
	})
}

// advance publishes a version, and in the same instant drops the memtable whose
// entries it now holds (nil: none).
func (p *Published) advance(v *manifest.Version, flushed *memtable.Memtable) {
	p.replace(func(s ReadState) ReadState {
		s.Version = v
		if flushed != nil {
			s.Sealed = slices.DeleteFunc(slices.Clone(s.Sealed), func(m *memtable.Memtable) bool { return m == flushed })
			p.retired = append(p.retired, retired{memtable: weak.Make(flushed)})
			p.retired = p.retired[max(0, len(p.retired)-maxRetired):]
		}
		return s
	})
}
