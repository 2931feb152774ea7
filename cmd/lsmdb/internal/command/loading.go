package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// loading moves entries from lines into the database, batch by batch. While the
// pipeline works on one batch, the next is being filled.
type loading struct {
	database   *db.DB
	records    *text.Reader
	totalBytes int64
	display    *display.Display
	start      time.Time

	batch   *db.Batch   // being filled
	spare   *db.Batch   // belongs to the database until pending resolves
	pending *db.Pending // nil: none
	waiting loaded      // what the pending batch holds
	filling loaded      // what batch holds
	loaded              // what is acknowledged
}

type loaded struct {
	entries    int64
	entryBytes int64 // keys and values
	ended      int64 // entries whose time was over
}

// Batches are large enough to make their overhead small, and small enough that
// the pipeline is never idle for long.
const (
	loadBatchBytes   = 1 << 20
	loadBatchEntries = 2000
)

// run loads everything. Whatever ends it, the entries counted are durable then;
// the first error is the one that is returned.
func (l *loading) run(ctx context.Context) error {
	err := l.fill(ctx)
	toTheEnd := context.WithoutCancel(ctx)
	if err == io.EOF {
		err = l.submit(ctx)
	} else if errors.As(err, new(*text.MalformedLine)) || ctx.Err() != nil {
		err = cmp.Or(l.submit(toTheEnd), err) // what came before is kept
	}
	err = cmp.Or(err, l.settle(toTheEnd))
	if err == nil { // a table opens at once, a log must be read
		return l.database.Flush(ctx)
	}
	return cmp.Or(err, l.database.Sync(toTheEnd))
}

// fill reads lines into batches and hands full ones over, until the input ends
// (io.EOF) or something is wrong.
func (l *loading) fill(ctx context.Context) error {
	for {
		e, err := l.records.Next()
		if err != nil {
			return err
		}
		if err := access.CheckEntry(e.Key, e.Value); err != nil {
			return l.records.Malformed(err)
		}
		if err := access.Put(l.batch, e.Key, e.Value, e.Until); err != nil {
			return err
		}
		l.filling.entries++
		l.filling.entryBytes += int64(len(e.Key) + len(e.Value))
		if !e.Until.IsZero() && !e.Until.After(l.start) {
			l.filling.ended++
		}
		if l.batch.Len() >= loadBatchEntries || l.batch.Bytes() >= loadBatchBytes {
			if err := cmp.Or(ctx.Err(), l.submit(ctx)); err != nil {
				return err
			}
			l.display.Update(l.paint)
		}
	}
}

// submit waits for the batch before and hands the filled one to the writer.
func (l *loading) submit(ctx context.Context) error {
	if err := l.settle(ctx); err != nil || l.batch.Len() == 0 {
		return err
	}
	pending, err := l.database.Submit(ctx, l.batch, db.NoSync)
	if err != nil {
		return err
	}
	l.pending, l.waiting, l.filling = pending, l.filling, loaded{}
	l.batch, l.spare = l.spare, l.batch
	return nil
}

// settle waits for the pending batch and counts it.
func (l *loading) settle(ctx context.Context) error {
	if l.pending == nil {
		return nil
	}
	err := l.pending.Wait(ctx)
	if err != nil && ctx.Err() != nil {
		return err // still pending: settled at the end
	}
	l.pending = nil
	if err != nil {
		return err
	}
	l.entries += l.waiting.entries
	l.entryBytes += l.waiting.entryBytes
	l.ended += l.waiting.ended
	l.spare.Reset()
	return nil
}

func (l *loading) paint() []string {
	line := l.display.ProgressLine(display.Progress{Verb: "loading", Done: l.records.ReadBytes, Total: l.totalBytes,
		Detail: units.Plural(l.entries, "entry", "entries"), Since: l.start})
	if !l.display.Terminal {
		return []string{line}
	}
	m := l.database.Metrics()
	return append([]string{line}, display.PipelineLines(l.display.Ink, &m)...)
}

// runSorted loads everything as one commit, or nothing of it. The lines must be in the
// order of their keys.
func (l *loading) runSorted(ctx context.Context) error {
	ctx, abandon := context.WithCancel(ctx)
	defer abandon()
	var failed error // what ended the input before its end
	err := l.database.Load(ctx, func(yield func(key, value []byte) bool) {
		var last []byte
		for {
			e, err := l.nextSorted(last)
			if err == io.EOF {
				return
			}
			if err != nil {
				failed = err
				abandon() // or Load would take this for the end
				return
			}
			if !yield(e.Key, e.Value) {
				return
			}
			if last = append(last[:0], e.Key...); last == nil {
				last = []byte{}
			}
			l.filling.entries++
			l.filling.entryBytes += int64(len(e.Key) + len(e.Value))
			if l.filling.entries%1024 == 0 {
				l.display.Update(l.paint)
			}
		}
	})
	if err = cmp.Or(failed, err); err == nil {
		l.loaded = l.filling
	}
	return err
}

// nextSorted reads an entry that must come after the last one, nil for the first.
func (l *loading) nextSorted(last []byte) (text.Entry, error) {
	e, err := l.records.Next()
	if err != nil {
		return e, err
	}
	switch err = access.CheckEntry(e.Key, e.Value); {
	case err != nil:
	case last != nil && bytes.Compare(e.Key, last) <= 0:
		err = fmt.Errorf("not sorted: key %s does not come after %s", text.Quote(e.Key), text.Quote(last))
	case !e.Until.IsZero():
		err = errors.New("the value ends some day, and --sorted takes only what stays; load it without --sorted")
	}
	if err != nil {
		return e, l.records.Malformed(err)
	}
	return e, nil
}
