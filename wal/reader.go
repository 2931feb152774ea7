package wal

import (
	"encoding/binary"
	"fmt"
	"io"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// Reader reads a log from its start to its end and then says how it ended. It
// does not own the file.
//
// Invariants: everything before position has verified; durable marks never go
// backwards and never exceed position.
type Reader struct {
	source   source
	previous Previous
	position int64  // behind the last whole record
	durable  int64  // the latest durable mark seen
	record   []byte // a record of several chunks; grows only as they verify
	end      End
	err      error // the answer of every further Next
}

// Open reads the header of a log. An empty file, one of zeros alone, and one
// whose header never became durable (nothing stands behind it) give a Reader
// that is Empty. Errors: *base.CorruptionError where the header is damaged or
// belongs to another log, base.ErrIncompatible for a version of the future.
func Open(f vfs.File, name string, segment uint64) (*Reader, error) {
	sizeBytes, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("size of log %s: %w", name, err)
	}
	return OpenPart(f, name, segment, sizeBytes)
}

// OpenPart is Open for the beginning of a log that is being written: the file is taken to be
// so long, however long it is, until Extend.
func OpenPart(f vfs.File, name string, segment uint64, sizeBytes int64) (*Reader, error) {
	r := &Reader{}
	if err := r.source.open(f, name, segment, sizeBytes); err != nil {
		return nil, err
	}
	c, fault := r.source.parse(0)
	if fault == "" {
		return r, r.readHeader(c)
	}
	// A header is synced before the first record is written: where anything stands behind
	// it, it was durable.
	last, err := r.source.lastNonZero(0)
	if err != nil {
		return nil, err
	}
	if last > logStart {
		return nil, base.Corruptf(name, 0, "log header: %s", fault)
	}
	r.end = End{TornBytes: last}
	r.err = io.EOF
	return r, nil
}

// readHeader decodes version u32, previous segment u64, its end u64.
func (r *Reader) readHeader(c Chunk) error {
	name := r.source.name
	var version uint32 // 0, which no log has, if the payload is too short for one
	_, _ = binary.Decode(c.Payload, binary.LittleEndian, &version)
	switch {
	case c.Type != TypeHeader:
		return r.unexpected(c, "log header")
	case version > formatVersion:
		return fmt.Errorf("%s: %w: log version %d, newest known is %d", name, base.ErrIncompatible, version, formatVersion)
	case len(c.Payload) != logHeaderBytes:
		return base.Corruptf(name, 0, "log header of %d bytes, want %d", len(c.Payload), logHeaderBytes)
	case version != formatVersion:
		return base.Corruptf(name, 0, "log version %d", version)
	}
	r.previous.Segment = binary.LittleEndian.Uint64(c.Payload[4:])
	r.previous.End = int64(binary.LittleEndian.Uint64(c.Payload[12:]))
	if r.previous.End < 0 {
		return base.Corruptf(name, 0, "log header: the previous log ends at %d", uint64(r.previous.End))
	}
	r.position, r.durable = c.end(), c.end()
	return nil
}

// Empty reports whether the log has no header, and so never held a record.
func (r *Reader) Empty() bool { return r.position == 0 }

// SizeBytes returns the size that the file had when it was opened.
func (r *Reader) SizeBytes() int64 { return r.source.sizeBytes }

// Previous returns what the header says of the log before this one.
func (r *Reader) Previous() Previous { return r.previous }

// Extend has the reader take the file to be so long, until it is told otherwise: who knows
// how much of a log that is being written is durable reads that much, and later more. It
// invalidates the payload of the last Next, which goes on behind it.
func (r *Reader) Extend(sizeBytes int64) {
	r.source.extend(sizeBytes)
	if r.err == io.EOF && !r.end.Sealed {
		r.err = nil
	}
}

// End tells how the log ended; it is valid once Next has returned io.EOF.
func (r *Reader) End() End { return r.end }

// Next returns the next record and the offset of its first chunk. payload is
// valid until the next call. io.EOF: the log is over, see End. An error that is
// base.ErrCorrupt: something durable is damaged, and records may stand behind it
// that Next does not reach. Any error is final.
func (r *Reader) Next() (payload []byte, offset int64, err error) {
	if r.err == nil {
		payload, offset, r.err = r.next()
	}
	return payload, offset, r.err
}

func (r *Reader) next() (payload []byte, offset int64, err error) {
	offset = chunkStart(r.position)
	r.record = r.record[:0]
	for at := offset; ; {
		if err := r.source.load(at); err != nil {
			return nil, 0, err
		}
		c, fault := r.source.parse(at)
		if fault != "" {
			return nil, 0, r.stop(at, fault)
		}
		if err := r.check(c, at == offset); err != nil {
			return nil, 0, err
		}
		at = c.end()
		switch c.Type {
		case TypeEnd:
			return nil, 0, r.seal(at)
		case TypeFull:
			r.position = at
			return c.Payload, offset, nil
		}
		r.record = append(r.record, c.Payload...)
		if c.Type == TypeLast {
			r.position = at
			return r.record, offset, nil
		}
	}
}

// check finds what no Writer writes in a chunk that verified: it is a fault of a
// program, never of a crash.
func (r *Reader) check(c Chunk, begins bool) error {
	switch {
	case begins && !c.Type.opensRecord() && c.Type != TypeEnd:
		return r.unexpected(c, "a new record")
	case !begins && c.Type != TypeMiddle && c.Type != TypeLast:
		return r.unexpected(c, "the rest of a record")
	case c.malformed != "":
		return base.Corruptf(r.source.name, c.Offset, "%s chunk: %s", c.Type, c.malformed)
	case !c.Type.opensRecord():
		return nil
	case c.Durable < r.durable || c.Durable > r.position:
		return base.Corruptf(r.source.name, c.Offset, "durable mark %d is not between %d and %d", c.Durable, r.durable, r.position)
	}
	r.durable = c.Durable
	return nil
}

// unexpected is the error for a chunk that verified and has no business here.
func (r *Reader) unexpected(c Chunk, want string) error {
	if c.Type > TypeEnd {
		return fmt.Errorf("%s at offset %d: %w: unknown chunk %s", r.source.name, c.Offset, base.ErrIncompatible, c.Type)
	}
	return base.Corruptf(r.source.name, c.Offset, "%s chunk, want %s", c.Type, want)
}

// seal ends the log at the end of its End chunk, behind which only zeros may stand.
func (r *Reader) seal(end int64) error {
	last, err := r.source.lastNonZero(end)
	if err != nil {
		return err
	}
	if last > end {
		return base.Corruptf(r.source.name, end, "bytes up to offset %d follow the end mark", last)
	}
	r.position = end
	r.end = End{Offset: end, Sealed: true}
	return io.EOF
}

// stop decides about a bad chunk at damage: io.EOF where it is a torn tail, an
// error where something behind it proves that it was durable. What would be lost
// starts at position, before damage when a record was read in part.
func (r *Reader) stop(damage int64, fault string) error {
	last, err := r.source.lastNonZero(r.position)
	if err != nil {
		return err
	}
	for from := damage + 1; from < last; {
		c, err := r.source.find(from, last)
		if err != nil {
			return err
		}
		if c.LengthBytes == 0 {
			break
		}
		if c.malformed == "" && c.Durable > damage {
			return base.Corruptf(r.source.name, damage, "%s, but the %s chunk at offset %d says that the log was durable up to %d",
				fault, c.Type, c.Offset, c.Durable)
		}
		from = c.end()
	}
	r.end = End{Offset: r.position, TornBytes: last - r.position}
	return io.EOF
}
