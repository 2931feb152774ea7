package salvage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"lsmdb/internal/base"
	"lsmdb/wal"
)

// piece is what a log holds at some place: a record, a hole, or its end.
type piece struct {
	offset int64
	end    int64  // behind it
	record []byte // until the next piece; nil: it is none
	fault  string // of a hole: what is wrong there
}

// header is what the first chunk of a log tells.
type header struct {
	there    bool
	previous wal.Previous
}

// known is the only version of the format of logs.
const known = 1

// walkLog shows every record of a log and every hole between them, and returns its header
// and whether an End chunk stands behind them. A record is whole or a hole.
func walkLog(f *source, name string, number uint64, see func(piece) error) (h header, sealed bool, err error) {
	begun := piece{offset: -1} // of a record of several chunks
	var parts []byte
	hole := func(at, end int64, fault string) error {
		if begun.offset >= 0 {
			at, begun.offset = begun.offset, -1
		}
		return see(piece{offset: at, end: end, fault: f.why(fault)})
	}
	for c, damage := range wal.Chunks(f, name, number) {
		end := c.Offset + c.LengthBytes
		if damage != nil {
			corruption, is := errors.AsType[*base.CorruptionError](damage)
			if !is {
				return h, false, damage
			}
			if err := hole(corruption.Offset, end, corruption.Detail); err != nil {
				return h, false, err
			}
			continue
		}
		if begun.offset >= 0 && c.Type != wal.TypeMiddle && c.Type != wal.TypeLast {
			if err := hole(c.Offset, c.Offset, "the end of a record is missing"); err != nil {
				return h, false, err
			}
		}
		switch c.Type {
		case wal.TypeZero:
		case wal.TypeEnd:
			return h, true, nil
		case wal.TypeHeader:
			h = decodeHeader(c.Payload)
			if !h.there {
				err = hole(c.Offset, end, "a header of another version")
			}
		case wal.TypeFull:
			err = see(piece{offset: c.Offset, end: end, record: c.Payload})
		case wal.TypeFirst:
			begun.offset, parts = c.Offset, append(parts[:0], c.Payload...)
		case wal.TypeMiddle, wal.TypeLast:
			switch parts = append(parts, c.Payload...); {
			case begun.offset < 0:
				err = hole(c.Offset, end, "the beginning of a record is missing")
			case c.Type == wal.TypeLast:
				at := begun.offset
				begun.offset = -1
				err = see(piece{offset: at, end: end, record: parts})
			}
		default:
			err = hole(c.Offset, end, fmt.Sprintf("a chunk of an unknown %s", c.Type))
		}
		if err != nil {
			return h, false, err
		}
	}
	if begun.offset >= 0 {
		err = hole(begun.offset, f.sizeBytes, "the end of a record is missing")
	}
	return h, false, err
}

// decodeHeader decodes version u32, previous segment u64, its end u64.
func decodeHeader(payload []byte) (h header) {
	const headerBytes = 4 + 8 + 8
	if len(payload) != headerBytes || binary.LittleEndian.Uint32(payload) != known {
		return h
	}
	h.there = true
	h.previous.Segment = binary.LittleEndian.Uint64(payload[4:])
	h.previous.End = int64(binary.LittleEndian.Uint64(payload[12:]))
	return h
}
