package view

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// world is a database of all kinds of operations, in runs of all kinds, and beside it the
// plain list of these operations, from which a model tells what a reader has to see.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	w     *writer
	ops   []base.Op // the number of each is its index + 1
	own   []base.Op // of a transaction; from OwnBase
	keys  []string  // ascending
	disk  *vfstest.Disk
	files *sstable.OpenFiles
	made  uint64
	clock int64
	asked int // of the clock
}

const (
	failing  = "!" // an operand that cannot be merged
	lastKey  = "\xff\xff\xff\xff\xff\xff\xff\x00"
	worldDir = "/world"
)

var errFailing = errors.New("it cannot be merged")

// joining is a Merger that tells every difference: in what order, how often, onto what.
func joining(dst, _, older, newer []byte) ([]byte, error) {
	switch {
	case string(newer) == failing:
		return nil, errFailing
	case older == nil:
		dst = append(dst, "nil"...)
	}
	return append(append(append(dst, older...), '+'), newer...), nil
}

func newWorld(t *testing.T, rng *rand.Rand, keys int) *world {
	d := &world{t: t, rng: rng, w: new(writer), disk: vfstest.NewDisk(), files: new(sstable.OpenFiles), clock: 1000}
	d.w.Publish(&State{Active: memtable.New(1 << 20), Version: &manifest.Version{}}, 0)
	must(t, d.disk.MkdirAll(worldDir))
	d.w.Merger = &base.Merger{Name: "joining", Merge: joining}
	d.w.Clock = func() time.Time { d.asked++; return time.Unix(0, d.clock) }
	names := map[string]bool{"": true}
	for len(names) < keys {
		var key strings.Builder
		for range 1 + rng.IntN(5) {
			key.WriteByte("\x00\x01ab\xff"[rng.IntN(5)])
		}
		names[key.String()] = true
	}
	d.keys = slices.Sorted(maps.Keys(names))
	return d
}

func (d *world) key() string { return d.keys[d.rng.IntN(len(d.keys))] }

// operation returns a random one.
func (d *world) operation(number int) base.Op {
	op := base.Op{Kind: base.KindSet, Key: []byte(d.key()), Value: fmt.Append(nil, number)}
	switch d.rng.IntN(12) {
	case 0, 1:
		op.Kind, op.Value = base.KindDelete, nil
	case 2, 3, 4:
		op.Kind = base.KindMerge
		if d.rng.IntN(12) == 0 {
			op.Value = []byte(failing)
		}
	case 5, 6:
		op.Kind = base.KindSetExpiring
		op.Value = append(little(980+d.rng.Int64N(60)), op.Value...)
	case 7:
		op.Kind = base.KindRangeDelete
		if op.Value = []byte(d.key()); d.rng.IntN(5) == 0 {
			op.Value = nil
		}
	case 8:
		op.Value = nil
	case 9:
		op.Value = bytes.Repeat(op.Value, 1000)
	}
	if string(op.Value) != failing && d.rng.IntN(8) == 0 && (op.Kind == base.KindMerge || op.Kind == base.KindSetExpiring) {
		op.Value = append(op.Value, make([]byte, 3000)...) // lies in a block of its own
	}
	return op
}

func little(n int64) (p []byte) {
	for range 8 {
		p, n = append(p, byte(n)), n>>8
	}
	return p
}

// apply has the Writer make an operation visible.
func (d *world) apply(op base.Op) {
	d.ops = append(d.ops, op)
	d.w.begin(1)
	d.w.seq++
	active := d.w.State().Active
	active.Apply(op, d.w.seq)
	if op.Kind > base.KindDelete {
		d.w.Applied(op, d.w.seq, active.Len())
	}
	if !op.Kind.Removes() {
		d.w.Fill(op.Key, op.Key)
	}
	d.w.Show(d.w.seq)
}

// flush writes the active memtable to tables of a level.
func (d *world) flush(level int) {
	d.w.Rotate(memtable.New(1 << 20))
	s := d.w.State()
	if len(s.Sealed) == 0 {
		return
	}
	m := s.Sealed[0]
	lists := ranges.Merge(m.RangeDeletes.Lists()...)
	if start, end := openEnd(lists); end == nil {
		lists = lists.Clip(start, []byte(lastKey))
	}
	v := &manifest.Version{Levels: s.Version.Levels}
	cuts := []string{lastKey + "\x00"}
	if level > 0 {
		cuts = append([]string{d.key(), d.key()}, cuts...)
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
	}
	it, lower := m.NewIterator(), []byte(nil)
	ok := it.First()
	var tables []*manifest.TableMeta
	for _, cut := range cuts {
		list := lists.Clip(lower, []byte(cut))
		if lower = []byte(cut); len(list) == 0 && (!ok || string(it.Key().UserKey()) >= cut) {
			continue
		}
		d.made++
		path := base.TablePath(worldDir, d.made)
		file, err := d.disk.Create(path)
		must(d.t, err)
		w := sstable.NewWriter(file, path, sstable.WriterOptions{Identity: d.made, BlockBytes: 200, FilterBitsPerKey: 10})
		w.AddRanges(list)
		for ; ok && string(it.Key().UserKey()) < cut; ok = it.Next() {
			must(d.t, w.Add(it.Key(), it.Value()))
		}
		p, err := w.Finish()
		must(d.t, err)
		meta := manifest.MetaOf(d.made, p)
		meta.Handle = sstable.NewHandle(d.disk, path, sstable.ReaderOptions{SizeBytes: meta.SizeBytes, Identity: meta.Identity, Cache: sstable.NewCache(1 << 20)}, d.files)
		tables = append(tables, meta)
	}
	if level == 0 {
		tables = append(tables, v.Levels[0]...)
	}
	v.Levels[level] = tables
	next, err := (&manifest.Version{}).Apply(&manifest.Edit{Added: added(v)})
	must(d.t, err)
	d.w.Advance(next, m)
}

func openEnd(l ranges.List) (start, end []byte) {
	if len(l) == 0 {
		return nil, []byte{}
	}
	return l.Bounds()
}

func added(v *manifest.Version) (list []manifest.AddedTable) {
	for level, tables := range v.Levels {
		for _, t := range tables {
			list = append(list, manifest.AddedTable{Level: level, Meta: t})
		}
	}
	return list
}

// want is what the model says that a key has.
type want struct {
	key   string
	value []byte
	until int64
	found bool
	err   bool

	by  string   // what decided, as Explain says
	seq base.Seq // of that
}

// model looks at one operation after the other, newest first.
func (d *world) model(at At, key string) want {
	now := max(at.Now, 1)
	var operands []string
	base_, until, found := "", int64(0), false
	by, decided := "nothing", base.Seq(0)
	look := func(ops []base.Op, first, last base.Seq) (done bool) {
		for i := len(ops) - 1; i >= 0; i-- {
			op := ops[i]
			if seq := first + base.Seq(i); seq > last {
				continue
			}
			if op.Kind == base.KindRangeDelete {
				if string(op.Key) <= key && (len(op.Value) == 0 || key < string(op.Value)) {
					if decided == 0 {
						by, decided = "range-delete", first+base.Seq(i)
					}
					return true
				}
				continue
			}
			if string(op.Key) != key {
				continue
			}
			if decided == 0 {
				by, decided = decisions[op.Kind], first+base.Seq(i)
			}
			switch op.Kind {
			case base.KindMerge:
				operands = append(operands, string(op.Value))
				continue
			case base.KindSet:
				base_, found = string(op.Value), true
			case base.KindSetExpiring:
				if end := base.Until(op.Value); now < end {
					base_, until, found = string(op.Value[8:]), end, true
				} else if by == "put" {
					by = "expiry"
				}
			}
			return true
		}
		return false
	}
	if at.Own == 0 || !look(d.own, OwnBase, at.Own) {
		look(d.ops, 1, at.Seq)
	}
	w := want{key: key, value: []byte(base_), until: until, found: found, by: by, seq: decided}
	if len(operands) > 0 {
		if w.found, w.until = true, 0; !found {
			base_ = "nil"
		}
		for _, o := range slices.Backward(operands) {
			w.err = w.err || o == failing
			base_ += "+" + o
		}
		w.value = []byte(base_)
	}
	return w
}

// decisions says what decides where a version is the newest one, and has not ended.
var decisions = map[base.Kind]string{base.KindSet: "put", base.KindSetExpiring: "put", base.KindDelete: "delete", base.KindMerge: "merge"}

// present returns all keys that an instant shows in [lower, upper).
func (d *world) present(at At, lower, upper []byte) (list []want) {
	for _, key := range d.keys {
		if key >= string(lower) && (upper == nil || key < string(upper)) {
			if w := d.model(at, key); w.found {
				list = append(list, w)
			}
		}
	}
	return list
}

// ownTables puts the own operations into memtables, newest first.
func (d *world) ownTables() (own []*memtable.Memtable) {
	for i, op := range d.own {
		if i%7 == 0 {
			own = append([]*memtable.Memtable{memtable.New(1 << 20)}, own...)
		}
		own[0].Apply(op, OwnBase+base.Seq(i))
	}
	return own
}

func (d *world) enter(at At) Reading {
	r := d.w.Enter()
	if at.Own != 0 {
		own := d.ownTables()
		r = r.Over(&own)
	}
	return r
}

// checkGets compares all that can be asked of one key.
func (d *world) checkGets(at At) {
	d.t.Helper()
	r := d.enter(at)
	defer r.Leave()
	for _, key := range d.keys {
		w := d.model(at, key)
		value, found, err := r.Get(at, []byte(key))
		if found != (w.found && !w.err) || (err != nil) != w.err || found && !bytes.Equal(value, w.value) {
			d.t.Fatalf("Get %q at %+v: %q, %v, %v; want %+v", key, at, value, found, err, w)
		}
		n, found, err := r.Size(at, []byte(key))
		if found != (w.found && !w.err) || (err != nil) != w.err || found && n != len(w.value) {
			d.t.Fatalf("Size %q at %+v: %d, %v, %v; want %+v", key, at, n, found, err, w)
		}
		if found, err := r.Has(at, []byte(key)); found != w.found || err != nil {
			d.t.Fatalf("Has %q at %+v: %v, %v; want %+v", key, at, found, err, w)
		}
		d.checkExplain(r, at, w)
	}
}

// checkExplain compares what is told of a Get with the model, and finds what decided where
// it is said to lie.
func (d *world) checkExplain(r Reading, at At, w want) {
	d.t.Helper()
	x, err := r.Explain(at, []byte(w.key))
	if w.err {
		w.by, w.seq = "", 0
	}
	if x.Found != (w.found && !w.err) || (err != nil) != w.err || x.DecidedBy != w.by {
		d.t.Fatalf("Explain %q at %+v: %+v, %v; want %+v", w.key, at, x, err, w)
	}
	level, table := -1, uint64(0)
	for i, tables := range r.Version.Levels {
		for _, t := range tables {
			if t.SmallestSeq <= w.seq && w.seq <= t.LargestSeq && t.Overlaps([]byte(w.key), []byte(w.key)) {
				level, table = i, t.Number
			}
		}
	}
	if x.Level != level || x.Table != table || len(x.Steps) == 0 {
		d.t.Fatalf("Explain %q at %+v: %+v; want level %d, table %d", w.key, at, x, level, table)
	}
	for i, s := range x.Steps {
		isTable := s.Place == "table"
		if isTable != (s.Level >= 0) || isTable != (s.Table > 0) || s.Filter == "absent" && (s.Read || s.Cached) || !isTable && (s.Read || s.Cached || s.Filter != "") || s.Time < 0 {
			d.t.Fatalf("Explain %q at %+v: step %d is %+v", w.key, at, i, s)
		}
	}
}

// checkWalk makes random moves of an iterator, or goes all the way in one direction.
func (d *world) checkWalk(at At, moves int) {
	d.t.Helper()
	o := sstable.IteratorOptions{KeysOnly: d.rng.IntN(4) == 0, NoCacheFill: d.rng.IntN(4) == 0}
	for _, bound := range []*[]byte{&o.Lower, &o.Upper} {
		if d.rng.IntN(3) == 0 {
			*bound = []byte(d.key())
		}
	}
	list := d.present(at, o.Lower, o.Upper)
	it := d.enter(at).NewIterator(at, o, new(atomic.Bool))
	const nowhere, failed = -2, -3
	place := nowhere // index in list; -1: before it; len(list): behind
	find := func(key string) int {
		return slices.IndexFunc(append(list, want{key: lastKey + "\x01"}), func(w want) bool { return w.key >= key })
	}
	trace := ""
	for range moves {
		target := d.key()
		move := d.rng.IntN(8)
		at_ := place
		ok := false
		trace += fmt.Sprintf("%d %q; ", move, target)
		switch {
		case move == 0:
			ok, at_ = it.First(), 0
		case move == 1:
			ok, at_ = it.Last(), len(list)-1
		case move == 2:
			ok, at_ = it.SeekGE([]byte(target)), find(target)
		case move == 3:
			ok, at_ = it.SeekLT([]byte(target)), find(target)-1
		case move%2 == 0:
			ok = it.Next()
			if at_ == nowhere {
				at_ = 0
			} else if place != failed && at_ < len(list) {
				at_++
			}
		default:
			ok = it.Prev()
			if at_ == nowhere {
				at_ = len(list) - 1
			} else if place != failed && at_ >= 0 {
				at_--
			}
		}
		place = at_
		if place >= 0 && place < len(list) && list[place].err && !o.KeysOnly {
			place = failed
		}
		onKey := place >= 0 && place < len(list)
		var w want
		if onKey {
			w = list[place]
		}
		if o.KeysOnly {
			w.value = nil
		}
		if ok != onKey || it.Valid() != ok || (it.Err() != nil) != (place == failed) || it.Until() != w.until ||
			ok && (string(it.Key()) != w.key || !bytes.Equal(it.Value(), w.value)) || ok != (it.Value() != nil) {
			d.t.Fatalf("at %+v in %+v, after %s: %v %q %q until %d, %v; want place %d of %d, %+v", at, o, trace, ok, it.Key(), it.Value(), it.Until(), it.Err(), place, len(list), w)
		}
	}
	key, value := it.Key(), it.Value()
	before := [2]string{string(key), string(value)}
	if err := it.Close(); (err != nil) != (place == failed) {
		d.t.Fatalf("Close: %v", err)
	}
	d.checkAll(at)
	if now := [2]string{string(key), string(value)}; now != before {
		d.t.Fatalf("what was shown last changed from %q to %q", before, now)
	}
}

// checkAll walks over everything, and past what fails, in both directions.
func (d *world) checkAll(at At) {
	d.t.Helper()
	list := d.present(at, nil, nil)
	for _, backward := range []bool{false, true} {
		it := d.enter(at).NewIterator(at, sstable.IteratorOptions{}, new(atomic.Bool))
		first, next, seek := it.First, it.Next, func(key string) bool { return it.SeekGE([]byte(key + "\x00")) }
		if backward {
			first, next, seek = it.Last, it.Prev, func(key string) bool { return it.SeekLT([]byte(key)) }
			slices.Reverse(list)
		}
		ok := first()
		for _, w := range list {
			if w.err {
				if ok || !errors.Is(it.Err(), errFailing) {
					d.t.Fatalf("at %+v, backward %v: %v %v where %+v cannot be merged", at, backward, ok, it.Err(), w)
				}
				ok = seek(w.key)
				continue
			}
			if !ok || string(it.Key()) != w.key || !bytes.Equal(it.Value(), w.value) || it.Until() != w.until {
				d.t.Fatalf("at %+v, backward %v: %v %q %q until %d, %v; want %+v", at, backward, ok, it.Key(), it.Value(), it.Until(), it.Err(), w)
			}
			ok = next()
		}
		if ok || it.Err() != nil {
			d.t.Fatalf("at %+v, backward %v: %v %q %v at the end", at, backward, ok, it.Key(), it.Err())
		}
		must(d.t, it.Close())
	}
}

// NewIterator returns an iterator over what an instant shows.
func (r Reading) NewIterator(at At, o sstable.IteratorOptions, closed *atomic.Bool) (it Iterator) {
	r.published.Hold(&it, 0, &at)
	it.Open(*r.own, &o, closed)
	r.Leave()
	return it
}
