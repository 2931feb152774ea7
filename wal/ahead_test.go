package wal

import (
	"errors"
	"testing"
	"testing/synctest"

	"lsmdb/internal/vfs"
)

// syncs fails the syncs of a log file that it is told to, and counts them.
type syncs struct {
	vfs.LogFile
	n    int
	fail func(n int) error
}

func (f *syncs) Sync() error {
	if f.n++; f.fail != nil {
		if err := f.fail(f.n); err != nil {
			return err
		}
	}
	return f.LogFile.Sync()
}

// syncing makes a log with unsynced records and what was asked to sync it.
func syncing(t *testing.T, fail func(n int) error) (w *Writer, f *syncs, asked *Ahead) {
	t.Helper()
	w, _ = windowed(t)
	w.Ask = func(a *Ahead) { asked = a }
	if w.SyncAhead() {
		t.Fatal("a sync ahead where syncs are frequent")
	}
	for range 2 * rareSyncRecords {
		mustDo(t, w.Append(noise(1, 130)))
	}
	f = &syncs{LogFile: w.log, fail: fail}
	w.file, w.log = f, f
	if !w.SyncAhead() || asked == nil {
		t.Fatal("nobody was asked")
	}
	if w.SyncAhead() {
		t.Fatal("asked twice")
	}
	return w, f, asked
}

// TestSyncAhead: whoever syncs waits for a sync that is under way beside him, and makes durable
// himself what was appended since.
func TestSyncAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f, asked := syncing(t, nil)
		durable := w.Durable()
		mustDo(t, w.Append(noise(1, 130)))
		done := make(chan error, 1)
		go func() { done <- w.Sync() }()
		synctest.Wait()
		if len(done) != 0 || f.n != 1 {
			t.Errorf("done: %t, after %d syncs", len(done) != 0, f.n)
		}
		asked.Prepare()
		mustDo(t, <-done)
		if f.n != 2 || w.Durable() != w.Offset() || w.Durable() == durable {
			t.Errorf("%d syncs, durable to %d of %d", f.n, w.Durable(), w.Offset())
		}
	})
}

// TestSyncAheadFails: the disk tells of a failure once. Whoever hears of it, the log has failed,
// and no later sync succeeds.
func TestSyncAheadFails(t *testing.T) {
	broken := errors.New("the disk is broken")
	for name, hear := range map[string]func(w *Writer) error{
		"sync":   (*Writer).Sync,
		"append": func(w *Writer) error { return w.Append(make([]byte, w.ReservedBytes()-w.Offset())) }, // extends the file
		"end":    func(w *Writer) error { _, err := w.Finish(); return err },
	} {
		t.Run(name, func(t *testing.T) {
			w, _, asked := syncing(t, func(n int) error {
				if n == 1 {
					return broken
				}
				return nil
			})
			asked.Prepare()
			if err := hear(w); !errors.Is(err, broken) {
				t.Errorf("%v, want %v", err, broken)
			}
			if err := w.Sync(); !errors.Is(err, broken) {
				t.Errorf("a later sync: %v", err)
			}
		})
	}
}

// TestSyncAheadKeepsTheNextWindow: what was prepared before is used all the same.
func TestSyncAheadKeepsTheNextWindow(t *testing.T) {
	w, _ := windowed(t)
	var asked *Ahead
	w.Ask = func(a *Ahead) { asked = a }
	for asked == nil {
		mustDo(t, w.Append(noise(1, 130)))
	}
	asked.Prepare()
	if !w.SyncAhead() || w.next == nil {
		t.Fatal("nobody was asked for a sync, or the next window is not there")
	}
	next := w.next
	asked.Prepare()
	if !w.collect(false) || w.next != next {
		t.Error("the window is lost")
	}
}
