package transactions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// Histories of interleaved transactions, in which a plain model predicts what each read
// shows and whether each commit conflicts, with which key and which write: no conflict may
// be missed, and none may be found that is none. There are few keys, so the model of a read
// set is simply which of them were read.

// universe holds all keys, in order. Some are each other's successors.
var universe = func() (keys []string) {
	for c := 'a'; c <= 'h'; c++ {
		keys = append(keys, string(c), string(c)+"\x00", string(c)+"m")
	}
	return append([]string{""}, keys...)
}()

// history is the model: what is there, and when each key was changed.
type history struct {
	t       *testing.T
	rng     *rand.Rand
	db      *db.DB
	values  map[string]string
	changed map[string]uint64 // newest change of a key
	seq     uint64
	open    []*modelTx
	written int // writes that were made up
	tally   map[string]int
}

// modelTx is a transaction and the model of it.
type modelTx struct {
	*db.Tx
	since  uint64
	base   map[string]string
	now    map[string]string // with its own writes
	own    []write
	answer map[string]bool // keys of which the own writes say everything
	read   map[string]bool
	walks  []*modelWalk
}

func (h *history) key() string { return universe[h.rng.IntN(len(universe))] }

// write is one operation: a put, a delete, an operand, or a delete of the keys in [key, end).
type write struct {
	key, end, value string
	kind            writeKind
}

type writeKind int

const (
	putKey writeKind = iota
	deleteKey
	deleteRange
	mergeKey
)

// keys are those that it changes.
func (w write) keys() []string {
	if w.kind != deleteRange {
		return []string{w.key}
	}
	from, _ := slices.BinarySearch(universe, w.key)
	to, _ := slices.BinarySearch(universe, w.end)
	return universe[from:to]
}

// on makes it part of what is there.
func (w write) on(values map[string]string) {
	for _, key := range w.keys() {
		switch w.kind {
		case putKey:
			values[key] = w.value
		case mergeKey:
			values[key] += w.value
		default:
			delete(values, key)
		}
	}
}

// to does it in a transaction.
func (w write) to(tx *db.Tx) error {
	switch w.kind {
	case putKey:
		return tx.Put([]byte(w.key), []byte(w.value))
	case mergeKey:
		return tx.Merge([]byte(w.key), []byte(w.value))
	case deleteKey:
		return tx.Delete([]byte(w.key))
	}
	return tx.DeleteRange([]byte(w.key), []byte(w.end))
}

// write makes a write up.
func (h *history) write() write {
	h.written++
	w := write{key: h.key(), value: fmt.Sprint(h.written, " ")}
	switch h.rng.IntN(8) {
	case 0, 1:
		w.kind = deleteKey
	case 2, 3:
		w.kind = mergeKey
	case 4:
		w.kind, w.end = deleteRange, h.key()
		if w.end == "" || h.rng.IntN(4) == 0 {
			w.end = "~" // behind all
		}
		if w.key > w.end {
			w.key, w.end = w.end, w.key
		}
		if w.key == w.end {
			w.end += "\x00"
		}
	}
	return w
}

// apply makes writes part of the model.
func (h *history) apply(writes []write) {
	for _, w := range writes {
		h.seq++
		for _, key := range w.keys() {
			h.changed[key] = h.seq
		}
		w.on(h.values)
	}
}

// writeDirectly commits a transaction that only writes.
func (h *history) writeDirectly() {
	n := 1
	switch h.rng.IntN(40) {
	case 0:
		n = 6000 // more than the Writer remembers
	case 1, 2, 3:
		n = 1 + h.rng.IntN(8)
	}
	var writes []write
	fixture.Must(h.t, h.db.Update(context.Background(), func(tx *db.Tx) error {
		for range n {
			w := h.write()
			writes = append(writes, w)
			fixture.Must(h.t, w.to(tx))
		}
		return nil
	}))
	h.apply(writes)
}

func (h *history) begin() {
	tx, err := h.db.Begin()
	fixture.Must(h.t, err)
	h.open = append(h.open, &modelTx{
		Tx: tx, since: h.seq, base: maps.Clone(h.values), now: maps.Clone(h.values), answer: map[string]bool{}, read: map[string]bool{},
	})
}

// conflict predicts which key a commit conflicts with, and at which number.
func (h *history) conflict(tx *modelTx) (key string, seq uint64, conflict bool) {
	for _, key := range universe {
		if len(tx.own) > 0 && tx.read[key] && h.changed[key] > tx.since {
			return key, h.changed[key], true
		}
	}
	return "", 0, false
}

// end commits or discards a transaction.
func (h *history) end(i int) {
	tx := h.open[i]
	h.open = slices.Delete(h.open, i, i+1)
	if h.rng.IntN(8) == 0 {
		tx.Discard()
		h.tally["discarded"]++
		return
	}
	key, seq, expected := h.conflict(tx)
	err := tx.Commit(context.Background())
	var conflict *db.ConflictError
	switch {
	case !expected && err != nil:
		h.t.Fatalf("commit: %v, but nothing of %v was changed after %d", err, slices.Sorted(maps.Keys(tx.read)), tx.since)
	case expected && !errors.As(err, &conflict):
		h.t.Fatalf("commit: %v, but %q was changed at %d, and read as of %d", err, key, seq, tx.since)
	case expected && (string(conflict.Key) != key || conflict.Seq != seq):
		h.t.Fatalf("%v, want key %q at %d", err, key, seq)
	case expected:
		h.tally["conflicts"]++
		return
	case len(tx.own) == 0:
		h.tally["read-only"]++
	case len(tx.read) == 0:
		h.tally["write-only"]++
	case tx.since < h.seq:
		h.tally["committed beside others"]++
	}
	h.apply(tx.own)
	for _, w := range tx.walks {
		if w.it.Next() || !errors.Is(w.it.Err(), db.ErrClosed) {
			h.t.Fatalf("an iterator moves on after the commit: %v", w.it.Err())
		}
	}
}

// act does something in a transaction.
func (h *history) act(tx *modelTx) {
	key := h.key()
	switch draw := h.rng.IntN(20); {
	case draw < 6:
		w := h.write()
		fixture.Must(h.t, w.to(tx.Tx))
		w.on(tx.now)
		tx.own = append(tx.own, w)
		for _, key := range w.keys() {
			tx.answer[key] = w.kind != mergeKey
		}
	case draw < 9:
		h.compare("a get", tx.now, key, tx.Tx)
		if !tx.answer[key] {
			tx.read[key] = true
		}
	case draw == 9:
		h.compare("a get of the snapshot", tx.base, key, tx.Snapshot())
	case draw < 12 && len(tx.walks) < 4:
		tx.walks = append(tx.walks, h.walk(tx))
	case len(tx.walks) > 0:
		i := h.rng.IntN(len(tx.walks))
		if tx.walks[i].step(h); h.rng.IntN(10) == 0 {
			fixture.Must(h.t, tx.walks[i].it.Close())
			tx.walks = slices.Delete(tx.walks, i, i+1)
		}
	}
}

// compare looks a key up.
func (h *history) compare(what string, in map[string]string, key string, r reader) {
	want, ok := in[key]
	if !ok {
		want = "-"
	}
	if got := get(h.t, r, key); got != want {
		h.t.Fatalf("%s of %q: %q, want %q", what, key, got, want)
	}
}

// modelWalk is an iterator of a transaction and the model of it.
type modelWalk struct {
	tx     *modelTx
	it     *db.Iterator
	lower  int // of the universe
	upper  int
	shown  map[string]string
	at     int // place in the universe; lower-1: before the first, upper: behind the last
	placed bool
}

func (h *history) walk(tx *modelTx) *modelWalk {
	w := &modelWalk{tx: tx, upper: len(universe), shown: maps.Clone(tx.now)}
	o := &db.IterOptions{}
	if h.rng.IntN(2) == 0 {
		w.lower = h.rng.IntN(len(universe))
		o.Lower = []byte(universe[w.lower])
	}
	if h.rng.IntN(2) == 0 {
		w.upper = w.lower + h.rng.IntN(len(universe)-w.lower)
		o.Upper = []byte(universe[w.upper])
	}
	var err error
	w.it, err = tx.NewIterator(o)
	fixture.Must(h.t, err)
	return w
}

// step makes a random move.
func (w *modelWalk) step(h *history) {
	key := h.rng.IntN(len(universe))
	switch h.rng.IntN(10) {
	case 0:
		w.forward(h, "First", w.lower, w.it.First())
	case 1:
		w.backward(h, "Last", w.upper, w.it.Last())
	case 2:
		w.forward(h, "SeekGE "+universe[key], max(key, w.lower), w.it.SeekGE([]byte(universe[key])))
	case 3:
		w.backward(h, "SeekLT "+universe[key], min(key, w.upper), w.it.SeekLT([]byte(universe[key])))
	case 4, 5, 6:
		from := w.at + 1
		if !w.placed {
			from = w.lower
		}
		w.forward(h, "Next", from, w.it.Next())
	default:
		to := w.at
		if !w.placed {
			to = w.upper
		}
		w.backward(h, "Prev", to, w.it.Prev())
	}
}

// forward is a move to the first key from a place on.
func (w *modelWalk) forward(h *history, what string, from int, moved bool) {
	w.placed = true
	for w.at = from; w.at < w.upper; w.at++ {
		w.tx.read[universe[w.at]] = true
		if _, ok := w.shown[universe[w.at]]; ok {
			break
		}
	}
	w.at = min(w.at, w.upper)
	w.compare(h, what, moved)
}

// backward is a move to the last key before a place.
func (w *modelWalk) backward(h *history, what string, to int, moved bool) {
	w.placed = true
	for w.at = to - 1; w.at >= w.lower; w.at-- {
		w.tx.read[universe[w.at]] = true
		if _, ok := w.shown[universe[w.at]]; ok {
			break
		}
	}
	w.at = max(w.at, w.lower-1)
	w.compare(h, what, moved)
}

func (w *modelWalk) compare(h *history, what string, moved bool) {
	on := w.lower <= w.at && w.at < w.upper
	if moved != on || w.it.Err() != nil || on && (string(w.it.Key()) != universe[w.at] || string(w.it.Value()) != w.shown[universe[w.at]]) {
		h.t.Fatalf("%s: %v, at %q = %q, %v; want place %d of %q", what, moved, w.it.Key(), w.it.Value(), w.it.Err(), w.at, universe)
	}
}

// TestConflictsExactly plays such histories.
func TestConflictsExactly(t *testing.T) {
	tally := map[string]int{}
	seeds := uint64(16)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		d, err := db.Open("", &db.Options{InMemory: true, Durability: db.NoSync + db.Durability(seed/2%2), Merger: db.AppendBytes, MemtableBytes: []int64{1, 1 << 20}[seed%2]})
		fixture.Must(t, err)
		h := &history{
			t: t, rng: rand.New(rand.NewPCG(seed, 13)), db: d, tally: tally,
			values: map[string]string{}, changed: map[string]uint64{},
		}
		writes := 1 + h.rng.IntN(8) // percent
		for range 4000 {
			switch draw := h.rng.IntN(100); {
			case draw < writes:
				h.writeDirectly()
			case draw < writes+8 && len(h.open) < 8:
				h.begin()
			case draw < writes+14 && len(h.open) > 0:
				h.end(h.rng.IntN(len(h.open)))
			case draw == 97 && h.rng.IntN(4) == 0:
				fixture.Must(t, d.Flush(context.Background()))
			case draw == 98 && h.rng.IntN(8) == 0:
				fixture.Must(t, d.Compact(context.Background(), nil, nil))
			case len(h.open) > 0:
				h.act(h.open[h.rng.IntN(len(h.open))])
			}
		}
		for len(h.open) > 0 {
			h.end(0)
		}
		for _, key := range universe {
			h.compare("at last, a get", h.values, key, d)
		}
		if got := d.Metrics().Sequence; got != h.seq {
			t.Errorf("the newest write is %d, want %d: something of a failed commit stayed", got, h.seq)
		}
		fixture.Must(t, d.Close())
	}
	t.Log(tally)
	for _, what := range []string{"conflicts", "committed beside others", "read-only", "write-only", "discarded"} {
		if tally[what] == 0 {
			t.Errorf("no transaction counts as %q", what)
		}
	}
}
