package metamorphic

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Generate draws a history of so many operations on so many different keys. It is a
// function of its arguments.
func Generate(seed uint64, operations, keys int) History {
	return generate(&generator{rng: rand.New(rand.NewPCG(seed, 0)), keys: keys}, operations)
}

// GenerateWhole draws a history for a Vocabulary.
func GenerateWhole(seed uint64, operations, keys int) History {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 1)), keys: keys, whole: true}
	g.fill()
	return generate(g, operations)
}

// action is something to do, and how often.
type action struct {
	weight int
	do     func()
}

func generate(g *generator, operations int) History {
	actions := []action{
		{60, g.write}, {10, g.batch}, {8, g.submit}, {40, g.get}, {10, g.iterator}, {60, g.moves}, {5, g.snapshot},
		{15, g.release}, {2, g.scan}, {3, g.sync}, {3, g.flush}, {2, g.compact}, {2, g.restart},
	}
	if g.whole {
		actions = append(actions, action{6, g.clock}, action{2, g.load}, action{2, g.checkpoint}, action{8, g.transaction}, action{10, g.inTransaction})
	}
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	for len(g.h) < operations {
		n := g.rng.IntN(total)
		for _, a := range actions {
			if n -= a.weight; n < 0 {
				a.do()
				break
			}
		}
	}
	return g.h
}

// generator knows what is open, so that most operations have something to act on.
type generator struct {
	rng       *rand.Rand
	keys      int
	h         History
	values    int // numbers given
	handles   int
	iterators []Handle
	snapshots []Handle
	readOnly  bool

	whole        bool // for a Vocabulary
	seconds      int  // where the clock stands
	now          int  // the latest that it stood at
	transactions []Handle
}

func (g *generator) add(o Operation) { g.h = append(g.h, o) }
func (g *generator) key() []byte     { return DrawKey(g.rng, g.keys) }

// bound draws a key, or in one of four cases none.
func (g *generator) bound() []byte {
	if g.rng.IntN(4) == 0 {
		return nil
	}
	return g.key()
}

func (g *generator) durability() Durability {
	switch g.rng.IntN(12) {
	case 0:
		return Synced
	case 1:
		return ByDefault
	case 2, 3, 4, 5:
		return Queued
	}
	return Unsynced
}

func (g *generator) change() Write {
	w := Write{Key: g.key(), Delete: g.rng.IntN(4) == 0}
	if !w.Delete {
		g.values++
		w.Value = DrawValue(g.rng, g.values)
	}
	if g.whole {
		g.vary(&w)
	}
	return w
}

// write puts or deletes a few keys. In a read-only database one try is enough.
func (g *generator) write() {
	n := 1 + g.rng.IntN(10)
	if g.readOnly {
		n = 1
	}
	for range n {
		w := g.change()
		g.add(Operation{Kind: w.kind(), Writes: []Write{w}, Durability: g.durability()})
	}
}

// changes fills a batch, often with the same key again.
func (g *generator) changes() []Write {
	var list []Write
	for range g.rng.IntN(12) {
		w := g.change()
		if len(list) > 0 && g.rng.IntN(4) == 0 && w.Space == nil {
			w.Key = list[len(list)-1].Key
		}
		list = append(list, w)
	}
	return list
}

func (g *generator) batch() {
	g.add(Operation{Kind: Batch, Writes: g.changes(), Durability: g.durability()})
}

func (g *generator) submit() {
	for range 1 + g.rng.IntN(4) {
		g.add(Operation{Kind: Submit, Writes: g.changes(), Durability: g.durability()})
	}
}

// from draws what to read from: the database, or in one of three cases a snapshot.
func (g *generator) from() Handle {
	if len(g.transactions) > 0 && g.rng.IntN(4) == 0 {
		return g.transactions[g.rng.IntN(len(g.transactions))]
	}
	if len(g.snapshots) > 0 && g.rng.IntN(3) == 0 {
		return g.snapshots[g.rng.IntN(len(g.snapshots))]
	}
	return Database
}

func (g *generator) get() {
	for range 1 + g.rng.IntN(4) {
		kind := Get
		if g.rng.IntN(4) == 0 {
			kind = Has
		}
		o := Operation{Kind: kind, From: g.from(), Key: g.key()}
		if g.whole {
			g.varyRead(&o)
		}
		g.add(o)
	}
}

func (g *generator) handle(letter string) Handle {
	g.handles++
	return Handle(fmt.Sprint(letter, g.handles))
}

const maxOpen = 6 // iterators, and as many snapshots

func (g *generator) iterator() {
	if len(g.iterators) == maxOpen {
		g.release()
	}
	o := Operation{Kind: NewIterator, On: g.handle("i"), From: g.from()}
	if g.rng.IntN(3) > 0 {
		o.Lower, o.Upper = g.bound(), g.bound()
	}
	if g.rng.IntN(4) == 0 {
		o.Prefix = g.key()
		o.Prefix = o.Prefix[:min(len(o.Prefix), g.rng.IntN(4))]
	}
	if g.whole {
		g.varyRead(&o)
	}
	g.iterators = append(g.iterators, o.On)
	g.add(o)
}

// moves moves one iterator, mostly on and back by single steps.
func (g *generator) moves() {
	if len(g.iterators) == 0 {
		return
	}
	on := g.iterators[g.rng.IntN(len(g.iterators))]
	kinds := []Kind{First, Last, SeekGE, SeekLT, Next, Next, Next, Next, Prev, Prev, Prev, Prev}
	for range 1 + g.rng.IntN(6) {
		o := Operation{Kind: kinds[g.rng.IntN(len(kinds))], On: on}
		if o.Kind == SeekGE || o.Kind == SeekLT {
			o.Key = g.key()
		}
		g.add(o)
	}
}

func (g *generator) snapshot() {
	if len(g.snapshots) == maxOpen {
		g.release()
	}
	s := g.handle("s")
	g.snapshots = append(g.snapshots, s)
	g.add(Operation{Kind: NewSnapshot, On: s})
}

// release closes something. An iterator may outlive its snapshot.
func (g *generator) release() {
	for _, list := range []*[]Handle{&g.iterators, &g.snapshots} {
		if len(*list) == maxOpen || len(*list) > 1 && g.rng.IntN(2) == 0 {
			i := g.rng.IntN(len(*list))
			g.add(Operation{Kind: Close, On: (*list)[i]})
			*list = slices.Delete(*list, i, i+1)
		}
	}
}

func (g *generator) scan() {
	o := Operation{Kind: Scan, From: g.from()}
	if g.whole {
		g.varyRead(&o)
	}
	g.add(o)
}

func (g *generator) sync()  { g.add(Operation{Kind: Sync}) }
func (g *generator) flush() { g.add(Operation{Kind: Flush}) }

func (g *generator) compact() {
	g.add(Operation{Kind: Compact, Lower: g.bound(), Upper: g.bound()})
}

// restart ends the database. Sometimes what was open is closed before, sometimes it is
// used afterwards, which must be refused. It is seldom read-only for long.
func (g *generator) restart() {
	if g.rng.IntN(3) == 0 {
		for len(g.iterators)+len(g.snapshots) > 0 {
			g.closeOldest()
		}
	}
	ends := []End{CleanClose, CleanClose, Killed, PowerLost}
	o := Operation{Kind: Restart, End: ends[g.rng.IntN(len(ends))], Verify: g.rng.IntN(3) == 0}
	o.ReadOnly = !g.readOnly && g.rng.IntN(4) == 0
	wasReadOnly := g.readOnly
	g.readOnly = o.ReadOnly
	g.add(o)
	g.add(Operation{Kind: Scan, From: Database})
	g.moves()
	g.get()
	g.iterators, g.snapshots, g.transactions = nil, nil, nil
	if o.End != CleanClose || wasReadOnly {
		g.seconds = g.now
	}
	if g.readOnly {
		for range 5 {
			g.write()
			g.get()
			g.iterator()
			g.moves()
		}
		g.restart()
	}
}

func (g *generator) closeOldest() {
	list := &g.iterators
	if len(*list) == 0 {
		list = &g.snapshots
	}
	g.add(Operation{Kind: Close, On: (*list)[0]})
	*list = (*list)[1:]
}
