package backup

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"gocloud.dev/blob"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/beside"
)

// A piece of the log is
//
//	magic | version u32 | length u32 | header | checksum u32 | frames
//	frame = length u32 | time u64 | record | checksum u32
//
// in little-endian numbers. The header is a logHeader as JSON. A record is one as the log of a
// database has it, see docs/format-wal.md: some whole batches. Its time is in nanoseconds since
// 1970. Checksums are CRC-32C: the first of all before it, that of a frame of what it has
// before it, begun with the first operation's number, the epoch and the database.
const (
	logMagic      = "lsmdblog"
	logVersion    = 1
	logFixedBytes = len(logMagic) + 4 + 4
	frameBytes    = 4 + 8 + 4 // around a record
)

// mostHeaderBytes is more than any header has.
const mostHeaderBytes = 4 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logHeader says what a piece of the log holds.
type logHeader struct {
	Database string `json:"database"`
	Epoch    uint64 `json:"epoch"`
	First    uint64 `json:"first"` // operation; 0 of the claim of an epoch, which holds none
	Last     uint64 `json:"last"`
	Frames   uint64 `json:"frames"`
	From     int64  `json:"from"` // time of the first frame
	To       int64  `json:"to"`   // time of the last frame

	// Base is the point from which the log leads here without a gap, perhaps through epochs
	// before. Settled says that it is known to be in the bucket.
	Base    string `json:"base,omitempty"`
	Settled bool   `json:"settled,omitempty"`

	Claim string `json:"claim,omitempty"` // who claims: drawn anew each time
}

// piece is a piece of the log that is being collected. Its header is complete but for Base,
// Settled and Epoch.
type piece struct {
	logHeader
	frames []byte
}

// add adds a change, which follows what there is.
func (p *piece) add(c db.Change, now int64) error {
	start := len(p.frames)
	p.frames = append(p.frames, make([]byte, 4)...)
	p.frames = binary.LittleEndian.AppendUint64(p.frames, uint64(now))
	whole, err := beside.AppendRecord(p.frames, c)
	if err != nil {
		p.frames = p.frames[:start]
		return fmt.Errorf("lsmdb: backup: %w", err)
	}
	p.frames = whole
	binary.LittleEndian.PutUint32(p.frames[start:], uint32(len(p.frames)-start-4-8))
	sum := frameChecksum(p.Database, p.Epoch, c.First, p.frames[start:])
	p.frames = binary.LittleEndian.AppendUint32(p.frames, sum)
	if p.Frames == 0 {
		p.First, p.From = c.First, now
	}
	p.Last, p.To = c.Seq, now
	p.Frames++
	return nil
}

func frameChecksum(database string, epoch, first uint64, frame []byte) uint32 {
	var seed [16]byte
	binary.LittleEndian.PutUint64(seed[:], first)
	binary.LittleEndian.PutUint64(seed[8:], epoch)
	sum := crc32.Update(crc32.Checksum(seed[:], castagnoli), castagnoli, []byte(database))
	return crc32.Update(sum, castagnoli, frame)
}

// head returns what comes before the frames.
func (h logHeader) head() []byte {
	encoded, err := json.Marshal(h)
	if err != nil {
		panic("invariant: headers are plain values: " + err.Error())
	}
	head := binary.LittleEndian.AppendUint32([]byte(logMagic), logVersion)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(encoded)))
	head = append(head, encoded...)
	return binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
}

// frame is a change as it is shipped. The record is valid until the next one.
type frame struct {
	first, last uint64
	time        int64
	record      []byte // base.DecodeGroup takes it apart
	ops         []byte // of it
}

// logReader reads one piece of the log.
type logReader struct {
	logHeader
	name   string
	object *blob.Reader
	from   *bufio.Reader
	frames uint64 // read
	next   uint64 // first operation of the next frame
	buffer []byte
}

// openLog opens a piece of the log and reads its header.
func (s store) openLog(ctx context.Context, epoch, first uint64) (*logReader, error) {
	name := logName(epoch, first)
	object, err := s.open(ctx, name)
	if err != nil {
		return nil, err
	}
	r := &logReader{name: name, object: object, from: bufio.NewReaderSize(object, 256<<10)}
	if err = r.readHeader(); err == nil && (r.Epoch != epoch || r.First != first) {
		err = damaged(name, "it says that it is %s", logName(r.Epoch, r.First))
	}
	if err != nil {
		return nil, errors.Join(err, object.Close())
	}
	r.next = first
	return r, nil
}

// logHeaderOf reads only the header of a piece of the log.
func (s store) logHeaderOf(ctx context.Context, epoch, first uint64) (logHeader, error) {
	name := logName(epoch, first)
	object, err := s.openRange(ctx, name, int64(logFixedBytes+mostHeaderBytes+4))
	if err != nil {
		return logHeader{}, err
	}
	defer object.Close()
	r := &logReader{name: name, object: object, from: bufio.NewReader(object)}
	if err = r.readHeader(); err == nil && (r.Epoch != epoch || r.First != first) {
		err = damaged(name, "it says that it is %s", logName(r.Epoch, r.First))
	}
	return r.logHeader, err
}

// failed is the error of a read.
func (r *logReader) failed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged(r.name, "it is cut off")
	}
	return fmt.Errorf("lsmdb: backup: read %s: %w", r.name, err)
}

func (r *logReader) readHeader() error {
	head := make([]byte, logFixedBytes)
	if _, err := io.ReadFull(r.from, head); err != nil {
		return r.failed(err)
	}
	length := binary.LittleEndian.Uint32(head[logFixedBytes-4:])
	version := binary.LittleEndian.Uint32(head[len(logMagic):])
	switch {
	case string(head[:len(logMagic)]) != logMagic:
		return damaged(r.name, "it does not begin as a piece of the log does")
	case length > mostHeaderBytes:
		return damaged(r.name, "its header claims %d bytes", length)
	}
	head = append(head, make([]byte, length+4)...)
	if _, err := io.ReadFull(r.from, head[logFixedBytes:]); err != nil {
		return r.failed(err)
	}
	covered := head[:len(head)-4]
	if crc32.Checksum(covered, castagnoli) != binary.LittleEndian.Uint32(head[len(covered):]) {
		return damaged(r.name, "the checksum of its header does not fit")
	}
	if version != logVersion {
		return fmt.Errorf("lsmdb: backup: %s: %w: version %d, known is %d", r.name, base.ErrIncompatible, version, logVersion)
	}
	if err := json.Unmarshal(covered[logFixedBytes:], &r.logHeader); err != nil {
		return damaged(r.name, "its header: %v", err)
	}
	return nil
}

// read returns the next frame, or io.EOF when all that the header tells of was read.
func (r *logReader) read() (f frame, err error) {
	if r.frames == r.Frames {
		if _, err := r.from.ReadByte(); err != io.EOF {
			return f, damaged(r.name, "something follows its end")
		}
		if r.Frames > 0 && r.next != r.Last+1 {
			return f, damaged(r.name, "it ends at %d, and says %d", r.next-1, r.Last)
		}
		return f, io.EOF
	}
	var head [12]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return f, r.failed(err)
	}
	left := int(binary.LittleEndian.Uint32(head[:])) + 4
	r.buffer = append(r.buffer[:0], head[:]...)
	for left > 0 { // memory is taken as the bytes come, whatever the length claims
		step := min(left, 1<<20)
		start := len(r.buffer)
		r.buffer = slices.Grow(r.buffer, step)[:start+step]
		if _, err := io.ReadFull(r.from, r.buffer[start:]); err != nil {
			return f, r.failed(err)
		}
		left -= step
	}
	covered := r.buffer[:len(r.buffer)-4]
	if frameChecksum(r.Database, r.Epoch, r.next, covered) != binary.LittleEndian.Uint32(r.buffer[len(covered):]) {
		return f, damaged(r.name, "the checksum of what begins with operation %d does not fit", r.next)
	}
	f.time, f.record = int64(binary.LittleEndian.Uint64(covered[4:])), covered[12:]
	header, ops, err := base.DecodeGroup(f.record)
	if err != nil || uint64(header.First) != r.next || header.Count == 0 {
		return f, damaged(r.name, "%d operations from %d on where %d follows: %v", header.Count, header.First, r.next, err)
	}
	if count, _, err := base.CountOps(ops); err != nil || count != header.Count {
		return f, damaged(r.name, "%d operations of %d from %d on: %v", count, header.Count, r.next, err)
	}
	f.first, f.ops = r.next, ops
	f.last = r.next + uint64(header.Count) - 1
	r.next = f.last + 1
	r.frames++
	return f, nil
}

// Close closes the object.
func (r *logReader) Close() error { return r.object.Close() }

// moment is a time as frames have it.
func moment(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }
