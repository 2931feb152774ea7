package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/text"
)

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
