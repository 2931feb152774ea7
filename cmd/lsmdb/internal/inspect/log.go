package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"

	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/wal"
)

// logRecord is a whole record of a log file, put together from its chunks.
type logRecord struct {
	offset  int64 // of its first chunk
	end     int64
	durable int64 // the log was durable up to here when the record was written
	payload []byte
	chunks  int
}

// logWalk reads all records of a log that verify, also those that stand behind
// damage, which the database itself would not read.
type logWalk struct {
	inspection *inspection
	record     func(r logRecord) error

	open       logRecord // the record whose First chunk was met last; chunks 0: none
	records    int
	unreadable int // stretches that do not verify: torn or damaged, the verdict tells
}

// run walks the file.
func (w *logWalk) run(ctx context.Context, f vfs.File, name string) error {
	for c, err := range wal.Chunks(f, name, w.inspection.number) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if err := w.stretch(c, err); err != nil {
				return err
			}
			continue
		}
		if err := w.chunk(name, c); err != nil {
			return err
		}
	}
	w.unfinished()
	return nil
}

// stretch lists bytes that do not verify.
func (w *logWalk) stretch(c wal.Chunk, err error) error {
	var corrupt *base.CorruptionError
	if !errors.As(err, &corrupt) {
		return err
	}
	w.unreadable++
	w.inspection.always(map[string]any{"type": "unreadable", "offset": corrupt.Offset, "bytes": c.LengthBytes, "detail": corrupt.Detail},
		"%10d  %s: %s", corrupt.Offset, w.inspection.console.OutInk().Bad("unreadable, "+units.Size(c.LengthBytes)), corrupt.Detail)
	return nil
}

// chunk adds a chunk that verified to the record it belongs to.
func (w *logWalk) chunk(name string, c wal.Chunk) error {
	switch c.Type {
	case wal.TypeHeader, wal.TypeEnd, wal.TypeZero:
	case wal.TypeFull, wal.TypeFirst:
		w.unfinished()
		w.open = logRecord{offset: c.Offset, end: c.Offset + c.LengthBytes, durable: c.Durable, payload: append(w.open.payload[:0], c.Payload...), chunks: 1}
		if c.Type == wal.TypeFull {
			return w.finish()
		}
	case wal.TypeMiddle, wal.TypeLast:
		if w.open.chunks == 0 || w.open.end != c.Offset {
			w.unreadable++
			w.inspection.item(map[string]any{"type": "orphan", "offset": c.Offset, "bytes": c.LengthBytes},
				"%10d  %s", c.Offset, w.inspection.console.OutInk().Warm("a "+c.Type.String()+" chunk of a record whose start is lost"))
			return nil
		}
		w.open.payload = append(w.open.payload, c.Payload...)
		w.open.chunks++
		w.open.end = c.Offset + c.LengthBytes
		if c.Type == wal.TypeLast {
			return w.finish()
		}
	default:
		return w.inspection.damage(base.Corruptf(name, c.Offset, "unknown chunk %s", c.Type))
	}
	return nil
}

func (w *logWalk) finish() error {
	w.records++
	err := w.record(w.open)
	w.open.chunks = 0
	return err
}

// unfinished lists a record that has no end.
func (w *logWalk) unfinished() {
	if w.open.chunks == 0 {
		return
	}
	w.inspection.item(map[string]any{"type": "unfinished", "offset": w.open.offset, "bytes": len(w.open.payload)},
		"%10d  %s", w.open.offset, w.inspection.console.OutInk().Warm("a record without its end, "+units.Size(len(w.open.payload))+" of it"))
	w.open.chunks = 0
}

// verdict reads the log as recovery does and says how that ends. A log that
// recovery refuses is damaged.
func (w *logWalk) verdict(f vfs.File, name string) (string, error) {
	r, err := wal.Open(f, name, w.inspection.number)
	for err == nil {
		_, _, err = r.Next()
	}
	switch {
	case err == io.EOF && r.Empty():
		return "empty: it never held a record", nil
	case err == io.EOF && r.End().Sealed:
		return "closed properly", nil
	case err == io.EOF && r.End().TornBytes > 0:
		return fmt.Sprintf("recovery cuts off %s of an unfinished write at offset %d", units.Size(r.End().TornBytes), r.End().Offset), nil
	case err == io.EOF:
		return fmt.Sprintf("not closed; it ends cleanly at offset %d", r.End().Offset), nil
	}
	if err := w.inspection.damage(err); err != nil {
		return "", err
	}
	return "recovery refuses this file", nil
}
