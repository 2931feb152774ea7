package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

const (
	// maxBatchBytes is the size from which on a batch is written before more is added.
	maxBatchBytes = 16 << 20

	// maxOverlayRanges bounds the range deletes through which a lookup goes in what is not
	// written yet.
	maxOverlayRanges = 64
)

// retryAfter is how long a write that found no room waits for some.
const retryAfter = 100 * time.Millisecond

// application is a run of log entries that is being applied, by one goroutine.
type application struct {
	g     *generation
	at    position // of the state with what is in batch
	batch db.Batch
	data  *db.Batch
	meta  *db.Batch

	pending []operation // those of batch
	over    overlay     // the first of them, as lookups need them
	laid    int         // how many
}

// Apply applies one log entry; see ApplyBatch.
func (f *FSM) Apply(entry *raft.Log) any { return f.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch applies log entries that follow each other, as one batch without a sync. The
// response to a command that was applied is nil. It is an error if the command was refused, the
// same on all nodes: one that Is ErrMismatch, or one that tells what is wrong with the command.
// After a failure of the database, see Failed, all responses are that.
//
// While the disk is full it waits for room.
func (f *FSM) ApplyBatch(entries []*raft.Log) []any {
	responses := make([]any, len(entries))
	failed := func(from int, err error) []any {
		f.fail(err)
		for i := from; i < len(entries); i++ {
			responses[i] = f.Err()
		}
		return responses
	}
	g, err := f.acquire()
	if err == nil {
		defer f.release(g)
		err = f.Err()
	}
	if err != nil {
		for i := range responses {
			responses[i] = err
		}
		return responses
	}
	a := f.batch.begin(g)
	written := 0 // entries whose responses hold whatever happens to the rest
	for i, entry := range entries {
		if entry.Index <= a.at.applied { // from before the last start, or the snapshot
			continue
		}
		if entry.Type == raft.LogCommand {
			if a.full(len(entry.Data)) {
				if err := f.write(a); err != nil {
					return failed(written, err)
				}
				written = i
			}
			refused, err := a.command(entry.Data)
			if err != nil {
				return failed(written, err)
			}
			if refused != nil {
				responses[i] = refused
			}
		}
		a.at.applied = entry.Index
	}
	if err := f.write(a); err != nil {
		return failed(written, err)
	}
	return responses
}

// begin begins another run on a state.
func (a *application) begin(g *generation) *application {
	if a.g != g {
		a.g = g
		a.data, a.meta = a.batch.In(g.data), a.batch.In(g.meta)
	}
	a.at = g.position()
	a.clear()
	return a
}

func (a *application) clear() {
	a.batch.Reset()
	clear(a.pending)
	a.pending, a.laid = a.pending[:0], 0
	a.over.reset()
}

// full tells whether the batch must be written before a command of so many bytes is added.
func (a *application) full(bytes int) bool {
	return a.batch.Len() > 0 && (a.batch.Bytes()+bytes > maxBatchBytes || len(a.over.ranges) > maxOverlayRanges)
}

// command adds a command to the batch, or says why it is refused. It fails only where the
// database cannot be read.
func (a *application) command(data []byte) (refused, failed error) {
	d, err := decode(data)
	if err != nil {
		return err, nil
	}
	a.at.clock = max(a.at.clock, d.now) // a command that is refused tells the time as well
	for i := range d.expectations {
		e := &d.expectations[i]
		value, err := a.get(e.key)
		if err != nil {
			return nil, err
		}
		if !e.holds(value) {
			return fmt.Errorf("%w: %.64q", ErrMismatch, e.key), nil
		}
	}
	for _, o := range d.operations {
		if err := a.add(o); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// get looks up what a key has with the batch.
func (a *application) get(key []byte) ([]byte, error) {
	for ; a.laid < len(a.pending); a.laid++ {
		a.over.add(a.pending[a.laid])
	}
	if value, changed := a.over.get(key, a.at.clock); changed {
		return value, nil
	}
	value, _, err := sight{a.g.data, a.at, a.g.published.Load()}.get(key)
	return value, err
}

func (a *application) add(o operation) error {
	a.pending = append(a.pending, o)
	switch o.kind {
	case kindPut:
		return a.data.Put(o.key, o.value)
	case kindPutUntil:
		a.at.lastUntil = max(a.at.lastUntil, o.until)
		return a.data.PutUntil(o.key, o.value, time.Unix(0, o.until))
	case kindDelete:
		return a.data.Delete(o.key)
	case kindDeleteRange:
		return a.data.DeleteRange(o.key, o.value)
	}
	panic(fmt.Sprintf("invariant: operation %q was decoded", o.kind))
}

// write writes the batch, with the position, if there is something new.
func (f *FSM) write(a *application) error {
	if a.at.applied == a.g.position().applied {
		return nil
	}
	if err := a.meta.Put(positionAt, a.at.encode()); err != nil {
		return err
	}
	for {
		err := a.g.db.Apply(f.ctx, &a.batch, db.NoSync)
		if err == nil {
			break
		}
		if f.ctx.Err() != nil {
			return db.ErrClosed
		}
		if final(err) {
			return err
		}
		select { // nothing was stored: a full disk, or another shortage
		case <-time.After(retryAfter):
		case <-f.ctx.Done():
		}
	}
	at := a.at
	a.g.at.Store(&at)
	a.clear()
	f.moved(at.applied)
	return nil
}

// final tells whether a write that failed would fail again, or may have been stored.
func final(err error) bool {
	for _, target := range []error{db.ErrReadOnly, db.ErrClosed, db.ErrCorrupt, db.ErrBatchTooLarge, db.ErrKeyTooLarge, db.ErrValueTooLarge} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
