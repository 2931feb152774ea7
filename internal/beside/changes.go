package beside

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/inside"
)

// After is the question for changes: those behind a number.
type After struct {
	After uint64 `json:"after"`
}

// A stream of changes is a sequence of frames, each a byte that says what it is and then
//
//	change   length of a record of the log, and that; see docs/format-wal.md
//	load     number of the load, length of its first key, that, length of its end, that
//	trimmed  the smallest number from which changes can be had: nothing follows
//	broken   length of a failure as JSON, and that: nothing follows
//
// Lengths and numbers are uvarints. It has no other end.
const (
	frameChange  = 1
	frameLoad    = 2
	frameTrimmed = 3
	frameBroken  = 4
)

// AppendRecord appends a change, which is no load, as a record of the log.
func AppendRecord(dst []byte, c db.Change) ([]byte, error) {
	dst = base.GroupHeader{First: base.Seq(c.First), Count: uint32(len(c.Ops))}.AppendTo(dst)
	for _, op := range c.Ops {
		kind, value, until := base.KindSet, op.Value, int64(0)
		switch op.Kind {
		case db.OpPut:
			if !op.Until.IsZero() {
				kind, until = base.KindSetExpiring, op.Until.UnixNano()
			}
		case db.OpDelete:
			kind = base.KindDelete
		case db.OpDeleteRange:
			kind, value = base.KindRangeDelete, op.End
		case db.OpMerge:
			kind = base.KindMerge
		default:
			return dst, fmt.Errorf("lsmdb: %s is no operation of the log", op.Kind)
		}
		dst = base.AppendOp(dst, kind, op.Key, value, until)
	}
	return dst, nil
}

// decodeRecord undoes AppendRecord. The operations share the memory of the record and of ops.
func decodeRecord(record []byte, ops []db.Op) (c db.Change, err error) {
	header, encoded, err := base.DecodeGroup(record)
	ops = ops[:0]
	if err == nil {
		err = inside.DecodeOps(&ops, header.Count, encoded)
	}
	return db.Change{First: uint64(header.First), Seq: uint64(header.First) + uint64(header.Count) - 1, Ops: ops}, err
}

// AppendChange appends the frame of a change.
func AppendChange(dst []byte, c db.Change) ([]byte, error) {
	if len(c.Ops) == 1 && c.Ops[0].Kind == db.OpLoad {
		dst = binary.AppendUvarint(append(dst, frameLoad), c.First)
		return base.AppendField(base.AppendField(dst, c.Ops[0].Key), c.Ops[0].End), nil
	}
	record, err := AppendRecord(nil, c)
	if err != nil {
		return dst, err
	}
	return base.AppendField(append(dst, frameChange), record), nil
}

// AppendEnd appends the frame that says why nothing follows.
func AppendEnd(dst []byte, err error) []byte {
	if trimmed, is := err.(*db.TrimmedError); is {
		return binary.AppendUvarint(append(dst, frameTrimmed), trimmed.Oldest)
	}
	return base.AppendField(append(dst, frameBroken), EncodeFailure(err))
}

// Changes is db.DB.Changes of the other process. Where that ends, or closes the database, the
// last pair has ErrLost.
func (c *Client) Changes(ctx context.Context, after uint64) iter.Seq2[db.Change, error] {
	return func(yield func(db.Change, error) bool) {
		body, err := c.send(ctx, "changes", After{after})
		if err != nil {
			yield(db.Change{}, err)
			return
		}
		defer body.Close()
		r := changeReader{from: bufio.NewReaderSize(body, StreamBytes)}
		for {
			change, err := r.next()
			if err != nil && ctx.Err() != nil {
				err = ctx.Err()
			}
			if !yield(change, err) || err != nil {
				return
			}
		}
	}
}

// changeReader reads a stream of changes. Its memory is used again for the next one.
type changeReader struct {
	from   *bufio.Reader
	record []byte
	end    []byte
	ops    []db.Op
}

func (r *changeReader) next() (c db.Change, err error) {
	kind, err := r.from.ReadByte()
	if err != nil {
		return c, cutOff(err)
	}
	var number uint64
	if kind == frameLoad || kind == frameTrimmed {
		number, err = binary.ReadUvarint(r.from)
	}
	if err == nil && kind != frameTrimmed {
		r.record, err = readSized(r.from, r.record)
	}
	if err == nil && kind == frameLoad {
		r.end, err = readSized(r.from, r.end)
	}
	switch {
	case err != nil:
		return c, cutOff(err)
	case kind == frameChange:
		if c, err = decodeRecord(r.record, r.ops); err == nil {
			r.ops = c.Ops
		}
		return c, cutOff(err)
	case kind == frameLoad:
		return db.Change{First: number, Seq: number, Ops: []db.Op{{Kind: db.OpLoad, Key: r.record, End: r.end}}}, nil
	case kind == frameTrimmed:
		return c, &db.TrimmedError{Oldest: number}
	case kind == frameBroken:
		return c, decodeFailure(r.record)
	}
	return c, cutOff(fmt.Errorf("a frame of the unknown kind %d", kind))
}
