package view

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
	"weak"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// Iterators are many, mostly live for one read, and can be forgotten. So all that are open
// are listed, in a way that costs nothing to open one: a place in the list belongs to an
// inside, for as long as that lives, and to be listed there is to hold the state. Nobody is
// counted.
//
// An Iterator lists itself with the current state, and then looks whether that still is the
// current one. So when a state was replaced and the list names it nowhere, nobody who comes
// later stays with it.

// places is the list. Who opens an Iterator takes the mutex only with a new inside, or where
// the state is replaced at that very moment.
var places struct {
	mu   sync.Mutex
	list []*place
}

// place is that of one inside.
type place struct {
	iterator atomic.Pointer[Iterator] // nil: none is open
	index    int                      // in the list
	outlived weak.Pointer[Iterator]   // that is open, of a database that was closed; changes under the mutex
	_        [base.StripeBytes - 24]byte
}

// hold is what others may know of an Iterator. While that is listed it changes only under the
// mutex.
type hold struct {
	published *Published
	state     uint64 // number of what it looks at
	seq       base.Seq
	Opened
}

// newInside makes an inside with a place, which it leaves when the garbage collector takes
// it: then no Iterator uses it.
func newInside() *inside {
	in := &inside{place: new(place)}
	places.mu.Lock()
	defer places.mu.Unlock()
	in.place.index = len(places.list)
	places.list = append(places.list, in.place)
	runtime.AddCleanup(in, (*place).leave, in.place)
	return in
}

func (p *place) leave() {
	places.mu.Lock()
	defer places.mu.Unlock()
	last := len(places.list) - 1
	places.list[p.index] = places.list[last]
	places.list[p.index].index = p.index
	places.list[last] = nil
	places.list = places.list[:last]
}

// each calls do with every open Iterator and its place, in no order, until it returns false.
func (p *Published) each(do func(*place, *Iterator) bool) {
	places.mu.Lock()
	defer places.mu.Unlock()
	n := len(places.list)
	start := rand.IntN(n + 1)
	for i := range n {
		at := places.list[(start+i)%n]
		it := at.iterator.Load()
		if it == nil {
			it = at.outlived.Value()
		}
		if it != nil && it.hold.published == p && !do(at, it) {
			return
		}
	}
}

// outlive takes all Iterators off the list, when the database is closed: those that somebody
// has forgotten must not keep it, unless they are to be remembered. The others stay known.
func (p *Published) outlive() {
	if p.Remember {
		return
	}
	places.mu.Lock()
	defer places.mu.Unlock()
	for _, at := range places.list {
		if it := at.iterator.Load(); it != nil && it.hold.published == p && at.iterator.CompareAndSwap(it, nil) {
			at.outlived = weak.Make(it)
		}
	}
}

// Where an Iterator is opened is noted of the first sitesPerStep of an inside in the same
// moment, and of each holdsPerSite one of it. So it is unknown only in a stream of many that
// are opened one after the other.
const (
	sitesPerStep = 128
	holdsPerSite = 256
)

// Hold begins an Iterator, which is zero: from now until Close, what is current now stays. It
// is to show what is visible now or, where fixed is not nil, that instant. Whoever has to ask
// whether there is still anything to show asks behind Hold, and then calls Open.
//
// The call site is that of the caller's caller.
func (p *Published) Hold(it *Iterator, since int64, fixed *At) {
	in := insides.Get().(*inside)
	it.inside, it.hold.Since, in.published = in, since, p
	if since != in.since {
		in.since, in.holds = since, 0
	}
	if in.holds++; in.holds <= sitesPerStep || in.holds%holdsPerSite == 0 || since&1 != 0 || p.Remember {
		it.hold.PC = Caller(4)
	}
	if it.list(p.state.Load(), fixed) {
		return
	}
	places.mu.Lock() // whoever replaces one more state waits for that: so this ends
	for !it.list(p.state.Load(), fixed) {
	}
	in.place.outlived = weak.Pointer[Iterator]{}
	places.mu.Unlock()
	p.unread()
}

// list lists an Iterator with a state that was the current one, and reports whether it still
// is. Then it is as if the number of what is visible had been read in the same moment.
func (it *Iterator) list(s *State, fixed *At) bool {
	in, p := it.inside, it.inside.published
	in.state = s
	if fixed != nil {
		in.at = *fixed
	} else {
		in.at = At{Seq: p.Visible()}
	}
	it.hold.published, it.hold.state, it.hold.seq = p, s.number, in.at.Seq
	in.place.iterator.Store(it)
	return s == p.state.Load()
}

// letGo ends what Hold began.
func (it *Iterator) letGo() {
	in := it.inside
	in.place.iterator.Store(nil)
	if in.state != in.published.state.Load() {
		it.forget()
	}
}

// forget is letGo where the state was replaced. When the database is closed, it is.
func (it *Iterator) forget() {
	in := it.inside
	places.mu.Lock()
	in.place.outlived = weak.Pointer[Iterator]{}
	places.mu.Unlock()
	if w := in.state.watched.Load(); w == nil || w == it {
		in.published.unread()
	}
}

// OpenSnapshot is a snapshot that is open.
type OpenSnapshot struct {
	Opened
	At          At
	Transaction bool // it is that of one
}

// Holder is an Iterator that is open, or a pin.
type Holder struct {
	Opened
	Pin   bool
	Seq   base.Seq
	Bytes int64 // of memtables and tables that are nowhere in the current state, and that it keeps
}

// Holders returns all of them.
func (p *Published) Holders() (list []Holder) {
	var holds []hold
	used := make(map[*memtable.Memtable]int64)
	p.changing.Lock()
	p.reap()
	past, current := slices.Clone(p.past), p.state.Load().Version
	for _, m := range p.flushed {
		used[m] = m.UsedBytes()
	}
	p.each(func(_ *place, it *Iterator) bool {
		holds = append(holds, it.hold)
		return true
	})
	p.changing.Unlock()

	kept, inTables := make(map[uint64]int64), map[*manifest.Version]int64{current: 0}
	for _, s := range past {
		sum, known := inTables[s.Version]
		if !known {
			for _, t := range slices.Concat(s.Version.Levels[:]...) {
				if !current.Lists(t) {
					sum += t.SizeBytes
				}
			}
			inTables[s.Version] = sum
		}
		for m, bytes := range used {
			if s.has(m) {
				sum += bytes
			}
		}
		kept[s.number] = sum
		if s.Active == nil && s.held.Load() > 0 {
			list = append(list, Holder{Opened: s.pin, Pin: true, Seq: s.Version.LastSeq, Bytes: sum})
		}
	}
	for _, h := range holds {
		list = append(list, Holder{Opened: h.Opened, Seq: h.seq, Bytes: kept[h.state]})
	}
	return list
}

// Opened tells when something was opened, and where.
type Opened struct {
	Since int64   // in nanoseconds since 1970, by a clock that may be some milliseconds behind
	PC    uintptr // of the call, as of runtime.Callers; 0: nobody looked
}

// Caller returns where a function was called: skip is as for runtime.Callers, where 1 is the
// caller of Caller.
func Caller(skip int) uintptr {
	var pcs [1]uintptr
	runtime.Callers(skip+1, pcs[:])
	return pcs[0]
}

// PlaceOf returns where a function begins, as if the call were there. It stands for the place
// where somebody calls with this function, which costs next to nothing to find out: mostly it
// was written there. What it uses is that a function value points to the address of its code.
//
// Some functions stand on no line, as the compiler makes them: method values. In their place
// PlaceOf returns where the call is made; skip is as for Caller, where 1 is the caller of
// PlaceOf.
func PlaceOf[F any](function *F, skip int) uintptr {
	entry := *(**uintptr)(unsafe.Pointer(function))
	switch {
	case entry == nil:
		return 0
	case written(*entry):
		return *entry + 1
	}
	return Caller(skip + 1)
}

// knownCode remembers of the functions that were looked at last whether they are written on a
// line: to find that out takes longer than to make a snapshot. Each is the address of the code,
// plus 1 if it is on one; a function begins at an even address. Two threads that set the same
// one at the same time do no harm.
var knownCode [256]atomic.Uintptr

// written reports whether the code that begins at an address is that of a function which
// somebody has written, and which so has a line.
func written(entry uintptr) bool {
	known := &knownCode[entry>>5%uintptr(len(knownCode))]
	if is := known.Load(); is&^1 == entry {
		return is&1 == 1
	}
	frame, _ := runtime.CallersFrames([]uintptr{entry + 1}).Next()
	made := strings.HasSuffix(frame.Function, "-fm") || frame.File == "<autogenerated>" || strings.HasPrefix(frame.Function, "reflect.")
	if made {
		known.Store(entry)
	} else {
		known.Store(entry | 1)
	}
	return !made
}

// Where returns the function and the line of the call, "" where nobody looked.
func (o Opened) Where() string {
	if o.PC == 0 {
		return ""
	}
	frame, _ := runtime.CallersFrames([]uintptr{o.PC}).Next()
	return fmt.Sprintf("%s %s:%d", frame.Function, frame.File, frame.Line)
}
