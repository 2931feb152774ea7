package raftlog

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

// entryFormat is the first byte of every entry; see the package comment.
const entryFormat = 1

// Flags of an entry: what there is of it. Nil and empty are different things.
const (
	hasData       = 1
	hasExtensions = 2
	hasAppendedAt = 4
	allFlags      = hasData | hasExtensions | hasAppendedAt
)

// appendEntry appends the encoding of an entry without its index, which is in the key.
func appendEntry(dst []byte, l *raft.Log) ([]byte, error) {
	var flags byte
	if l.Data != nil {
		flags |= hasData
	}
	if l.Extensions != nil {
		flags |= hasExtensions
	}
	if !l.AppendedAt.IsZero() {
		flags |= hasAppendedAt
	}
	dst = append(dst, entryFormat, flags, byte(l.Type))
	dst = binary.AppendUvarint(dst, l.Term)
	if flags&hasAppendedAt != 0 {
		var err error
		length := len(dst)
		if dst, err = l.AppendedAt.AppendBinary(append(dst, 0)); err != nil {
			return nil, fmt.Errorf("AppendedAt: %w", err)
		}
		dst[length] = byte(len(dst) - length - 1)
	}
	if flags&hasExtensions != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(l.Extensions)))
		dst = append(dst, l.Extensions...)
	}
	return append(dst, l.Data...), nil
}

// decodeEntry decodes all of p into l, whose slices lie in p then. After an error l is as it was.
func decodeEntry(p []byte, index uint64, l *raft.Log) error {
	decoded := raft.Log{Index: index}
	if err := decode(p, &decoded); err != nil {
		return err
	}
	*l = decoded
	return nil
}

// cut says what is not whole.
func cut(what string) error { return fmt.Errorf("it ends within its %s: %w", what, db.ErrCorrupt) }

func decode(p []byte, l *raft.Log) error {
	if len(p) < 3 {
		return cut("head")
	}
	format, flags := p[0], p[1]
	if format != entryFormat || flags&^allFlags != 0 {
		return fmt.Errorf("it has format %d and flags %x: %w", format, flags, db.ErrIncompatible)
	}
	l.Type = raft.LogType(p[2])
	term, n := binary.Uvarint(p[3:])
	if n <= 0 {
		return cut("term")
	}
	l.Term, p = term, p[3+n:]
	if flags&hasAppendedAt != 0 {
		if len(p) < 1 || len(p) < 1+int(p[0]) {
			return cut("AppendedAt")
		}
		end := 1 + int(p[0])
		if err := l.AppendedAt.UnmarshalBinary(p[1:end]); err != nil {
			return fmt.Errorf("its AppendedAt: %w: %w", err, db.ErrCorrupt)
		}
		p = p[end:]
	}
	if flags&hasExtensions != 0 {
		length, n := binary.Uvarint(p)
		if n <= 0 || uint64(len(p)-n) < length {
			return cut("extensions")
		}
		end := n + int(length)
		l.Extensions, p = p[n:end:end], p[end:]
	}
	if flags&hasData != 0 {
		l.Data = p[:len(p):len(p)]
	} else if len(p) > 0 {
		return fmt.Errorf("%d bytes follow its end: %w", len(p), db.ErrCorrupt)
	}
	return nil
}
