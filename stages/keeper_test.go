package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// newKeeper makes a Keeper of its own; the test plays those who propose, the
// Compactor and the Sweeper.
func (r *rig) newKeeper() *Keeper {
	k := &Keeper{
		changes: r.following(), env: r.env, published: &r.published, inbox: newInbox[*Proposal](keeperCapacity),
		compactor: make(chan struct{}, 16), sweeper: newInbox[Obsolete](64),
		state: r.start.State, clean: func() *manifest.CleanMark { return &manifest.CleanMark{WAL: 1, WALEnd: 99} },
	}
	k.setLog(r.start.Manifest)
	return k
}

// tableOf describes a table that nobody will open.
func (r *rig) tableOf(from, to string, seq base.Seq) *manifest.TableMeta {
	return &manifest.TableMeta{Number: r.env.Numbers.Next(), Summary: sstable.Summary{
		SizeBytes: 1000, Identity: 1, Entries: 2, SmallestSeq: seq, LargestSeq: seq,
		Smallest: base.MakeInternalKey([]byte(from), seq, base.KindSet),
		Largest:  base.MakeInternalKey([]byte(to), seq, base.KindSet),
	}}
}

func adding(level int, tables ...*manifest.TableMeta) *manifest.Edit {
	e := &manifest.Edit{}
	for _, t := range tables {
		e.Added = append(e.Added, manifest.AddedTable{Level: level, Meta: t})
	}
	return e
}

func removing(level int, numbers ...uint64) *manifest.Edit {
	e := &manifest.Edit{}
	for _, n := range numbers {
		e.Removed = append(e.Removed, manifest.RemovedTable{Level: level, Number: n})
	}
	return e
}

func (r *rig) loaded() manifest.State {
	r.t.Helper()
	current, err := manifest.ReadCurrent(r.mem, testDir)
	must(r.t, err)
	state, _, err := manifest.Load(r.mem, testDir, current.Manifest)
	must(r.t, err)
	return state
}

// TestKeeperMakesDurableBeforeItTells holds the sync of the MANIFEST: until it is
// through, nobody hears of the new tree and nothing is obsolete.
func TestKeeperMakesDurableBeforeItTells(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		k := r.newKeeper()
		ended := started(context.Background(), k.run)
		old := r.tableOf("a", "b", 1)
		if err := k.env.propose(context.Background(), k.inbox, &Proposal{Edit: adding(0, old)}).err; err != nil {
			t.Fatal(err)
		}
		nudged := len(k.compactor)
		flushed := r.published.State().Active
		flushed.Insert([]byte("x"), nil, 2, base.KindSet)
		r.published.Rotate(memtable.New(1000))
		before := r.published.State()

		release := r.hold(on(vfstest.OpSync, base.FileManifest))
		edit := adding(1, r.tableOf("a", "x", 2))
		edit.Removed = removing(0, old.Number).Removed
		edit.OldestWAL = 3
		p := &Proposal{Edit: edit, Flushed: flushed, Segment: 1}
		answered := make(chan error, 1)
		go func() {
			err := k.env.propose(context.Background(), k.inbox, p).err
			answered <- err
		}()
		synctest.Wait()
		if r.published.State() != before || len(answered)+len(k.compactor)-nudged+len(k.sweeper.ch) > 0 {
			t.Error("told before the edit was durable")
		}
		release()
		must(t, <-answered)
		after := r.published.State()
		if len(after.Sealed) != 0 || len(after.Version.Levels[0]) != 0 || len(after.Version.Levels[1]) != 1 {
			t.Errorf("published %+v", after)
		}
		if nudged != 1 || len(k.compactor) != 2 {
			t.Errorf("the Compactor was told %d times", len(k.compactor))
		}
		for _, want := range []string{base.TableName(old.Number), base.WALName(1)} {
			if o := <-k.sweeper.ch; o.Name != want || (o.Table != nil) != strings.HasSuffix(want, ".sst") {
				t.Errorf("the Sweeper was told %+v, want %s", o, want)
			}
		}
		if s := r.loaded(); s.LastSeq != 2 || s.OldestWAL != 3 || s.NextFile != r.env.Numbers.Peek() {
			t.Errorf("MANIFEST says %+v", s)
		}
		close(k.inbox.ch)
		must(t, <-ended)
		current, err := manifest.ReadCurrent(r.mem.CrashClone(nil), testDir)
		must(t, err)
		if c := current.Clean; c == nil || c.WAL != 1 || c.WALEnd != 99 {
			t.Errorf("the clean mark is %+v", c)
		}
		r.start.Log.Close()
		r.checkClosed()
	})
}

func TestKeeperRefusesAnImpossibleEdit(t *testing.T) {
	for name, edit := range map[string]*manifest.Edit{
		"removes what is not there": removing(3, 77),
		"goes back":                 {OldestWAL: 3, LastSeq: 1, Added: nil, Removed: removing(0, 1).Removed},
	} {
		r := newRig(t)
		k := r.newKeeper()
		before, size := r.published.State(), k.log.Offset()
		k.inbox.ch <- &Proposal{Edit: edit, reply: make(chan verdict, 1)}
		if err := k.run(context.Background()); err == nil || !strings.Contains(err.Error(), "invariant") {
			t.Errorf("%s: %v", name, err)
		}
		if k.log.Offset() != size || r.published.State() != before || len(k.sweeper.ch)+len(k.compactor) > 0 {
			t.Errorf("%s: it had an effect", name)
		}
	}
}

func TestKeeperMoveMakesNothingObsolete(t *testing.T) {
	r := newRig(t)
	k := r.newKeeper()
	table := r.tableOf("a", "b", 1)
	move := adding(4, table)
	move.Removed = removing(0, table.Number).Removed
	for _, e := range []*manifest.Edit{adding(0, table), move} {
		k.inbox.ch <- &Proposal{Edit: e, reply: make(chan verdict, 1)}
	}
	close(k.inbox.ch)
	must(t, k.run(context.Background()))
	if len(k.sweeper.ch) > 0 || len(r.loaded().Version.Levels[4]) != 1 {
		t.Error("a table that moved is swept")
	}
}

func TestKeeperHoldsFlushesWhileLevel0IsFull(t *testing.T) {
	r := newRig(t, func(e *Environment) { e.Policy.L0Limit = 2 })
	k := r.newKeeper()
	handle := func(e *manifest.Edit, flushed *memtable.Memtable) verdict {
		t.Helper()
		p := &Proposal{Edit: e, Flushed: flushed, reply: make(chan verdict, 1)}
		must(t, k.handle(context.Background(), p))
		return <-p.reply
	}
	sealed := memtable.New(100)
	tables := []*manifest.TableMeta{r.tableOf("a", "b", 1), r.tableOf("a", "b", 2), r.tableOf("a", "b", 3)}
	if v := handle(adding(0, tables[0]), sealed); v.hold != nil || k.hold != nil {
		t.Error("held too early")
	}
	hold := handle(adding(0, tables[1]), sealed).hold
	if hold == nil || k.hold == nil {
		t.Fatal("not held")
	}
	if again := handle(adding(0, tables[2]), sealed).hold; again != hold {
		t.Error("a second hold while the first lasts")
	}
	if v := handle(removing(0, tables[0].Number), nil); v.hold != nil {
		t.Error("a compaction is held")
	}
	select {
	case <-hold:
		t.Fatal("released while level 0 is full")
	default:
	}
	handle(removing(0, tables[1].Number), nil)
	if <-hold; k.hold != nil {
		t.Error("still held")
	}
}

func TestKeeperRewritesTheManifest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		k := r.newKeeper()
		first := k.log.Segment()
		k.bound = 1
		ended := started(context.Background(), k.run)
		if err := k.env.propose(context.Background(), k.inbox, &Proposal{Edit: adding(0, r.tableOf("a", "b", 1))}).err; err != nil {
			t.Fatal(err)
		}
		if o := <-k.sweeper.ch; o.Name != base.ManifestName(first) {
			t.Errorf("swept %+v", o)
		}
		synctest.Wait()
		if k.log.Segment() == first || k.bound != manifestBound(k.log.Offset()) || k.logBytes.Load() != k.log.Offset() {
			t.Errorf("MANIFEST %d, bound %d", k.log.Segment(), k.bound)
		}
		if c, _ := manifest.ReadCurrent(r.mem.CrashClone(nil), testDir); c.Manifest != k.log.Segment() || c.Clean != nil {
			t.Errorf("CURRENT says %+v", c)
		}
		if s := r.loaded(); len(s.Version.Levels[0]) != 1 || s.NextFile <= k.log.Segment() {
			t.Errorf("the new MANIFEST holds %+v", s)
		}
		if err := k.env.propose(context.Background(), k.inbox, &Proposal{Edit: adding(0, r.tableOf("a", "b", 2))}).err; err != nil {
			t.Fatal(err)
		}
		close(k.inbox.ch)
		must(t, <-ended)
		if s := r.loaded(); len(s.Version.Levels[0]) != 2 {
			t.Errorf("%+v", s)
		}
		r.start.Log.Close()
		r.checkClosed()
	})
}

func TestKeeperOnAFullDisk(t *testing.T) {
	r := newRig(t)
	k := r.newKeeper()
	k.bound = 1
	number := k.log.Segment()
	r.fail(on(vfstest.OpWrite, base.FileManifest), syscall.ENOSPC)
	must(t, k.rewrite(context.Background()))
	if k.log.Segment() != number || k.bound != 2 || len(r.names(base.FileManifest)) != 1 {
		t.Errorf("MANIFEST %d, bound %d, files %v", k.log.Segment(), k.bound, r.names(base.FileManifest))
	}
	r.onDisk(nil)
	// An edit that has no room is answered, and the Keeper goes on.
	r.mem.SetLimit(r.mem.UsedBytes())
	size := k.log.Offset()
	full := 0
	for i := 0; full < 3; i++ {
		k.bound = 1 << 40
		p := &Proposal{Edit: adding(0, r.tableOf(strings.Repeat("k", 9000), strings.Repeat("l", 9000), base.Seq(i+1))), reply: make(chan verdict, 1)}
		must(t, k.handle(context.Background(), p))
		if v := <-p.reply; v.err != nil {
			if full++; !errors.Is(v.err, base.ErrDiskFull) || k.log.Offset() != size {
				t.Errorf("%v, %d bytes", v.err, k.log.Offset())
			}
		}
		size = k.log.Offset()
	}
	r.mem.SetLimit(0)
	p := &Proposal{Edit: adding(0, r.tableOf("a", "b", 100)), reply: make(chan verdict, 1)}
	must(t, k.handle(context.Background(), p))
	if v := <-p.reply; v.err != nil {
		t.Error(v.err)
	}
	if got, want := len(r.loaded().Version.Levels[0]), len(k.state.Version.Levels[0]); got != want {
		t.Errorf("MANIFEST lists %d tables, the Keeper %d", got, want)
	}
}

// TestKeeperFailures fails every operation of an edit that also rewrites the
// MANIFEST, with an I/O error and with a full disk: after it, CURRENT leads to a
// tree, with every edit that was answered, and what it needs was not obsolete.
func TestKeeperFailures(t *testing.T) {
	ways := map[string]error{
		"":      errBroken,
		"late ": &vfstest.Late{Err: errBroken},
		"full ": fmt.Errorf("%w: %w", syscall.ENOSPC, errBroken),
	}
	for way, injected := range ways {
		for at := 0; ; at++ {
			if !checkKeeperFailure(t, way, injected, at) {
				break
			}
		}
	}
}

func checkKeeperFailure(t *testing.T, way string, injected error, at int) (more bool) {
	r := newRig(t)
	k := r.newKeeper()
	k.bound = 1
	var failed vfstest.Op
	count := 0
	r.onDisk(func(op vfstest.Op) error {
		if count++; count-1 == at {
			failed = op
			return injected
		}
		return nil
	})
	p := &Proposal{Edit: adding(0, r.tableOf("a", "b", 1)), reply: make(chan verdict, 1)}
	k.inbox.ch <- p
	close(k.inbox.ch)
	ctx := context.Background()
	err := k.handle(ctx, <-k.inbox.ch)
	ended := err != nil
	answered := len(p.reply) > 0 && (<-p.reply).err == nil
	k.release()
	r.onDisk(nil)
	if count <= at {
		return false
	}
	name := fmt.Sprintf("%s%v %s", way, failed.Kind, failed.Name)
	sweeps := len(k.sweeper.ch)
	current := fileType(failed.Name) == base.FileTemporary && failed.Kind != vfstest.OpRemove && failed.Kind != vfstest.OpStat
	full := errors.Is(injected, syscall.ENOSPC)
	if current && full && (ended || sweeps != 1) {
		t.Errorf("%s failed: ended with %v, %d files obsolete; the old MANIFEST should serve on", name, err, sweeps)
	}
	final := current && !full || failed.Kind == vfstest.OpSyncDir
	if final && (!ended || sweeps > 0) {
		t.Errorf("%s failed: ended with %v, %d files obsolete", name, err, sweeps)
	}
	// What was written after all, or is asked, cut and removed for tidiness, stops nothing.
	harmless := []vfstest.OpKind{vfstest.OpRemove, vfstest.OpClose, vfstest.OpStat, vfstest.OpTruncate, vfstest.OpCheck}
	if way == "" && !ended && !slices.Contains(harmless, failed.Kind) {
		t.Errorf("%s failed, but the Keeper goes on", name)
	}
	for _, fsys := range []*vfstest.Disk{r.mem, r.mem.CrashClone(nil)} {
		current, err := manifest.ReadCurrent(fsys, testDir)
		must(t, err)
		state, _, err := manifest.Load(fsys, testDir, current.Manifest)
		if err != nil || answered && len(state.Version.Levels[0]) != 1 {
			t.Errorf("%s failed: CURRENT leads to %+v, %v", name, state, err)
		}
		for range len(k.sweeper.ch) {
			o := <-k.sweeper.ch
			if o.Name == base.ManifestName(current.Manifest) {
				t.Errorf("%s failed: the MANIFEST in use is obsolete", name)
			}
			k.sweeper.ch <- o
		}
	}
	return true
}

func TestKeeperEndsWithoutAMarkAfterAFailure(t *testing.T) {
	r := newRig(t)
	k := r.newKeeper()
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errBroken)
	must(t, k.run(ctx))
	k.release()
	if c, err := manifest.ReadCurrent(r.mem, testDir); err != nil || c.Clean != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if slices.Contains(r.traced("rename"), "rename CURRENT") {
		t.Error("CURRENT was switched")
	}
}
