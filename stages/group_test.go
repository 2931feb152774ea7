package stages

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
	"lsmdb/memtable"
)

// newWriter makes a Writer of its own; the test plays callers, steward and Flusher.
func (r *rig) newWriter() *Writer {
	following := r.following()
	following.Begin(r.start.Log.Segment(), 1)
	return &Writer{
		changes: following, env: r.env, published: &r.published, inbox: newInbox[*Commit](64), flusher: newInbox[Sealed](flusherCapacity + largeSeals),
		log: r.start.Log, proven: r.start.Log.Offset(), active: r.active, next: 1, pace: pace{work: newProgress()},
		room: make(chan struct{}, flusherCapacity), watch: NewClock(),
	}
}

// takeSealed receives a message as the Flusher does.
func (w *Writer) takeSealed() Sealed {
	s := <-w.flusher.ch
	giveBack(s.room)
	return s
}

// runWriter lets the Writer handle commits that all wait already, then ends it.
func runWriter(w *Writer, commits ...*Commit) error {
	for _, c := range commits {
		w.inbox.ch <- c
	}
	close(w.inbox.ch)
	return w.run(context.Background())
}

// describe shows a WAL record as "first+count: operations".
func describe(t *testing.T, record []byte) string {
	t.Helper()
	header, _, err := base.DecodeGroup(record)
	must(t, err)
	text := fmt.Sprintf("%d+%d:", header.First, header.Count)
	noteGroup(t, record, func(key, value []byte, seq base.Seq, kind base.Kind) {
		text += fmt.Sprintf(" %s %s=%s@%d", kind, key, value, seq)
	})
	return text
}

func (r *rig) checkRecords(segment uint64, want ...string) {
	r.t.Helper()
	var got []string
	for _, record := range readSegment(r.t, r.mem, segment) {
		got = append(got, describe(r.t, record))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("WAL holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestGroupIsWhatWaits(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	commits := []*Commit{
		set("a", "1"), synced(set("b", "2", "c", "3")), del("a"), NewCommit(), synced(set("d", "4")),
	}
	must(t, runWriter(w, commits...))
	for _, c := range commits {
		must(t, c.Wait())
	}
	r.checkRecords(w.log.Segment(), "1+5: set a=1@1 set b=2@2 set c=3@3 delete a=@4 set d=4@5")
	stats := w.snapshotStats()
	if stats.Groups != 1 || stats.Commits != 5 || stats.Operations != 5 || stats.Syncs != 1 || stats.UserBytes != 9 {
		t.Errorf("one group with one sync, but %+v", stats)
	}
	if r.published.Visible() != 5 {
		t.Errorf("visible up to %d", r.published.Visible())
	}
	for key, want := range map[string]string{"b": "2", "c": "3", "d": "4"} {
		if got, ok := r.get(key); !ok || got != want {
			t.Errorf("%s reads as %q, %v", key, got, ok)
		}
	}
	if _, ok := r.get("a"); ok {
		t.Error("a was deleted after it was set")
	}
	if got, _, _ := readAt(r.published.State(), 1, "a"); got != "1" {
		t.Error("the sequence numbers do not follow the order of the commits")
	}
	if w.closed.WAL != w.log.Segment() || w.closed.WALEnd != w.log.Offset() {
		t.Errorf("the Writer says %+v about its end", w.closed)
	}
	if traffic := w.inbox.traffic("writer"); traffic.Messages != 5 || traffic.Depth != 0 {
		t.Errorf("%+v", traffic)
	}
	r.start.Manifest.Close()
	r.checkClosed()
}

func TestGroupWithoutSyncIsNotSynced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		w := r.newWriter()
		go w.run(context.Background())
		for _, key := range []string{"a", "b", "c"} {
			c := set(key, "")
			w.inbox.ch <- c
			must(t, c.Wait())
		}
		if syncs := r.traced("sync"); len(syncs) > 0 {
			t.Errorf("nobody asked for %v", syncs)
		}
		if got := r.traced("write"); len(got) != 3 {
			t.Errorf("three groups, writes %v", got)
		}
		// An empty commit that wants to be durable covers all before it, and is no record.
		c := synced(NewCommit())
		w.inbox.ch <- c
		must(t, c.Wait())
		if got := r.traced("sync", "write"); len(got) < 4 || got[3] != "sync 000001.wal" { // the mark may follow
			t.Errorf("an empty Sync did %v", got)
		}
		if stats := w.snapshotStats(); stats.Durable != stats.Offset || stats.Operations != 3 || stats.Groups != 4 {
			t.Errorf("%+v", stats)
		}
		// Where everything is durable there is nothing to sync.
		c = synced(NewCommit())
		w.inbox.ch <- c
		must(t, c.Wait())
		if got := r.traced("sync"); len(got) != 1 {
			t.Errorf("syncs %v", got)
		}
		close(w.inbox.ch)
		synctest.Wait()
	})
}

func TestGroupIsBounded(t *testing.T) {
	for _, c := range []struct {
		name                   string
		memtableBytes          int64
		commitBytes, n, groups int
	}{
		{"by the memtable", 16 << 10, 2 << 10, 6, 3},
		{"one large commit each", 16 << 10, 4 << 10, 3, 3},
		{"by its own bound", 16 << 20, 400 << 10, 7, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(e *Environment) { e.MemtableBytes = c.memtableBytes })
			w := r.newWriter()
			var commits []*Commit
			for i := range c.n {
				commits = append(commits, synced(set(fmt.Sprint(i), strings.Repeat("x", c.commitBytes-1))))
			}
			must(t, runWriter(w, commits...))
			for _, c := range commits {
				must(t, c.Wait())
			}
			if stats := w.snapshotStats(); int(stats.Groups) != c.groups || int(stats.Syncs) < c.groups {
				t.Errorf("%+v", stats)
			}
		})
	}
}

func TestAbandonedMembersAreSkipped(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	commits := []*Commit{set("a", "1"), synced(set("b", "2")), set("c", "3"), set("d", "4")}
	if !commits[1].Abandon() || !commits[3].Abandon() {
		t.Fatal("a queued commit cannot be abandoned")
	}
	must(t, runWriter(w, commits...))
	must(t, commits[0].Wait())
	must(t, commits[2].Wait())
	r.checkRecords(w.log.Segment(), "1+2: set a=1@1 set c=3@2")
	if len(commits[1].reply)+len(commits[3].reply) != 0 {
		t.Error("an abandoned commit was answered")
	}
	if _, ok := r.get("b"); ok {
		t.Error("an abandoned commit was applied")
	}
	// Its wish to be durable goes with it: the only sync is that of the end.
	if stats := w.snapshotStats(); stats.Syncs != 0 || stats.Commits != 2 {
		t.Errorf("%+v", stats)
	}
	if commits[0].Abandon() {
		t.Error("an applied commit was abandoned")
	}
}

func TestGroupOfAbandonedIsNothing(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	a, b := set("a", "1"), set("b", "2")
	a.Abandon()
	b.Abandon()
	must(t, runWriter(w, a, b))
	r.checkRecords(w.log.Segment())
	if stats := w.snapshotStats(); stats.Groups != 0 || r.published.Visible() != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestCommitBeingWrittenCannotBeAbandoned(t *testing.T) {
	for _, kind := range []vfstest.OpKind{vfstest.OpWrite, vfstest.OpSync} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			release := r.hold(on(kind, base.FileWAL))
			w := r.newWriter()
			go w.run(context.Background())
			c := synced(set("a", "1"))
			w.inbox.ch <- c
			synctest.Wait()
			if c.Abandon() {
				t.Errorf("abandoned during %v", kind)
			}
			// Nothing is visible before it is as durable as was asked.
			if _, ok := r.get("a"); ok || r.published.Visible() != 0 || len(c.reply) > 0 {
				t.Errorf("visible before %v", kind)
			}
			release()
			must(t, c.Wait())
			if got, ok := r.get("a"); !ok || got != "1" {
				t.Errorf("acknowledged, but reads as %q, %v", got, ok)
			}
			close(w.inbox.ch)
		})
	}
}

func TestCommitsThatArriveDuringASyncShareTheNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.onDisk(func(op vfstest.Op) error {
			if op.Kind == vfstest.OpSync {
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		r.open()
		done := make(chan error)
		began := time.Now()
		for i := range 100 {
			go func() { done <- r.put(synced(set(fmt.Sprint(i), "x"))) }()
		}
		for range 100 {
			must(t, <-done)
		}
		if took := time.Since(began); took > 5*time.Millisecond {
			t.Errorf("100 commits took %v, a sync takes 1ms", took)
		}
		m := r.p.Metrics()
		if m.Writer.Commits != 100 || m.Writer.SyncTime != time.Duration(m.Writer.Syncs)*time.Millisecond || m.Writer.Syncs > 5 {
			t.Errorf("%+v", m.Writer)
		}
		if busy := m.Traffic[0].Busy; busy != m.Writer.SyncTime {
			t.Errorf("the Writer was busy for %v", busy)
		}
		r.onDisk(nil)
		r.close()
	})
}

func TestPendingCommitResolves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		c := NewPendingCommit()
		must(t, c.Add(base.KindSet, []byte("a"), []byte("1"), 0))
		must(t, r.p.Enqueue(context.Background(), c))
		for range 3 {
			<-c.Resolved()
			must(t, c.Result())
		}
		r.close()
		late := NewPendingCommit()
		if err := r.p.Enqueue(context.Background(), late); err != base.ErrClosed {
			t.Errorf("Enqueue after Close: %v", err)
		}
	})
}

func TestCommitIsReusable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		c := set("a", "1")
		must(t, r.put(c))
		c.Reset()
		if c.Len() != 0 || c.Bytes() != 0 || c.payloadBytes != 0 || c.Sync {
			t.Errorf("%+v", c)
		}
		must(t, c.Add(base.KindSet, []byte("b"), []byte("2"), 0))
		must(t, r.put(c))
		if v := r.p.Visible(); v != 2 {
			t.Errorf("visible up to %d", v)
		}
		r.close()
	})
}

// TestWALFailure fails the WAL in each way: the group in hand is refused and stays
// invisible, everything after it is refused with the same cause, reads go on.
func TestWALFailure(t *testing.T) {
	ways := map[string]struct {
		kind vfstest.OpKind
		err  error
	}{
		"write":       {vfstest.OpWrite, errBroken},
		"short write": {vfstest.OpWrite, &vfstest.ShortWrite{Bytes: 9, Err: errBroken}},
		"full write":  {vfstest.OpWrite, fmt.Errorf("%w: %w", syscall.ENOSPC, errBroken)},
		"sync":        {vfstest.OpSync, errBroken},
		"late sync":   {vfstest.OpSync, &vfstest.Late{Err: errBroken}},
		"full sync":   {vfstest.OpSync, fmt.Errorf("%w: %w", syscall.ENOSPC, errBroken)},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) { checkWALFailure(t, way.kind, way.err) })
		})
	}
}

func checkWALFailure(t *testing.T, kind vfstest.OpKind, injected error) {
	r := newRig(t).open()
	must(t, r.put(synced(set("before", "1"))))
	gate := make(chan struct{})
	failures := 0
	r.onDisk(func(op vfstest.Op) error {
		if on(kind, base.FileWAL)(op) {
			<-gate
			failures++
			return injected
		}
		return nil
	})
	first := synced(set("first", "1"))
	must(t, r.p.Enqueue(context.Background(), first))
	synctest.Wait() // the Writer is at it
	var waiting []*Commit
	for i := range 5 {
		waiting = append(waiting, synced(set(fmt.Sprint(i), "x")))
		must(t, r.p.Enqueue(context.Background(), waiting[i]))
	}
	close(gate)
	for _, c := range append(waiting, first) {
		if err := c.Wait(); !errors.Is(err, base.ErrReadOnly) || !errors.Is(err, errBroken) {
			t.Errorf("a waiter got %v", err)
		}
	}
	if failures != 1 {
		t.Errorf("the WAL was tried %d times after it failed", failures)
	}
	synctest.Wait()
	for range 2 {
		if err := r.put(set("later", "x")); !errors.Is(err, base.ErrReadOnly) || !errors.Is(err, errBroken) {
			t.Errorf("a later write: %v", err)
		}
	}
	if err := r.p.Flush(context.Background()); !errors.Is(err, errBroken) {
		t.Errorf("a later flush: %v", err)
	}
	if err := r.p.Compact(context.Background(), nil, nil); !errors.Is(err, errBroken) {
		t.Errorf("a later compaction: %v", err)
	}
	if _, ok := r.get("first"); ok || r.p.Visible() != 1 {
		t.Error("a write that failed is visible")
	}
	if got, ok := r.get("before"); !ok || got != "1" {
		t.Error("reads do not go on")
	}
	for range 2 {
		if err := r.p.Close(); !errors.Is(err, errBroken) {
			t.Errorf("Close: %v", err)
		}
	}
	if err := r.p.Failed(); !errors.Is(err, errBroken) {
		t.Errorf("Failed: %v", err)
	}
	r.checkClosed()
	if got := recovered(t, r.mem.CrashClone(nil)); got["before"] != "1" {
		t.Errorf("after a crash there is %v", got)
	}
}

// TestGroupBoundCountsMemory: operations without payload are not free.
func TestGroupBoundCountsMemory(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	var commits []*Commit
	for range 60 {
		c := NewCommit()
		for range 10_000 {
			must(t, c.Add(base.KindDelete, nil, nil, 0))
		}
		commits = append(commits, c)
	}
	drained := make(chan struct{})
	go func() {
		for s := range w.flusher.ch {
			giveBack(s.room)
		}
		close(drained)
	}()
	must(t, runWriter(w, commits...))
	close(w.flusher.ch)
	<-drained
	if s := w.snapshotStats(); s.Groups < 50 {
		t.Errorf("60 commits of 800 kB of memtable each made %d groups", s.Groups)
	}
}

// TestAnsweredCommitsAreLetGo: a batch may be a gigabyte.
func TestAnsweredCommitsAreLetGo(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	abandoned, written := set("a", "1"), set("b", "2")
	if !abandoned.Abandon() {
		t.Fatal("cannot abandon")
	}
	must(t, runWriter(w, abandoned, written))
	for i, c := range w.group[:cap(w.group)] {
		if c != nil {
			t.Errorf("place %d of the group still holds a commit", i)
		}
	}
	for i, p := range w.parts[:cap(w.parts)] {
		if p != nil {
			t.Errorf("part %d of the record is still held", i)
		}
	}
}

// Members of a crowd are answered as soon as they are visible, once; those of a smaller
// group all together. A batch that cannot be decoded shows where the Writer stood.
func TestCrowdIsAnsweredOneByOne(t *testing.T) {
	for members, early := range map[int]bool{crowd - 1: false, crowd: true} {
		r := newRig(t)
		w := r.newWriter()
		var commits []*Commit
		for i := range members {
			commits = append(commits, set(fmt.Sprint("key", i), "value"))
		}
		broken := commits[members-1]
		broken.encoded = broken.encoded[:broken.Bytes()-1]
		w.active = memtable.New(1 << 20)
		w.group = append(w.group, commits...)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			w.insert() // everything before it would refuse the broken one
		}()
		answered := 0
		for _, c := range commits {
			select {
			case err := <-c.reply:
				must(t, err)
				answered++
			default:
			}
		}
		want := 0
		if early {
			want = members - 1
		}
		if visible := r.published.Visible(); answered != want || visible != base.Seq(want) {
			t.Errorf("%d members: %d answered, %d visible, want %d", members, answered, visible, want)
		}
		w.answer(errBroken)
		for i, c := range commits {
			if again := len(c.reply) == 1; again == (i < want) {
				t.Errorf("%d members, of which %d were answered: after the panic, number %d is answered: %t", members, want, i, again)
			}
		}
	}
}

func TestCrowdThatEndsWithASeal(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	var commits []*Commit
	for i := range crowd {
		commits = append(commits, set(fmt.Sprint("key", i), "value"))
	}
	last := NewCommit()
	last.seal = true
	must(t, runWriter(w, append(commits, last)...))
	for _, c := range commits {
		must(t, c.Wait())
	}
	sealed := w.takeSealed()
	if sealed.waiter != last || sealed.Memtable.Len() != crowd || len(last.reply) != 0 {
		t.Errorf("the seal's waiter %p, want %p; %d entries", sealed.waiter, last, sealed.Memtable.Len())
	}
}
