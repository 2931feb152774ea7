package beside

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"
)

// A stream of entries is a sequence of frames, each a byte that says what it is and then
//
//	entry    length of the key, key, length of the value, value
//	ending   the same, and behind it the time when the value ends: Unix nanoseconds, 8 bytes, little-endian
//	end      the number of entries before it: everything was sent
//	failed   length of a failure as JSON, and that: what comes before it is all there is
//
// Lengths and numbers are uvarints. A stream that stops without end or failed was cut off.
const (
	frameEntry  = 1
	frameEnding = 2
	frameEnd    = 3
	frameFailed = 4
)

// StreamBytes is how much of a stream is collected before it is sent.
const StreamBytes = 64 << 10

// StreamWriter writes a stream. It is used by one goroutine.
type StreamWriter struct {
	to      io.Writer
	held    []byte // back
	entries uint64
	err     error // the first of to
}

// NewStreamWriter returns a writer that holds back little more than StreamBytes.
func NewStreamWriter(to io.Writer) *StreamWriter { return &StreamWriter{to: to} }

// Entry writes an entry. It waits for whoever reads the stream.
func (s *StreamWriter) Entry(e Entry) error {
	kind := byte(frameEntry)
	if !e.Until.IsZero() {
		kind = frameEnding
	}
	s.entries++
	s.held = binary.AppendUvarint(append(s.held, kind), uint64(len(e.Key)))
	s.held = append(s.held, e.Key...)
	s.held = binary.AppendUvarint(s.held, uint64(len(e.Value)))
	if len(e.Value) < StreamBytes {
		s.held = append(s.held, e.Value...)
	} else {
		s.send()
		s.write(e.Value)
	}
	if kind == frameEnding {
		s.held = binary.LittleEndian.AppendUint64(s.held, uint64(e.Until.UnixNano()))
	}
	if len(s.held) >= StreamBytes {
		s.send()
	}
	return s.err
}

// End says that nothing follows, because all was sent or because of an error.
func (s *StreamWriter) End(err error) error {
	if err == nil {
		s.held = binary.AppendUvarint(append(s.held, frameEnd), s.entries)
	} else {
		encoded := EncodeFailure(err)
		s.held = append(binary.AppendUvarint(append(s.held, frameFailed), uint64(len(encoded))), encoded...)
	}
	s.send()
	return s.err
}

// send writes what was held back.
func (s *StreamWriter) send() {
	s.write(s.held)
	s.held = s.held[:0]
}

func (s *StreamWriter) write(p []byte) {
	if s.err == nil {
		_, s.err = s.to.Write(p)
	}
}

// ReadStream calls visit for each entry of a stream until that returns an error, which
// ReadStream returns then. What ended the stream on the other side is its error as well.
func ReadStream(from io.Reader, visit func(Entry) error) error {
	r := bufio.NewReaderSize(from, StreamBytes)
	var key, value []byte
	for entries := uint64(0); ; entries++ {
		kind, err := r.ReadByte()
		if err != nil {
			return cutOff(err)
		}
		e := Entry{}
		switch kind {
		case frameEntry, frameEnding:
			if key, err = readSized(r, key); err == nil {
				value, err = readSized(r, value)
			}
			e.Key, e.Value = key, value
		case frameEnd:
			n, err := binary.ReadUvarint(r)
			if err == nil && n != entries {
				err = fmt.Errorf("%d entries were sent and %d came", n, entries)
			}
			return cutOff(err)
		case frameFailed:
			encoded, err := readSized(r, nil)
			if err != nil {
				return cutOff(err)
			}
			return decodeFailure(encoded)
		default:
			err = fmt.Errorf("a frame of the unknown kind %d", kind)
		}
		if kind == frameEnding && err == nil {
			var until [8]byte
			_, err = io.ReadFull(r, until[:])
			e.Until = time.Unix(0, int64(binary.LittleEndian.Uint64(until[:])))
		}
		if err != nil {
			return cutOff(err)
		}
		if err := visit(e); err != nil {
			return err
		}
	}
}

// readSized reads a length and so many bytes. Memory is taken as they come, whatever the
// length claims.
func readSized(r *bufio.Reader, into []byte) ([]byte, error) {
	left, err := binary.ReadUvarint(r)
	into = into[:0]
	for left > 0 && err == nil {
		start, step := len(into), int(min(left, 1<<20))
		into = slices.Grow(into, step)[:start+step]
		_, err = io.ReadFull(r, into[start:])
		left -= uint64(step)
	}
	return into, err
}

// cutOff is the error of a stream that ends where it must not; nil for nil.
func cutOff(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (what it sent is not whole: %w)", ErrLost, err)
}
