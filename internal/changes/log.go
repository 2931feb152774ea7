// Package changes serves those who follow what is written to a database. They read the
// segments of the log: those that recovery may need, and those that are kept for them.
//
// A Log knows which segments there are and how much of the newest is durable; the stages
// tell it. A Loop reads them, in the goroutine of whoever follows, by files of its own. The
// package starts no goroutine.
package changes

import (
	"cmp"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/view"
	"lsmdb/manifest"
)

// Part is a piece of the history: a segment of the log, a load, or, as the last of all,
// what is not begun yet. It goes up to where the next one begins.
type Part struct {
	First   base.Seq         // number of its first operation
	Segment uint64           // 0: it is none
	Load    *manifest.Loaded // nil: it is none
	Bytes   int64            // in the file, once it has ended; see loadBytes
	Ended   bool             // nothing comes behind what is durable
	Flushed bool             // recovery does not need it

	durable *atomic.Int64 // of a segment: so much of the file is certain to survive
}

// Segment returns the part that is an old segment of the log, which nothing but those who
// follow needs, and which has so many bytes.
func Segment(number uint64, first base.Seq, bytes int64) Part {
	p := Part{First: first, Segment: number, Bytes: bytes, Ended: true, Flushed: true, durable: new(atomic.Int64)}
	p.durable.Store(bytes)
	return p
}

// Join puts segments, which ascend, and loads together. Next is the number of what comes
// behind all of them. Loads that lie before a hole go.
func Join(segments []Part, loads []manifest.Loaded, next base.Seq) []Part {
	parts := append(slices.Clone(segments), Part{First: next})
	for _, l := range loads {
		parts = append(parts, loadPart(l))
	}
	slices.SortStableFunc(parts, func(a, b Part) int { return cmp.Compare(a.First, b.First) })
	for i := len(parts) - 2; i >= 0; i-- {
		if parts[i].Load != nil && parts[i].First+1 != parts[i+1].First {
			return parts[i+1:]
		}
	}
	return parts
}

// loadBytes is what a load counts for beside its keys, as the MANIFEST has to name it: so
// there are never very many.
const loadBytes = 4 << 10

func loadPart(l manifest.Loaded) Part {
	return Part{First: l.Seq, Load: &l, Bytes: loadBytes + int64(len(l.First)+len(l.Last)), Ended: true}
}

// LoopBytes is how much is kept for Loops where nothing is kept otherwise.
const LoopBytes = 64 << 20

// Log is what there is to follow. The Writer tells what is durable and which segments
// there are, the Sweeper which of them are to go. All methods may be called concurrently.
//
// Parts are a list that never changes: whoever changes it publishes another one, and takes
// the mutex because the Writer, the Sweeper and those who follow all do, a few times for a
// segment. What happens with each sync takes no mutex, unless somebody waits for it.
type Log struct {
	files vfs.Files
	path  func(segment uint64) string
	keep  int64  // bytes of flushed segments; 0: as many as Loops need, within LoopBytes; negative: none
	trim  func() // has the Sweeper call Trim

	parts   atomic.Pointer[[]Part] // oldest first; nil: what was replayed is not durable yet
	waiting atomic.Int32           // Loops that wait
	closed  chan struct{}          // closed by Close, for everybody; nothing is sent

	mu      sync.Mutex
	live    *atomic.Int64 // durable of the newest segment; nil: there is none
	loops   []*Loop
	dropped []uint64      // flushed segments that cannot be read and are to go
	news    chan struct{} // closed and made new when something has come; nothing is sent
	ended   bool
}

// NewLog makes one. Keep says how many bytes of what is flushed are kept: see Log. Trim
// must not wait.
func NewLog(files vfs.Files, path func(segment uint64) string, keep int64, trim func()) *Log {
	return &Log{files: files, path: path, keep: keep, trim: trim, closed: make(chan struct{}), news: make(chan struct{})}
}

// Resume says what there is of earlier times, as Join made it, once it is durable. Later
// calls have no effect.
func (l *Log) Resume(parts []Part) {
	l.change(func([]Part) []Part {
		if old := l.parts.Load(); old != nil {
			return *old
		}
		return parts
	})
}

// change publishes what do makes of a copy of the parts, and wakes who waits.
func (l *Log) change(do func(parts []Part) []Part) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []Part
	if old := l.parts.Load(); old != nil {
		parts = slices.Clone(*old)
	}
	parts = do(parts)
	l.parts.Store(&parts)
	l.wake()
}

// wake wakes all who wait. The caller holds mu.
func (l *Log) wake() {
	close(l.news)
	l.news = make(chan struct{})
}

// Begin says that the log goes on in a new segment, whose first operation will have this
// number, and that all before it is durable. The Writer calls it, as the next four.
func (l *Log) Begin(segment uint64, first base.Seq) {
	l.change(func(parts []Part) []Part {
		last := &parts[len(parts)-1]
		last.Ended = true
		if last.Segment == 0 {
			parts = parts[:len(parts)-1]
		} else {
			last.Bytes = last.durable.Load()
		}
		l.live = new(atomic.Int64)
		return append(parts, Part{First: first, Segment: segment, durable: l.live})
	})
}

// Durable says how much of the newest segment is durable, and visible to readers.
func (l *Log) Durable(bytes int64) {
	if l.live.Load() == bytes {
		return
	}
	l.live.Store(bytes)
	if l.waiting.Load() > 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wake()
	}
}

// Load says that a load has taken a number. The newest segment, which is empty, goes on
// behind it.
func (l *Log) Load(load manifest.Loaded) {
	l.change(func(parts []Part) []Part {
		last := len(parts) - 1
		parts[last].First = load.Seq + 1
		return slices.Insert(parts, last, loadPart(load))
	})
	l.trim()
}

// Flush says that recovery does not need a segment any more. It reports whether that is to
// stay all the same, until Trim returns its number. The Sweeper calls it, and Trim.
func (l *Log) Flush(segment uint64) (kept bool) {
	l.change(func(parts []Part) []Part {
		if i := slices.IndexFunc(parts, func(p Part) bool { return p.Segment == segment }); i >= 0 {
			parts[i].Flushed, kept = true, true
		}
		return parts
	})
	return kept
}

// Trim returns the segments that are to be removed, and forgets them. Who still reads one
// of them finds out that it is gone.
func (l *Log) Trim() (segments []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	segments, l.dropped = l.dropped, nil
	old := l.parts.Load()
	if old == nil {
		return nil
	}
	n := l.surplus(*old)
	for _, p := range (*old)[:n] {
		if p.Segment != 0 {
			segments = append(segments, p.Segment)
		}
	}
	if n > 0 { // nobody waits for less
		parts := (*old)[n:]
		l.parts.Store(&parts)
	}
	return segments
}

// surplus returns how many parts are one too many, from the oldest on. The caller holds mu.
func (l *Log) surplus(parts []Part) (n int) {
	needed, limit := base.Seq(0), max(l.keep, 0) // from where on
	if l.keep == 0 && len(l.loops) > 0 && !l.ended {
		needed, limit = l.oldestLoop(nil), LoopBytes
	}
	sum := int64(0)
	kept := kept(parts)
	for _, p := range kept {
		sum += p.Bytes
	}
	for ; n < len(kept) && (limit == 0 || sum > limit || parts[n+1].First <= needed); n++ {
		sum -= parts[n].Bytes
	}
	return n
}

// kept returns the parts that recovery does not need. There always is one behind them.
func kept(parts []Part) []Part {
	n := slices.IndexFunc(parts, func(p Part) bool { return !p.Flushed && p.Load == nil })
	return parts[:n]
}

// oldestLoop returns the number of the first operation that a Loop has not seen, leaving
// one out; 0: there is no other. The caller holds mu.
func (l *Log) oldestLoop(but *Loop) (oldest base.Seq) {
	for _, o := range l.loops {
		if at := base.Seq(o.position.Load()) + 1; o != but && (oldest == 0 || at < oldest) {
			oldest = at
		}
	}
	return oldest
}

// drop forgets a segment that cannot be read, and all before it.
func (l *Log) drop(segment uint64) {
	l.change(func(parts []Part) []Part {
		i := slices.IndexFunc(parts, func(p Part) bool { return p.Segment == segment })
		if i < 0 || i == len(parts)-1 {
			return parts
		}
		for _, p := range parts[:i+1] {
			if p.Segment != 0 && p.Flushed { // others go when they are flushed
				l.dropped = append(l.dropped, p.Segment)
			}
		}
		return parts[i+1:]
	})
	l.trim()
}

// find returns the parts and which of them an operation belongs to. It returns a
// *base.TrimmedError if that is there no more, and nothing before Resume.
func (l *Log) find(seq base.Seq) (parts *[]Part, i int, err error) {
	if parts = l.parts.Load(); parts == nil {
		return nil, 0, nil
	}
	i = sort.Search(len(*parts), func(i int) bool { return (*parts)[i].First > seq }) - 1
	if i < 0 {
		return nil, 0, &base.TrimmedError{Oldest: uint64((*parts)[0].First) - 1}
	}
	return parts, i, nil
}

// Loaded returns those of some loads that are not forgotten.
func (l *Log) Loaded(loads []manifest.Loaded) []manifest.Loaded {
	parts := l.parts.Load()
	if parts == nil {
		return loads
	}
	return slices.DeleteFunc(slices.Clone(loads), func(o manifest.Loaded) bool { return o.Seq < (*parts)[0].First })
}

// Close ends all Loops, now and later.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended = true
		close(l.closed)
	}
}

// Holder is a Loop that runs.
type Holder struct {
	view.Opened
	Seq   uint64 // of the last operation that it has returned
	Bytes int64  // of segments that are kept for it alone
}

// Holders returns all of them.
func (l *Log) Holders() (list []Holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.loops {
		h := Holder{Opened: o.Opened, Seq: o.position.Load()}
		if parts := l.parts.Load(); parts != nil && l.keep == 0 && !l.ended {
			others := l.oldestLoop(o)
			for i, p := range kept(*parts) {
				end := (*parts)[i+1].First
				if end > base.Seq(h.Seq)+1 && (others == 0 || end <= others) {
					h.Bytes += p.Bytes
				}
			}
		}
		list = append(list, h)
	}
	return list
}

// Stats describes a Log.
type Stats struct {
	Loops    int
	Segments int    // that are kept, as recovery does not need them
	Bytes    int64  // of these
	Oldest   uint64 // changes behind this number are there
}

// Stats describes it.
func (l *Log) Stats() (s Stats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Loops = len(l.loops)
	if parts := l.parts.Load(); parts != nil {
		s.Oldest = uint64((*parts)[0].First) - 1
		for _, p := range kept(*parts) {
			if p.Segment != 0 {
				s.Segments++
				s.Bytes += p.Bytes
			}
		}
	}
	return s
}
