package stages

import (
	"math"
	"slices"
	"sync/atomic"
	"weak"

	"lsmdb/internal/base"
	"lsmdb/memtable"
)

// retired is a memtable that left the read state. The next one is made in its arena
// once nobody can look at it any more. The garbage collector may be faster: no
// database that is idle keeps memory for that.
//
// A reader enters a stripe and then loads the state. So when a stripe is found empty
// after a state without the memtable was published, all who were in it have left, and
// all who enter it later find that state or a newer one. Those who want to look longer
// hold the memtable before they leave.
type retired struct {
	memtable weak.Pointer[memtable.Memtable]
	left     uint64 // a bit for each stripe: it was found empty
}

// maxRetired is how many wait to be used: the Flusher may get ahead by so many.
const maxRetired = 2

// phases is how many stripes of readers there are for each of base.Stripes. While
// they enter one phase, those in the other become fewer: so it is found empty where
// readers come and go all the time.
const phases = 2

// readers counts who is inside, by stripes.
type readers struct {
	phase  atomic.Uint32 // first stripe of those to enter
	inside [phases * base.Stripes]struct {
		_     [base.StripeBytes - 8]byte
		count atomic.Int64
	}
}

// Reading is a read state whose memtables may be looked at until Leave; longer only
// if they are held.
type Reading struct {
	*ReadState
	inside *atomic.Int64
}

// Leave ends what Published.Enter began.
func (r Reading) Leave() { r.inside.Add(-1) }

// Enter returns the current read state, to look into its memtables.
func (p *Published) Enter() Reading {
	inside := &p.readers.inside[p.readers.phase.Load()+base.Stripe()].count
	inside.Add(1)
	return Reading{p.state.Load(), inside}
}

// observe looks which stripes are empty, after a state was published, and has readers
// enter the other phase from now on.
func (p *Published) observe() {
	r := &p.readers
	for stripe := range r.inside {
		if r.inside[stripe].count.Load() == 0 {
			for i := range p.retired {
				p.retired[i].left |= 1 << stripe
			}
		}
	}
	r.phase.Store(base.Stripes - r.phase.Load())
}

// newMemtable makes a memtable, in the arena of a retired one if that can be.
func (p *Published) newMemtable(arenaBytes int64) *memtable.Memtable {
	p.replacing.Lock()
	defer p.replacing.Unlock()
	p.observe()
	for i, r := range p.retired {
		m := r.memtable.Value()
		if m != nil && r.left == math.MaxUint64 && !m.Held() && m.CapacityBytes() == arenaBytes {
			p.retired = slices.Delete(p.retired, i, i+1)
			return m.Renew()
		}
	}
	return memtable.New(arenaBytes)
}
