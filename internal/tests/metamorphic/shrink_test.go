package metamorphic

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

// planted is a Model with a bug.
type planted struct {
	*Model
	bug     string
	deleted []byte // the last key that was
}

func (p *planted) Delete(key []byte, d Durability) error {
	p.deleted = bytes.Clone(key)
	return p.Model.Delete(key, d)
}

func (p *planted) Write(w Write, d Durability) error {
	if p.bug == "a merge is done twice" && w.Merge {
		p.Model.Write(w, d)
	}
	return p.Model.Write(w, d)
}

func (p *planted) Begin() (Tx, error) {
	tx, err := p.Model.Begin()
	if err == nil && p.bug == "a transaction does not see phantoms" {
		tx.(*modelTx).begun = math.MaxInt
	}
	return tx, err
}

func (p *planted) Apply(writes []Write, d Durability) error {
	if p.bug == "a range delete hits a key written behind it in its batch" {
		writes = slices.Clone(writes)
		slices.SortStableFunc(writes, func(a, b Write) int { return index(a.Range) - index(b.Range) })
	}
	if p.bug == "a batch forgets a delete after a put" {
		for i := range writes {
			if i > 0 && writes[i].Delete && !writes[i-1].Delete {
				writes = slices.Delete(slices.Clone(writes), i, i+1)
				break
			}
		}
	}
	return p.Model.Apply(writes, d)
}

func (p *planted) Submit(writes []Write, d Durability) (func() error, error) {
	wait, err := p.Model.Submit(writes, d)
	if p.bug == "waiting for a large value fails" && slices.ContainsFunc(writes, func(w Write) bool { return w.Value.Size > 300 }) {
		wait = func() error { return base.ErrCorrupt }
	}
	return wait, err
}

func (p *planted) Compact(start, end []byte) error {
	switch {
	case p.bug == "compacting an impossible range panics" && start != nil && end != nil && bytes.Compare(start, end) > 0:
		panic("no tables")
	case p.bug == "a deleted key comes back after a compaction" && p.deleted != nil && !p.readOnly:
		p.Model.Put(p.deleted, nil, Synced)
	}
	return p.Model.Compact(start, end)
}

func (p *planted) Restart(o Operation) error {
	if keys := p.state.Keys(p.now); p.bug == "a kill loses the last key" && o.End == Killed && len(keys) > 0 {
		p.state = maps.Clone(p.state)
		delete(p.state, keys[len(keys)-1])
	}
	if p.bug == "time runs back with a restart" {
		p.now = p.clock
	}
	return p.Model.Restart(o)
}

func (p *planted) NewIterator(lower, upper, prefix []byte) (Iterator, error) {
	it, err := p.Model.NewIterator(lower, upper, prefix)
	if err == nil && p.bug == "an iterator does not come back from its end" && upper != nil {
		return &stuckIterator{modelIterator: it.(*modelIterator)}, nil
	}
	return it, err
}

type stuckIterator struct {
	*modelIterator
	stuck bool
}

func (it *stuckIterator) SeekGE(key []byte) bool {
	it.stuck = !it.modelIterator.SeekGE(key)
	return !it.stuck
}

func (it *stuckIterator) Prev() bool {
	if it.stuck {
		for it.Next() {
		}
		return false
	}
	return it.modelIterator.Prev()
}

// TestShrink plants bugs, which most histories of some thousand operations must find,
// and of which a few lines must be left, each of them needed.
func TestShrink(t *testing.T) {
	for _, bug := range []string{
		"a batch forgets a delete after a put",
		"waiting for a large value fails",
		"compacting an impossible range panics",
		"a deleted key comes back after a compaction",
		"a kill loses the last key",
		"an iterator does not come back from its end",
		"a merge is done twice",
		"a range delete hits a key written behind it in its batch",
		"a transaction does not see phantoms",
		"time runs back with a restart",
	} {
		t.Run(bug, func(t *testing.T) {
			s := Subject{Name: bug, Open: func() (Store, error) { return &planted{Model: NewModel(), bug: bug}, nil }}
			found := 0
			for seed := range uint64(3) {
				h := GenerateWhole(seed, 2500, 40)
				if failure := s.Compare(h); failure != nil {
					found++
					checkShrunk(t, s, s.Explain(h, failure))
				}
			}
			if found == 0 {
				t.Error("no history finds it")
			}
		})
	}
}

func checkShrunk(t *testing.T, s Subject, explanation string) {
	t.Helper()
	script := explanation[strings.Index(explanation, "\n#"):]
	short, err := Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	if len(short) > 7 {
		t.Errorf("%d operations are left:%s", len(short), script)
	}
	if s.Compare(short) == nil {
		t.Errorf("the script does not fail:%s", script)
	}
	for i := range short {
		if without := slices.Delete(slices.Clone(short), i, i+1); s.Compare(without) != nil {
			t.Errorf("not needed: %s", short[i])
		}
	}
}

// TestCompareAgrees runs the model against itself.
func TestCompareAgrees(t *testing.T) {
	s := Subject{Open: func() (Store, error) { return NewModel(), nil }}
	for seed := range uint64(3) {
		if f := s.Compare(Generate(seed, 3000, 200)); f != nil {
			t.Fatal(f)
		}
	}
}
