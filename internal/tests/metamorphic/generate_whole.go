package metamorphic

import (
	"bytes"
	"fmt"
	"slices"

	"lsmdb/internal/base"
)

// spaces are the prefixes of keyspaces that histories use. Keys of the database itself lie
// in them, too.
var spaces = [][]byte{[]byte("k"), {0xff}, []byte("k1"), {}}

// vary makes of a put or a delete now and then something else of the vocabulary.
func (g *generator) vary(w *Write) {
	switch n := g.rng.IntN(24); {
	case n < 5:
		w.Delete, w.Merge = false, true
		g.values++
		w.Value = DrawValue(g.rng, g.values)
		w.Value.Size = min(w.Value.Size, 1000)
	case n < 8 && !w.Delete:
		w.Until = g.now + g.rng.IntN(9) - 1
	case n == 8:
		*w = Write{Key: w.Key, Range: true, End: g.bound()}
		if g.rng.IntN(8) > 0 && w.End != nil && bytes.Compare(w.Key, w.End) > 0 {
			w.Key, w.End = w.End, w.Key
		}
	}
	if g.rng.IntN(8) == 0 {
		w.Space = g.space()
		w.Key, w.End = within(w.Space, w.Key), within(w.Space, w.End)
	}
}

func (g *generator) space() []byte { return spaces[g.rng.IntN(len(spaces))] }

// within shortens a key so that it has room behind a prefix.
func within(space, key []byte) []byte {
	return key[:min(len(key), base.MaxKeyBytes-len(space))]
}

// varyRead makes of a read now and then something else of the vocabulary.
func (g *generator) varyRead(o *Operation) {
	switch n := g.rng.IntN(4); {
	case n > 0:
	case o.Kind == Get:
		o.Kind = Size
	case o.Kind == Scan || o.Kind == NewIterator:
		o.KeysOnly = true
	}
	if g.rng.IntN(6) == 0 {
		o.Space = g.space()
		o.Key, o.Lower, o.Upper, o.Prefix = within(o.Space, o.Key), within(o.Space, o.Lower), within(o.Space, o.Upper), within(o.Space, o.Prefix)
	}
}

// clock moves the clock, now and then backwards.
func (g *generator) clock() {
	g.seconds += g.rng.IntN(8) - 2
	g.now = max(g.now, g.seconds)
	g.add(Operation{Kind: SetClock, Seconds: g.seconds})
}

// load loads ascending keys.
func (g *generator) load() {
	if g.readOnly {
		return
	}
	var list []Write
	for range 1 + g.rng.IntN(20) {
		g.values++
		list = append(list, Write{Key: g.key(), Value: DrawValue(g.rng, g.values)})
	}
	slices.SortStableFunc(list, func(a, b Write) int { return bytes.Compare(a.Key, b.Key) })
	g.add(Operation{Kind: Load, Writes: slices.CompactFunc(list, func(a, b Write) bool { return bytes.Equal(a.Key, b.Key) })})
}

// fill loads so much that the smallest memtables make a tree of several levels above it. Their
// keys lie among those that are drawn.
func (g *generator) fill() {
	var list []Write
	for i := range 300 {
		g.values++
		list = append(list, Write{Key: fmt.Appendf(nil, "k%04d", i), Value: Value{Number: g.values, Size: 3000 + i*997%3000}})
	}
	g.add(Operation{Kind: Load, Writes: list})
}

func (g *generator) checkpoint() {
	if !g.readOnly {
		g.add(Operation{Kind: Checkpoint})
	}
}

const maxTransactions = 3

// transaction begins one, or ends one.
func (g *generator) transaction() {
	if len(g.transactions) < maxTransactions && g.rng.IntN(2) == 0 {
		t := g.handle("t")
		g.transactions = append(g.transactions, t)
		g.add(Operation{Kind: Begin, On: t})
		g.inTransaction()
		return
	}
	if len(g.transactions) == 0 {
		return
	}
	i := g.rng.IntN(len(g.transactions))
	t := g.transactions[i]
	if g.rng.IntN(5) == 0 {
		g.add(Operation{Kind: Close, On: t})
	} else {
		g.add(Operation{Kind: Commit, On: t, Durability: g.durability()})
		if g.rng.IntN(4) == 0 { // it has ended
			g.add(Operation{Kind: Get, From: t, Key: g.key()})
		}
	}
	g.transactions = slices.Delete(g.transactions, i, i+1)
}

// inTransaction writes in one of those that are open, and reads there.
func (g *generator) inTransaction() {
	if len(g.transactions) == 0 {
		return
	}
	t := g.transactions[g.rng.IntN(len(g.transactions))]
	for range 1 + g.rng.IntN(3) {
		w := g.change()
		g.add(Operation{Kind: w.kind(), On: t, Writes: []Write{w}})
	}
	if g.rng.IntN(2) == 0 {
		g.add(Operation{Kind: Get, From: t, Key: g.key()})
	}
}
