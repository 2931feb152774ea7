package vfstest

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// Effort says how many states to draw at each place of a trace beyond those that are
// always tried.
type Effort struct {
	Subsets int // where the pending operations are too many for all subsets
	Tears   int // of each torn write; 0: none are torn

	// StaleBlocks lets garbage stand also where zeros were written to a new part of a
	// file and never synced, as what an earlier file left in those blocks. File systems
	// that journal no data and do not order it either (ext4 with data=writeback) can
	// show that; most promise not to, as it might be somebody else's secrets.
	StaleBlocks bool
}

// allSubsetsOf is the number of pending operations up to which all subsets are tried.
const allSubsetsOf = 6

// States shows visit states that a power failure may leave now: nothing but what is
// certain; everything; each pending operation lost alone and kept alone; all subsets
// where they are few, some that rng draws otherwise; and each of the newest writes
// torn, beside everything else and beside what came before it. It may show a state
// more than once. visit returns false to see no more.
func (l *Legal) States(e Effort, rng *rand.Rand, visit func(*State) bool) {
	d := l.newDraft()
	show := func() bool { return visit(l.state(&d.choice)) }
	n := len(d.atoms)
	if n <= allSubsetsOf {
		for set := range 1 << n {
			d.keep(func(i int) bool { return set>>i&1 == 1 })
			if !show() {
				return
			}
		}
	} else if !d.some(e.Subsets, rng, show) {
		return
	}
	for i := max(0, n-allSubsetsOf); e.Tears > 0 && i < n; i++ {
		if d.atoms[i].event == nil || d.atoms[i].event.Kind != OpWrite {
			continue
		}
		if !d.tear(i, e, rng, show) {
			return
		}
	}
}

// atom is one pending operation, as a place in a choice.
type atom struct {
	kept  *bool
	event *Event // nil: of the tree
}

// draft is a choice that is changed again and again.
type draft struct {
	choice
	atoms []atom
}

// newDraft lists the pending operations: those on names, then those on the contents of
// each file, the latest last.
func (l *Legal) newDraft() *draft {
	d := &draft{choice: choice{tree: make([]bool, len(l.pending)), data: make(map[*legalFile][]bool)}}
	for i := range d.choice.tree {
		d.atoms = append(d.atoms, atom{kept: &d.choice.tree[i]})
	}
	var files []*legalFile
	for _, f := range l.files {
		if len(f.pending) > 0 {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b *legalFile) int { return a.latest - b.latest })
	for _, f := range files {
		kept := make([]bool, len(f.pending))
		d.choice.data[f] = kept
		for i, e := range f.pending {
			d.atoms = append(d.atoms, atom{&kept[i], e})
		}
	}
	return d
}

func (d *draft) keep(which func(i int) bool) {
	for i, a := range d.atoms {
		*a.kept = which(i)
	}
}

// some shows those subsets of many operations that are always tried, and some others.
func (d *draft) some(subsets int, rng *rand.Rand, show func() bool) bool {
	for _, all := range []bool{false, true} {
		d.keep(func(int) bool { return all })
		if !show() {
			return false
		}
		for i := range d.atoms {
			*d.atoms[i].kept = !all
			if !show() {
				return false
			}
			*d.atoms[i].kept = all
		}
	}
	for range subsets {
		kept := survivors(rng, len(d.atoms))
		d.keep(func(i int) bool { return kept[i] })
		if !show() {
			return false
		}
	}
	return true
}

// tear shows states in which operation i, a write, is kept in part.
func (d *draft) tear(i int, e Effort, rng *rand.Rand, show func() bool) bool {
	defer func() { d.choice.torn = nil }()
	for _, before := range []bool{false, true} {
		d.keep(func(other int) bool { return other <= i || !before })
		for n := range e.Tears {
			torn := newTear(d.atoms[i].event, n, rng)
			if torn.kind == tearGarbage && torn.event.Data == nil && !e.StaleBlocks {
				continue
			}
			if d.choice.torn = torn; !show() {
				return false
			}
		}
	}
	return true
}

// tear is what is left of a write.
type tear struct {
	event *Event
	kind  tearKind
	from  int64  // sectors of the write from here on, counted from its first one,
	to    int64  // and before here, are kept; of tearSectors and tearGarbage
	mask  uint64 // of tearMask: which sectors, by number modulo 64
}

type tearKind byte

const (
	tearSectors tearKind = iota // some neighbours
	tearMask                    // any
	tearSize                    // none, but the size
	tearGarbage                 // all, but those hold garbage
)

// newTear returns the nth way to tear a write: first those that find most, then any.
func newTear(e *Event, n int, rng *rand.Rand) *tear {
	sectors := e.sectors()
	t := &tear{event: e}
	switch {
	case n == 0:
		t.kind = tearSize
	case n == 1:
		t.kind, t.to = tearGarbage, sectors
	case n == 2:
		t.to = max(1, sectors-1)
	case n == 3:
		t.from, t.to = min(1, sectors-1), sectors
	case n%3 == 0:
		t.to = rng.Int64N(sectors + 1)
	case n%3 == 1:
		t.kind, t.mask = tearMask, rng.Uint64()
	default:
		t.kind, t.from = tearGarbage, rng.Int64N(sectors)
		t.to = t.from + 1 + rng.Int64N(sectors-t.from)
	}
	return t
}

// sectors counts those that a write touches.
func (e *Event) sectors() int64 {
	return (e.Offset+e.Length-1)/sectorBytes - e.Offset/sectorBytes + 1
}

// appendTo makes the tear of operation i a part of a key.
func (t *tear) appendTo(key []byte, i int) []byte {
	key = binary.AppendVarint(append(key, '/', byte(t.kind)), int64(i))
	return binary.AppendUvarint(binary.AppendVarint(binary.AppendVarint(key, t.from), t.to), t.mask)
}

// apply writes what is left, and no sector of it in part.
func (t *tear) apply(c *contents) {
	first := t.event.Offset / sectorBytes
	if t.kind == tearSize || t.kind == tearGarbage {
		c.size = max(c.size, t.event.Offset+t.event.Length)
	}
	for sector := range t.event.sectors() {
		start := max(0, (first+sector)*sectorBytes-t.event.Offset)
		end := min(t.event.Length, (first+sector+1)*sectorBytes-t.event.Offset)
		inside := sector >= t.from && sector < t.to
		switch {
		case t.kind == tearSectors && inside, t.kind == tearMask && t.mask>>(sector%64)&1 == 1, t.kind == tearGarbage && !inside:
			t.event.write(c, start, end)
		case t.kind == tearGarbage:
			c.write(garbage[:end-start], t.event.Offset+start)
		}
	}
}

// garbage is what a sector may hold that was never written.
var garbage = func() (g [sectorBytes]byte) {
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range g {
		g[i] = byte(rng.Uint32())
	}
	return g
}()

// Draw returns one state that a power failure may leave now.
func (l *Legal) Draw(rng *rand.Rand) *State {
	d := l.newDraft()
	kept := survivors(rng, len(d.atoms))
	d.keep(func(i int) bool { return kept[i] })
	return l.state(&d.choice)
}
