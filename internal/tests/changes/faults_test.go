package changes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestReadErrors: what the file system says ends a loop, and nothing else. Nothing is given up
// for it: who begins again where it was goes on.
func TestReadErrors(t *testing.T) {
	for _, kind := range []vfstest.OpKind{vfstest.OpOpen, vfstest.OpRead} {
		for _, cause := range []error{syscall.EMFILE, syscall.EIO} {
			ctx := guarded(t)
			m := fixture.NewMachine(vfstest.NewDisk())
			d := openKeeping(t, m, 1<<30)
			fill(t, d, 30)
			at, failures := uint64(0), 0
			for at < 30 {
				var passed atomic.Int64
				m.Fail(func(op vfstest.Op) error {
					if op.Kind == kind && strings.HasSuffix(op.Name, ".wal") && passed.Add(1) > int64(1+failures) {
						return cause
					}
					return nil
				})
				for c, err := range d.Changes(ctx, at) {
					if err != nil {
						fixture.WantErr(t, fmt.Sprintf("after %d, where %s fails", at, kind), err, cause)
						if errors.Is(err, db.ErrTrimmed) || errors.Is(err, db.ErrCorrupt) {
							t.Errorf("after %d: %v", at, err)
						}
						failures++
						break
					}
					if at++; c.Seq != at {
						t.Fatalf("change %d instead of %d", c.Seq, at)
					}
					if at == 30 {
						break
					}
				}
			}
			if failures == 0 {
				t.Errorf("%s did not fail", kind)
			}
			m.Fail(nil)
			fixture.Must(t, d.Put([]byte("goes on"), nil))
			fixture.Must(t, d.Close())
		}
	}
}

// TestFailedSync: what a failed sync should have made durable is not told. The loop waits, as
// reads go on; Close ends it.
func TestFailedSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fixture.NewMachine(vfstest.NewDisk())
		d := openKeeping(t, m, 0)
		fixture.Must(t, d.Put([]byte("a"), nil))
		m.Failing(vfstest.OpSync, ".wal", fixture.ErrDisk)
		var heard []string
		ended := make(chan error, 1)
		go func() {
			got, err := follow(t.Context(), d, 0, 9)
			heard = got
			ended <- err
		}()
		synctest.Wait()
		fixture.WantErr(t, "a write whose sync fails", d.Put([]byte("b"), nil), fixture.ErrDisk)
		synctest.Wait()
		_ = d.Close()
		fixture.WantErr(t, "Close", <-ended, db.ErrClosed)
		must(t, heard, nil, "1-1 a=")
	})
}

// TestKeptLogThatCannotBeSynced: then nothing of before is kept, as nobody knows what the disk has of
// it; the database is whole.
func TestKeptLogThatCannotBeSynced(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	d := openKeeping(t, m, 1<<30)
	fixture.Must(t, d.Put([]byte("a"), nil))
	fixture.Must(t, d.Put([]byte("b"), nil, db.NoSync))
	m.Kill(d)
	m = fixture.NewMachine(m.Disk)
	m.Failing(vfstest.OpSync, "000002.wal", fixture.ErrDisk)
	d = openKeeping(t, m, 1<<30)
	defer d.Close()
	_, err := follow(ctx, d, 0, 1)
	if got := oldest(t, err); got != 2 {
		t.Errorf("the oldest are behind %d", got)
	}
	fixture.Must(t, d.Put([]byte("c"), nil))
	got, err := follow(ctx, d, 2, 1)
	must(t, got, err, "3-3 c=")
	if got := len(fixture.Contents(t, d)); got != 3 {
		t.Errorf("%d keys", got)
	}
}

// TestNothingToldBeforeTheTakeover: what was replayed need not be durable. Until the takeover, which
// finds no room at first, a loop waits, wherever it begins.
func TestNothingToldBeforeTheTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fixture.NewMachine(vfstest.NewDisk())
		d := openKeeping(t, m, 1<<30)
		fixture.Must(t, d.Put([]byte("a"), nil))
		fixture.Must(t, d.Put([]byte("b"), nil, db.NoSync))
		m.Kill(d)
		m = fixture.NewMachine(m.Disk)
		m.Failing(vfstest.OpCreate, "", syscall.ENOSPC)
		d = openKeeping(t, m, 1<<30)
		heard := make(chan []string, 2)
		for after := range uint64(2) {
			go func() {
				got, err := follow(t.Context(), d, after, int(2-after))
				heard <- append(got, fmt.Sprint(err))
			}()
		}
		synctest.Wait()
		if len(heard) > 0 {
			t.Errorf("heard %q before the takeover", <-heard)
		}
		m.Fail(nil)
		fixture.Must(t, fixture.TakeOver(d))
		for range 2 {
			if got := <-heard; got[len(got)-1] != "<nil>" || got[len(got)-2] != "2-2 b=" {
				t.Errorf("heard %q", got)
			}
		}
		fixture.Must(t, d.Close())
	})
}

// TestLogsThatCannotBeDeleted are tried again, and count for nothing.
func TestLogsThatCannotBeDeleted(t *testing.T) {
	ctx := guarded(t)
	m := fixture.NewMachine(vfstest.NewDisk())
	d := openKeeping(t, m, 30<<10)
	m.Failing(vfstest.OpRemove, ".wal", fixture.ErrDisk)
	fill(t, d, 60)
	eventually(t, "logs are to be deleted", func() bool { return d.Metrics().Files.ObsoletePending > 5 })
	kept := d.Metrics().Changes
	if kept.Bytes > 30<<10 {
		t.Errorf("kept: %+v", kept)
	}
	_, err := follow(ctx, d, 0, 1)
	if got := oldest(t, err); got < 30 {
		t.Errorf("the oldest are behind %d", got)
	}
	m.Fail(nil)
	fixture.Must(t, d.Close())
	if _, sizeBytes := logs(t, m); sizeBytes > 64<<10 {
		t.Errorf("%d bytes of logs are left", sizeBytes)
	}
}

// TestContextOfTheLoop ends it also while there is more to tell.
func TestContextOfTheLoop(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := openKeeping(t, m, 1<<30)
	defer d.Close()
	fill(t, d, 30)
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	n := 0
	for _, err := range d.Changes(ctx, 0) {
		if err != nil {
			fixture.WantErr(t, "a context that ended in the loop", err, context.Canceled)
			break
		}
		if n++; n == 5 {
			cancel()
		}
	}
	if n != 5 {
		t.Errorf("%d steps", n)
	}
}
