package stages

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/view"
)

// conditional returns a commit that writes key=value if nothing of what was read was
// changed behind a number.
func conditional(t *testing.T, through base.Seq, key string, read ...string) *Commit {
	t.Helper()
	c := NewCommit()
	must(t, c.Add(base.KindSet, []byte(key), []byte("new"), 0))
	c.Reads, c.Through = &view.Reads{}, through
	for _, r := range read {
		c.Reads.Add([]byte(r))
	}
	c.Reads.Seal()
	return c
}

func putCommit(t *testing.T, keys ...string) *Commit {
	t.Helper()
	c := NewCommit()
	for _, key := range keys {
		must(t, c.Add(base.KindSet, []byte(key), []byte("old"), 0))
	}
	return c
}

// handle has the Writer handle one group.
func handle(t *testing.T, w *Writer, commits ...*Commit) {
	t.Helper()
	for _, c := range commits {
		w.inbox.ch <- c
	}
	w.collect(<-w.inbox.ch)
	if len(w.inbox.ch) > 0 {
		t.Fatal("they do not fit into one group")
	}
	must(t, w.write(context.Background()))
}

// wantConflict checks the answer to a commit; key "": it was written.
func wantConflict(t *testing.T, what string, answer error, key string, seq uint64) {
	t.Helper()
	var conflict *base.ConflictError
	errors.As(answer, &conflict)
	switch {
	case key == "" && answer != nil:
		t.Errorf("%s: %v", what, answer)
	case key != "" && (conflict == nil || string(conflict.Key) != key || conflict.Seq != seq):
		t.Errorf("%s: %v, want a conflict with %q at %d", what, answer, key, seq)
	}
}

// TestConflictsWithinAGroup: what a member of the same group writes before counts, what
// one writes behind does not, nor what a refused or abandoned one would have written.
func TestConflictsWithinAGroup(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	w.transactions.Store(1)
	abandoned := putCommit(t, "abandoned")
	abandoned.Abandon()
	group := []*Commit{
		abandoned,
		putCommit(t, "a", "b", "a"),                      // 1, 2, 3
		conditional(t, 0, "c", "x", "b", "a"),            // a at 3
		conditional(t, 0, "d", "c", "abandoned", "late"), // 4: the one before was not written
		conditional(t, 2, "e", "b"),                      // 5: b was read later
		conditional(t, 2, "f", "d", "e"),                 // d at 4
		putCommit(t, "late"),                             // 6
	}
	handle(t, w, group...)
	for i, want := range []struct {
		key string
		seq uint64
	}{2: {"a", 3}, 5: {"d", 4}, 6: {}} {
		if i > 0 {
			wantConflict(t, fmt.Sprint("member ", i), <-group[i].reply, want.key, want.seq)
		}
	}
	r.checkRecords(w.log.Segment(), "1+6: set a=old@1 set b=old@2 set a=old@3 set d=new@4 set e=new@5 set late=old@6")
	if visible := r.published.Visible(); visible != 6 {
		t.Errorf("visible is %d, want 6", visible)
	}
}

// TestLateCommits: where the Writer has forgotten what it would have to compare, it has the
// sender look again, once. The second time it looks itself.
func TestLateCommits(t *testing.T) {
	for _, forget := range []struct {
		what string
		do   func(w *Writer)
	}{
		{"nobody had a transaction", func(w *Writer) {
			w.transactions.Store(0)
			handle(t, w, putCommit(t, "a"))
			w.transactions.Store(1)
		}},
		{"too many operations", func(w *Writer) {
			handle(t, w, putCommit(t, "a"))
			for range 50 {
				handle(t, w, putCommit(t, make([]string, 100)...))
			}
		}},
		{"too long keys", func(w *Writer) {
			handle(t, w, putCommit(t, "a"))
			for range 10 {
				handle(t, w, putCommit(t, fmt.Sprintf("%060000d", 1)))
			}
		}},
		{"a very large commit", func(w *Writer) {
			handle(t, w, putCommit(t, "a"))
			large := putCommit(t)
			must(t, large.Add(base.KindSet, []byte("large"), make([]byte, maxGroupBytes), 0))
			handle(t, w, large)
		}},
	} {
		for _, read := range []string{"a", "b"} {
			r := newRig(t, func(e *Environment) { e.MemtableBytes = 8 << 20 })
			w := r.newWriter()
			w.transactions.Store(1)
			handle(t, w, putCommit(t, "z"))
			forget.do(w)
			c := conditional(t, 1, "c", read)
			handle(t, w, c)
			if answer := <-c.reply; !c.CameLate(answer) {
				t.Fatalf("%s: answered with %v", forget.what, answer)
			}
			handle(t, w, c)
			key := ""
			if read == "a" {
				key = "a"
			}
			answer := <-c.reply
			if c.CameLate(answer) {
				t.Fatalf("%s: late a second time", forget.what)
			}
			wantConflict(t, forget.what, answer, key, 2)
		}
	}
}

// TestLookKnowsWhatIsVisible: after Look the Writer has nothing left to compare but what
// came later.
func TestLookKnowsWhatIsVisible(t *testing.T) {
	r := newRig(t).open()
	defer r.p.Close()
	s := r.p.Begin(new(Snapshot))
	defer r.p.End(s)
	write := func(keys ...string) {
		c := putCommit(t, keys...)
		must(t, r.p.Enqueue(t.Context(), c))
		must(t, c.Wait())
	}
	write(make([]string, littleNews)...)
	c := conditional(t, 0, "c", "a")
	must(t, r.p.Look(c))
	if c.Through != 0 {
		t.Errorf("it looked for %d operations, which the Writer knows", littleNews)
	}
	write("b")
	must(t, r.p.Look(c))
	if c.Through != littleNews+1 {
		t.Errorf("known through %d, want %d", c.Through, littleNews+1)
	}
	write("a")
	wantConflict(t, "a late write", r.p.Look(conditional(t, 0, "c", "a")), "a", littleNews+2)
	must(t, r.p.Enqueue(t.Context(), c))
	wantConflict(t, "the Writer", c.Wait(), "a", littleNews+2)
}

// TestNothingIsRememberedForNobody: without a transaction, writes cost nothing more.
func TestNothingIsRememberedForNobody(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	handle(t, w, putCommit(t, "a"))
	if w.recent.Begin(1, false) {
		t.Error("operations are remembered, though no transaction is open")
	}
	w.transactions.Store(1)
	handle(t, w, putCommit(t, "a"))
	w.transactions.Store(0)
	handle(t, w, putCommit(t, "a"))
	w.transactions.Store(1)
	c := conditional(t, 2, "c", "a")
	if handle(t, w, c); !c.CameLate(<-c.reply) {
		t.Error("the Writer believes to know what it has not remembered")
	}
}
