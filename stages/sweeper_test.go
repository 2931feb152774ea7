package stages

import (
	"context"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
	"lsmdb/sstable"
)

// sweeping makes a Sweeper whose inbox names three files that exist.
func sweeping(r *rig) *Sweeper {
	s := &Sweeper{env: r.env, inbox: newInbox[Obsolete](8)}
	for n := uint64(50); n < 53; n++ {
		f, err := r.mem.Create(base.WALPath(testDir, n))
		must(r.t, err)
		must(r.t, f.Close())
		s.inbox.ch <- Obsolete{Name: base.WALName(n)}
	}
	close(s.inbox.ch)
	return s
}

func TestSweeperDeletes(t *testing.T) {
	r := newRig(t)
	s := sweeping(r)
	must(t, s.run(context.Background()))
	if got := r.names(base.FileWAL); len(got) != 1 || s.deleted.Load() != 3 || s.inbox.traffic("").Messages != 3 {
		t.Errorf("left %v", got)
	}
}

func TestSweeperDeletesNothingAfterAFailure(t *testing.T) {
	r := newRig(t)
	s := sweeping(r)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	must(t, s.run(ctx))
	if got := r.traced("remove"); len(got) > 0 {
		t.Error(got)
	}
}

func TestSweeperTriesAgainAtTheEnd(t *testing.T) {
	for tries, left := range map[int]int{1: 0, 2: 1} {
		r := newRig(t)
		s := sweeping(r)
		failures := 0
		r.onDisk(func(op vfstest.Op) error {
			if op.Kind == vfstest.OpRemove && op.Name == base.WALPath(testDir, 51) && failures < tries {
				failures++
				return errBroken
			}
			return nil
		})
		must(t, s.run(context.Background()))
		if got := r.names(base.FileWAL); len(got) != 1+left || s.pending.Load() != int64(left) || s.deleted.Load() != int64(3-left) {
			t.Errorf("%d failures: left %v, pending %d", tries, got, s.pending.Load())
		}
	}
}

// TestSweeperOpensATableForItsLastReaders: a reader of an older version may come
// to the table only after its name is gone.
func TestSweeperOpensATableForItsLastReaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		r.fill("k", 3)
		must(t, r.p.Flush(context.Background()))
		version := r.p.State().Version
		meta := version.Levels[0][0]
		handle := sstable.NewHandle(r.env.FS, base.TablePath(testDir, meta.Number), sstable.ReaderOptions{Identity: meta.Identity}, r.env.Files)
		s := &Sweeper{env: r.env}
		s.sweep(Obsolete{Name: base.TableName(meta.Number), Table: handle})
		if got := r.names(base.FileTable); len(got) > 0 {
			t.Errorf("left %v", got)
		}
		table, err := handle.Table()
		must(t, err)
		if err := table.Verify(nil); err != nil {
			t.Error(err)
		}
		r.close()
	})
}

// TestSweeperKeepsATableThatItCannotOpen: the last readers may be luckier. It goes
// once it was opened for them, or when there can be none left.
func TestSweeperKeepsATableThatItCannotOpen(t *testing.T) {
	for _, readersLeft := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			r := newRig(t).open()
			r.fill("k", 3)
			must(t, r.p.Flush(context.Background()))
			meta := r.p.State().Version.Levels[0][0]
			handle := sstable.NewHandle(r.env.FS, base.TablePath(testDir, meta.Number), sstable.ReaderOptions{Identity: meta.Identity}, r.env.Files)
			s := &Sweeper{env: r.env}
			r.fail(on(vfstest.OpOpen, base.FileTable), errBroken)
			s.sweep(Obsolete{Name: base.TableName(meta.Number), Table: handle})
			s.again(s.sweep)
			if got := r.names(base.FileTable); len(got) != 1 || s.pending.Load() != 1 {
				t.Errorf("left %v, pending %d", got, s.pending.Load())
			}
			if readersLeft {
				r.onDisk(nil)
				s.again(s.sweep)
				table, err := handle.Table()
				must(t, err)
				must(t, table.Verify(nil))
			} else {
				s.removeLeft()
				r.onDisk(nil)
			}
			if got := r.names(base.FileTable); len(got) > 0 || s.pending.Load() != 0 {
				t.Errorf("left %v, pending %d", got, s.pending.Load())
			}
			r.close()
		})
	}
}
