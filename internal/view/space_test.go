package view

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// past is the plain list of all operations, sorted by what they hide.
type past struct {
	writes  map[string][]base.Seq // to a key, but for operands
	deletes []base.Seq            // of ranges
	ops     []base.Op
}

func (d *world) past() *past {
	p := &past{writes: map[string][]base.Seq{}, ops: d.ops}
	for i, op := range d.ops {
		switch seq := base.Seq(i + 1); op.Kind {
		case base.KindRangeDelete:
			p.deletes = append(p.deletes, seq)
		case base.KindMerge:
		default:
			p.writes[string(op.Key)] = append(p.writes[string(op.Key)], seq)
		}
	}
	return p
}

// hides reports whether a version of a key is not seen by who sees up to a number.
func (p *past) hides(key string, version, upTo base.Seq) bool {
	between := func(seq base.Seq) bool { return version < seq && seq <= upTo }
	return slices.ContainsFunc(p.writes[key], between) || slices.ContainsFunc(p.deletes, func(seq base.Seq) bool {
		op := p.ops[seq-1]
		return between(seq) && string(op.Key) <= key && (len(op.Value) == 0 || key < string(op.Value))
	})
}

// wantSpace judges every entry of every table by the list of operations.
func (d *world) wantSpace(at At, start, end []byte, snapshots []base.Seq) (levels [manifest.NumLevels]Space) {
	past := d.past()
	for level, tables := range d.w.State().Version.Levels {
		space := &levels[level]
		for _, t := range tables {
			table, err := t.Handle.Table()
			must(d.t, err)
			p := table.Properties()
			scale := 0.0
			if p.DataBlocks > 0 {
				scale = float64(t.SizeBytes-p.RangeBytes) / float64(p.DataBytes)
			}
			for i := range int(p.DataBlocks) {
				entries, err := table.Entries(i)
				must(d.t, err)
				for _, e := range entries {
					key, bytes := string(e.Key.UserKey()), e.Bytes*scale
					if key < string(start) || end != nil && key >= string(end) {
						continue
					}
					switch {
					case e.Key.Kind() == base.KindDelete:
						space.Tombstone += bytes
					case past.hides(key, e.Key.Seq(), at.Seq):
						space.Dead += bytes
						if slices.ContainsFunc(snapshots, func(q base.Seq) bool { return q >= e.Key.Seq() && !past.hides(key, e.Key.Seq(), q) }) {
							space.Pinned += bytes
						}
					case e.Key.Kind() == base.KindSetExpiring && e.Until <= at.Now:
						space.Expired += bytes
					default:
						space.Live += bytes
					}
				}
			}
		}
	}
	return levels
}

// blocks returns how many data blocks may hold keys of a range.
func (d *world) blocks(start, end []byte) (sum int) {
	for _, m := range slices.Concat(d.w.State().Version.Levels[:]...) {
		table, err := m.Handle.Table()
		must(d.t, err)
		first, last := table.Span(start, end)
		sum += last - first
	}
	return sum
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*(1+math.Abs(a)) }

// TestSpaceOfFewBlocks: where all blocks are read, each entry is what the list of all
// operations says that it is.
func TestSpaceOfFewBlocks(t *testing.T) {
	var sum Space
	compared := 0
	for seed := range 30 {
		rng := rand.New(rand.NewPCG(uint64(seed), 14))
		d := newWorld(t, rng, []int{3, 10, 40}[seed%3])
		flushes := []int{4, 2, 1, 0, 0, 0}
		for len(d.ops) < 200 {
			d.apply(d.operation(len(d.ops) + 1))
			if len(d.ops)%30 == 29 && len(flushes) > 0 {
				d.flush(flushes[0])
				flushes = flushes[1:]
			}
		}
		d.w.Rotate(memtable.New(1 << 20))
		at := At{Seq: d.w.Visible(), Now: 975 + rng.Int64N(70)}
		var snapshots []base.Seq
		for range rng.IntN(4) {
			snapshots = append(snapshots, 1+base.Seq(rng.IntN(len(d.ops))))
		}
		slices.Sort(snapshots)
		for range 10 {
			var start, end []byte
			if rng.IntN(2) == 0 {
				start = []byte(d.key())
			}
			if rng.IntN(2) == 0 {
				end = []byte(d.key())
			}
			if d.blocks(start, end) > wholeBlocks {
				continue
			}
			compared++
			got, err := d.w.Enter().Space(t.Context(), at, start, end, snapshots)
			must(t, err)
			want := d.wantSpace(at, start, end, snapshots)
			if end != nil && bytes.Compare(start, end) >= 0 {
				want = [manifest.NumLevels]Space{}
			}
			for level := range got {
				g, w := got[level], want[level]
				if !near(g.Live, w.Live) || !near(g.Dead, w.Dead) || !near(g.Expired, w.Expired) || !near(g.Pinned, w.Pinned) || g.Tombstone < w.Tombstone-1e-6 {
					t.Fatalf("seed %d, [%q, %q), snapshots %v, level %d: %+v, want %+v", seed, start, end, snapshots, level, g, w)
				}
				sum.Live, sum.Dead, sum.Expired, sum.Pinned = sum.Live+g.Live, sum.Dead+g.Dead, sum.Expired+g.Expired, sum.Pinned+g.Pinned
			}
			if start == nil && end == nil {
				d.checkSum(got)
			}
		}
	}
	if min(sum.Live, sum.Dead, sum.Expired, sum.Pinned) == 0 || compared < 100 {
		t.Errorf("something was never there: %+v in %d cases", sum, compared)
	}
}

// checkSum: what all keys take are the files.
func (d *world) checkSum(got [manifest.NumLevels]Space) {
	d.t.Helper()
	for level, tables := range d.w.State().Version.Levels {
		files := 0.0
		for _, m := range tables {
			files += float64(m.SizeBytes)
		}
		if g := got[level]; !near(files, g.Live+g.Dead+g.Tombstone+g.Expired) {
			d.t.Fatalf("level %d: %+v, the files have %.0f bytes", level, g, files)
		}
	}
}

// TestSpaceOfManyBlocks compares samples with all that there is.
func TestSpaceOfManyBlocks(t *testing.T) {
	d := newWorld(t, rand.New(rand.NewPCG(1, 15)), 2)
	put := func(from, to, step int) {
		for i := from; i < to; i += step {
			d.apply(base.Op{Kind: base.KindSet, Key: fmt.Appendf(nil, "%06d", i), Value: fmt.Appendf(nil, "%050d", i)})
		}
	}
	put(0, 6000, 1)
	d.flush(4)
	put(0, 6000, 5) // everywhere
	d.flush(0)
	put(4500, 6000, 1) // side by side
	d.flush(0)
	d.apply(base.Op{Kind: base.KindRangeDelete, Key: []byte("001000"), Value: []byte("002500")}) // in memory
	at, snapshots := At{Seq: d.w.Visible()}, []base.Seq{5500, 6500}
	for _, bounds := range [][2][]byte{{}, {[]byte("000500"), []byte("005000")}, {[]byte("000500"), nil}} {
		got, err := d.w.Enter().Space(t.Context(), at, bounds[0], bounds[1], snapshots)
		must(t, err)
		want := d.wantSpace(at, bounds[0], bounds[1], snapshots)
		for level := range got {
			g, w, most := got[level], want[level], 0.07*size(want[level])
			for what, differ := range map[string]float64{"live": g.Live - w.Live, "dead": g.Dead - w.Dead, "pinned": g.Pinned - w.Pinned} {
				if math.Abs(differ) > most {
					t.Errorf("%q, level %d, %s is wrong by %.0f: %+v, want %+v", bounds, level, what, differ, g, w)
				}
			}
		}
		if bounds[0] == nil {
			d.checkSum(got)
		}
		if got[0].Dead == 0 || got[4].Dead == 0 || got[4].Pinned == 0 {
			t.Errorf("nothing is dead: %+v", got)
		}
	}
}

func size(s Space) float64 { return s.Live + s.Dead + s.Tombstone + s.Expired }

// stopping is a context that ends after it was asked so often.
type stopping struct {
	context.Context
	left int
}

func (s *stopping) Err() error {
	if s.left--; s.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestSpaceEndsWithItsContext, wherever it is.
func TestSpaceEndsWithItsContext(t *testing.T) {
	d := newWorld(t, rand.New(rand.NewPCG(2, 15)), 2)
	for i := range 1000 {
		d.apply(base.Op{Kind: base.KindSet, Key: fmt.Appendf(nil, "%06d", i), Value: make([]byte, 50)})
	}
	d.flush(3)
	for left := 0; ; left++ {
		_, err := d.w.Enter().Space(&stopping{t.Context(), left}, At{Seq: d.w.Visible()}, nil, nil, nil)
		if err == nil {
			if left < wholeBlocks {
				t.Errorf("it asked only %d times", left)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if d.w.State().held.Load() != 0 || d.w.State().entered() {
		t.Error("the state is still held")
	}
}
