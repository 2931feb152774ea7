package wal

import (
	"errors"
	"fmt"

	"lsmdb/internal/vfs"
)

// Ahead is what a Writer will need soon: allocated space, and a window on it whose pages
// were touched. Making it takes as long as hundreds of records. So somebody else may do that
// meanwhile: whoever was asked (see Writer.Ask) calls Prepare or Decline, once. Until then
// the Writer writes and syncs, but does not close, cut or extend the file.
type Ahead struct {
	file       vfs.LogFile
	used       *vfs.Window // nobody needs it any more
	shown      int64       // up to here the present window shows the file
	start, end int64       // of the new window
	reserved   int64       // the end of the file
	allocate   int64       // so much more is to be allocated
	sync       bool        // nothing of the above is asked for, but a sync

	// answer carries the one answer to the Writer. Capacity 1, so it waits for nobody;
	// nobody closes it.
	answer chan prepared
}

// prepared answers an Ahead.
type prepared struct {
	window   *vfs.Window // nil: there is none
	reserved int64
	err      error // of the sync
}

// Prepare makes it. Whatever fails is left to the Writer, who finds out for himself and can
// say so.
func (a *Ahead) Prepare() {
	p := prepared{reserved: a.reserved}
	defer func() { a.answer <- p }()
	if a.sync {
		p.err = a.file.Sync()
		return
	}
	start, end := a.used.Bounds()
	if a.used.Close() != nil {
		return
	}
	if start < end { // less is left for the sync at the end of the segment
		a.file.StartWriteback(start, end-start)
	}
	if a.allocate > 0 {
		if a.file.Allocate(a.reserved, a.allocate) != nil {
			_ = a.file.Truncate(a.reserved)
			return
		}
		p.reserved += a.allocate
	}
	if window, err := a.file.Map(a.start, min(a.end, p.reserved)-a.start); err == nil {
		p.window = window
		window.Touch(a.shown)
	}
}

// Decline answers that nobody will make it.
func (a *Ahead) Decline() {
	_ = a.used.Close()
	a.answer <- prepared{reserved: a.reserved}
}

// askAhead asks for what comes behind the present window, unless nobody would make it. The
// window before that is not needed any more; nil: it is closed already.
func (w *Writer) askAhead(used *vfs.Window) {
	if w.Ask == nil {
		return
	}
	_, shown := w.window.Bounds()
	start := shown - maxWindowedBytes // a record that does not fit into the window begins behind
	start -= start % vfs.WindowAlignBytes
	answer := make(chan prepared, 1)
	a := &Ahead{file: w.log, used: used, shown: shown, start: start, end: start + windowBytes, reserved: w.reserved, answer: answer}
	if a.end > w.reserved {
		a.allocate = min(w.stepBytes, lastAllocationBytes)
	}
	w.ahead = answer
	w.Ask(a)
}

// SyncAhead has the disk told of all that was appended, beside the Writer, so that the next
// Sync finds little to do. It promises nothing, but an error counts as one of that Sync. It
// reports false if nobody can be asked now.
func (w *Writer) SyncAhead() bool {
	if w.Ask == nil || !w.syncsAreRare() || !w.collect(false) {
		return false
	}
	answer := make(chan prepared, 1)
	w.ahead, w.syncing = answer, true
	w.Ask(&Ahead{file: w.log, reserved: w.reserved, sync: true, answer: answer})
	return true
}

// collect takes the answer of whoever was asked. It reports false if there is none yet, and
// the Writer does not want to wait.
func (w *Writer) collect(wait bool) bool {
	if w.ahead == nil {
		return true
	}
	if !wait && len(w.ahead) == 0 {
		return false
	}
	p := <-w.ahead
	w.ahead, w.syncing = nil, false
	if p.err != nil && w.err == nil {
		w.err = fmt.Errorf("sync log %s: %w", w.name, p.err)
	}
	if p.window != nil {
		w.next = p.window
	}
	if p.reserved > w.reserved {
		w.reserved, w.stepBytes = p.reserved, min(2*w.stepBytes, p.reserved)
	}
	return true
}

// closeWindows closes all of them.
func (w *Writer) closeWindows() error {
	w.collect(true)
	err := errors.Join(w.window.Close(), w.next.Close())
	w.window, w.next = nil, nil
	return err
}
