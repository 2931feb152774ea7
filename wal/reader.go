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
	r := &Reader{}
	if err := r.source.open(f, name, segment); err != nil {
		return nil, err
	}
	if err := r.source.load(0); err != nil {
		return nil, err
	}
	c, fault := r.source.parse(0)
	if fault == "" {
		if err := r.readHeader(c); err != nil {
			return nil, err
		}
		return r, nil
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
	if c.Type != TypeHeader {
		return r.unexpected(c, "log header")
	}
	if len(c.Payload) < 4 {
		return base.Corruptf(name, 0, "log header of %d bytes", len(c.Payload))
	}
	if version := binary.LittleEndian.Uint32(c.Payload); version != formatVersion {
		if version > formatVersion {
			return fmt.Errorf("%s: %w: log version %d, newest known is %d", name, base.ErrIncompatible, version, formatVersion)
		}
		return base.Corruptf(name, 0, "log version %d", version)
	}
	if len(c.Payload) != logHeaderBytes {
		return base.Corruptf(name, 0, "log header of %d bytes, want %d", len(c.Payload), logHeaderBytes)
	}
	end := binary.LittleEndian.Uint64(c.Payload[12:])
	if end > 1<<63-1 {
		return base.Corruptf(name, 0, "log header: the previous log ends at %d", end)
	}
	r.previous = Previous{Segment: binary.LittleEndian.Uint64(c.Payload[4:]), End: int64(end)}
	r.position, r.durable = c.end(), c.end()
	return nil
}

// Empty reports whether the log has no header, and so never held a record.
func (r *Reader) Empty() bool { return r.position == 0 }

// SizeBytes returns the size that the file had when it was opened.
func (r *Reader) SizeBytes() int64 { return r.source.sizeBytes }

// Previous returns what the header says of the log before this one.
func (r *Reader) Previous() Previous { return r.previous }

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
	if r.err != nil {
		return nil, 0, r.err
	}
	return payload, offset, nil
}

func (r *Reader) next() (payload []byte, offset int64, err error) {
	offset = chunkStart(r.position)
	if err := r.source.load(offset); err != nil {
		return nil, 0, err
	}
	c, fault := r.source.parse(offset)
	if fault != "" {
		return nil, 0, r.stop(offset, fault)
	}
	if c.Type != TypeFull && c.Type != TypeFirst && c.Type != TypeEnd {
		return nil, 0, r.unexpected(c, "a new record")
	}
	if err := r.check(c); err != nil {
		return nil, 0, err
	}
	switch c.Type {
	case TypeEnd:
		return nil, 0, r.seal(c)
	case TypeFirst:
		payload, err = r.assemble(c)
		return payload, offset, err
	}
	r.position = c.end()
	return c.Payload, offset, nil
}

// assemble reads the rest of a record that starts with first.
func (r *Reader) assemble(first Chunk) ([]byte, error) {
	r.record = append(r.record[:0], first.Payload...)
	for at := first.end(); ; {
		if err := r.source.load(at); err != nil {
			return nil, err
		}
		c, fault := r.source.parse(at)
		if fault != "" {
			return nil, r.stop(at, fault)
		}
		if c.Type != TypeMiddle && c.Type != TypeLast {
			return nil, r.unexpected(c, "the rest of a record")
		}
		if err := r.check(c); err != nil {
			return nil, err
		}
		r.record = append(r.record, c.Payload...)
		at = c.end()
		if c.Type == TypeLast {
			r.position = at
			return r.record, nil
		}
	}
}

// check finds what no Writer writes in a chunk that verified: it is a fault of a
// program, never of a crash.
func (r *Reader) check(c Chunk) error {
	if c.malformed != "" {
		return base.Corruptf(r.source.name, c.Offset, "%s chunk: %s", c.Type, c.malformed)
	}
	if !c.Type.opensRecord() {
		return nil
	}
	if c.Durable < r.durable || c.Durable > r.position {
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

// seal ends the log at its End chunk, behind which only zeros may stand.
func (r *Reader) seal(c Chunk) error {
	last, err := r.source.lastNonZero(c.end())
	if err != nil {
		return err
	}
	if last > c.end() {
		return base.Corruptf(r.source.name, c.end(), "bytes up to offset %d follow the end mark", last)
	}
	r.position = c.end()
	r.end = End{Offset: r.position, Sealed: true}
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
		c, found, err := r.source.find(from, last)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		if c.proves(damage) {
			return base.Corruptf(r.source.name, damage, "%s, but the %s chunk at offset %d says that the log was durable up to %d",
				fault, c.Type, c.Offset, c.Durable)
		}
		from = c.end()
	}
	r.end = End{Offset: r.position, TornBytes: last - r.position}
	return io.EOF
}
