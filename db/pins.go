package db

import (
	"cmp"
	"slices"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/view"
)

// Pin is something that is open, and keeps what the database could give back otherwise.
type Pin struct {
	Kind  string    `json:"kind"`  // snapshot (also that of View), iterator, transaction, checkpoint or changes
	Since time.Time `json:"since"` // to some 10 milliseconds

	// Seq is the number of the newest write that it shows or, of a checkpoint, holds; of a loop
	// over Changes, that it has come to.
	Seq uint64 `json:"seq"`

	// Bytes is what would be free without it. Of a snapshot or a transaction it is an estimate:
	// what a compaction could drop of versions of keys, where these are a hundredth of the
	// database or more mostly right to some ten percent. Where operands are merged, it does not
	// count what they make smaller. What others need as well counts for none of them. Of an
	// iterator it is what is only kept for iterators: memtables that were flushed, and tables
	// that were merged; of a checkpoint, these tables; of a loop over Changes, segments of the log.
	Bytes int64 `json:"bytes"`

	// Where is the function that opened it, with file and line. Of View and Update it is the
	// function that they call or, as a method value has no line, their caller. Of iterators it is unknown, and empty, only where many are opened
	// within a hundredth of a second: then it is noted of the first hundred, and now and then.
	Where string `json:"where"`
}

// Pins returns what is open, the oldest first. So a snapshot or an iterator that somebody has
// forgotten to close can be found. While snapshots or transactions are open, it reads samples
// of blocks as SpaceOf does, past the cache, and no more of them in a large database than in a
// small one. Otherwise it is cheap. Nobody waits for it. What is open when
// the database is closed stays listed until it is closed itself, or forgotten.
func (d *DB) Pins() []Pin {
	pins := []Pin{}
	add := func(kind string, o view.Opened, seq base.Seq, bytes int64) {
		pins = append(pins, Pin{kind, time.Unix(0, o.Since&^1), uint64(seq), bytes, o.Where()})
	}
	for _, h := range d.published.Holders() {
		kind := "iterator"
		if h.Pin {
			kind = "checkpoint"
		}
		add(kind, h.Opened, h.Seq, h.Bytes)
	}
	registered := &d.unused
	if d.pipeline != nil {
		registered = &d.pipeline.Snapshots
		for _, h := range d.pipeline.Changes.Holders() {
			add("changes", h.Opened, base.Seq(h.Seq), h.Bytes)
		}
	}
	snapshots := registered.Open()
	var instants []view.At
	for _, s := range snapshots {
		instants = append(instants, s.At)
	}
	kept := make([]int64, len(instants))
	if d.pipeline != nil && !d.closed.Load() {
		kept = d.published.Kept(instants)
	}
	for i, s := range snapshots {
		kind := "snapshot"
		if s.Transaction {
			kind = "transaction"
		}
		add(kind, s.Opened, s.At.Seq, kept[i])
	}
	slices.SortStableFunc(pins, func(a, b Pin) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Seq, b.Seq)) })
	return pins
}

// Health returns nil while the database does its work, or why it does not:
//
//   - ErrClosed after Close.
//   - ErrReadOnly with its cause, if a failure has made the database read-only.
//   - ErrDiskFull, or another shortage, while writes are refused for it, or flushes and
//     compactions wait. It passes when there is room. Health has the Writer try again, so a later
//     call tells.
//   - Another error that tells since when and for what, if all writes have been held up for a
//     second or more: for the disk, or for flushes or compactions.
//
// A database that was opened read-only does what it can. Health reads nothing and waits for
// nobody.
func (d *DB) Health() error {
	switch {
	case d.closed.Load():
		return ErrClosed
	case d.pipeline == nil:
		return nil
	}
	return d.pipeline.Health()
}
