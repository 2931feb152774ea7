package stages

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// sorted writes a table to load, which holds keys.
func (r *rig) sorted(keys ...string) []*manifest.TableMeta {
	r.t.Helper()
	tables := output.NewLoadedTables(r.env.Directory, func(int64, []byte) bool { return false })
	for _, key := range keys {
		must(r.t, tables.Add(base.AppendInternalKey(nil, []byte(key), base.MakeTrailer(output.LoadedSeq, base.KindSet)), []byte("loaded")))
	}
	done, err := tables.Finish()
	must(r.t, err)
	return done
}

// Who writes beside a load is answered when the write is visible, not before. A load that
// cannot be decoded shows where the Writer stood.
func TestCrowdThatEndsWithALoad(t *testing.T) {
	r := newRig(t)
	w := r.newWriter()
	w.active = memtable.New(1 << 20)
	for i := range crowd {
		w.group = append(w.group, set(fmt.Sprint("key", i), "value"))
	}
	broken := set("load", "value")
	broken.encoded = broken.encoded[:broken.Bytes()-1]
	broken.seal, broken.load = true, &load{}
	w.group = append(w.group, broken)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		w.insert()
	}()
	if visible := r.published.Visible(); visible != crowd {
		t.Errorf("%d writes were answered, up to %d they are visible", crowd, visible)
	}
}

// TestLoadIsTakenBack: while the Writer has not come to it, the end of ctx takes a load
// back, and nothing of it stays.
func TestLoadIsTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t).open()
		must(t, r.put(set("a", "1")))
		release := r.hold(on(vfstest.OpSync, base.FileWAL))
		before := synced(set("b", "1"))
		must(t, r.p.Enqueue(context.Background(), before))
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		tables, answer := r.sorted("k", "l"), make(chan error, 1)
		go func() { answer <- r.p.Load(ctx, tables) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case err := <-answer:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		default:
			t.Error("it waits for more than ctx")
		}
		release()
		must(t, before.Wait())
		if names := r.names(base.FileTable); len(names) > 0 {
			t.Errorf("left over: %v", names)
		}
		if _, found := r.get("k"); found {
			t.Error("it is there")
		}
		r.close()
	})
}
