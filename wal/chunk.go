package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// Chunk is one piece of a log as it lies in the file.
type Chunk struct {
	Offset      int64 // of its first byte
	LengthBytes int64 // its header included
	Type        ChunkType
	Payload     []byte // without the durable mark; shares the reader's buffer
	Durable     int64  // the log was durable up to here when the chunk was written; 0 where the type does not tell

	malformed string // what no Writer writes, although the checksum holds
}

func (c Chunk) end() int64 { return c.Offset + c.LengthBytes }

// Chunks walks everything that a log file holds, for people who look into it. It
// works on damaged files: a stretch that does not verify comes as one Chunk with
// a *base.CorruptionError, and the walk goes on at the next chunk that does. The
// zeros at the end are one Chunk of TypeZero. Only an error of reading ends the
// walk early. A payload is valid until the walk goes on.
func Chunks(f vfs.File, name string, segment uint64) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		var s source
		sizeBytes, err := f.Size()
		if err == nil {
			err = s.open(f, name, segment, sizeBytes)
		}
		if err != nil {
			yield(Chunk{}, fmt.Errorf("open log %s: %w", name, err))
			return
		}
		for at := int64(0); at < s.sizeBytes; {
			c, err := s.walk(at)
			if !yield(c, err) || c.LengthBytes == 0 {
				return
			}
			at = chunkStart(c.end())
		}
	}
}

// source reads a log file block by block and finds the chunks in it.
type source struct {
	file      vfs.File
	name      string
	sizeBytes int64
	binding   binding
	buffer    []byte
	block     []byte // what the file holds of the loaded block
	start     int64  // offset of the loaded block; -1: none
}

func (s *source) open(f vfs.File, name string, segment uint64, sizeBytes int64) error {
	*s = source{file: f, name: name, sizeBytes: sizeBytes, binding: newBinding(segment), start: -1}
	s.buffer = make([]byte, min(sizeBytes, BlockBytes))
	return s.load(0)
}

// extend changes the size, and forgets the block, which may hold more than before.
func (s *source) extend(sizeBytes int64) {
	s.sizeBytes, s.start = sizeBytes, -1
	if most := min(sizeBytes, BlockBytes); int64(len(s.buffer)) < most {
		s.buffer = make([]byte, most)
	}
}

// load reads the block that holds offset. Behind the end of the file it is empty.
func (s *source) load(offset int64) error {
	start := offset - offset%BlockBytes
	if start == s.start {
		return nil
	}
	s.start = -1
	s.block = s.buffer[:max(0, min(BlockBytes, s.sizeBytes-start))]
	if n, err := s.file.ReadAt(s.block, start); n < len(s.block) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read log %s at offset %d: %w", s.name, start+int64(n), err)
	}
	s.start = start
	return nil
}

// parse verifies the chunk at offset, which lies in the loaded block. fault says
// why it is none.
func (s *source) parse(offset int64) (c Chunk, fault string) {
	b := s.block[min(offset-s.start, int64(len(s.block))):]
	if len(b) < chunkHeaderBytes {
		return c, "the file ends"
	}
	n := chunkHeaderBytes + int(binary.LittleEndian.Uint16(b[lengthAt:]))
	t := ChunkType(b[typeAt])
	switch {
	case t == TypeZero && isZero(b[:chunkHeaderBytes]):
		return c, "zeros"
	case n > len(b):
		return c, "a chunk exceeds its block or the file"
	case t == TypeZero || s.binding.checksum(offset, b[lengthAt:n]) != binary.LittleEndian.Uint32(b):
		return c, "a chunk's checksum does not match"
	}
	c = Chunk{Offset: offset, LengthBytes: int64(n), Type: t, Payload: b[chunkHeaderBytes:n:n]}
	c.interpret()
	return c, ""
}

// interpret splits the durable mark off and checks the shape of a chunk that
// verified.
func (c *Chunk) interpret() {
	c.malformed = misshapen(c.Type, int(c.Offset%BlockBytes), int(c.LengthBytes))
	switch {
	case c.Type == TypeEnd:
		c.Durable = c.Offset
	case c.Type.opensRecord():
		lag, n := binary.Uvarint(c.Payload)
		if n <= 0 || lag > uint64(max(0, c.Offset-logStart)) {
			c.malformed = "durable mark missing or before the first record"
			return
		}
		c.Durable, c.Payload = c.Offset-int64(lag), c.Payload[n:]
	}
}

// misshapen says why no Writer puts a chunk of that length at that place in its block.
func misshapen(t ChunkType, inBlock, lengthBytes int) string {
	switch {
	case t == TypeFirst && inBlock+lengthBytes != BlockBytes:
		return "does not reach to the end of its block"
	case t == TypeMiddle && lengthBytes != BlockBytes:
		return "does not fill its block"
	case t == TypeLast && (inBlock != 0 || lengthBytes == chunkHeaderBytes):
		return "empty or not at the start of its block"
	case t == TypeEnd && lengthBytes != chunkHeaderBytes:
		return "has a payload"
	}
	return ""
}

// find returns the first chunk between from and limit that verifies, trying
// every byte as its start. Without a length there is none.
func (s *source) find(from, limit int64) (Chunk, error) {
	for from < limit {
		if err := s.load(from); err != nil {
			return Chunk{}, err
		}
		next := s.start + BlockBytes
		for at := int(from - s.start); at < int(min(next, limit)-s.start)-typeAt; at++ {
			if t := s.block[at+typeAt]; t == 0 || t > byte(TypeEnd) || !s.plausible(at) {
				continue
			}
			if c, fault := s.parse(s.start + int64(at)); fault == "" {
				return c, nil
			}
		}
		from = next
	}
	return Chunk{}, nil
}

// plausible tells cheaply, for an index in the loaded block, that no Writer puts
// a chunk there which looks like that. It spares the byte-by-byte search most
// checksums.
func (s *source) plausible(at int) bool {
	b := s.block
	if at+chunkHeaderBytes > len(b) || at > BlockBytes-minRoomBytes {
		return false
	}
	lengthBytes := chunkHeaderBytes + int(binary.LittleEndian.Uint16(b[at+lengthAt:]))
	t := ChunkType(b[at+typeAt])
	atStart := s.start == 0 && at == 0
	return at+lengthBytes <= len(b) && (t != TypeHeader || atStart) && misshapen(t, at, lengthBytes) == ""
}

// lastNonZero returns the offset behind the last byte that is not zero, or from
// when there is none at or behind it.
func (s *source) lastNonZero(from int64) (int64, error) {
	for end := s.sizeBytes; end > from; end = s.start {
		if err := s.load(end - 1); err != nil {
			return 0, err
		}
		b := s.block[max(0, from-s.start) : end-s.start]
		if !isZero(b) {
			return end - int64(len(b)-len(bytes.TrimRight(b, "\x00"))), nil
		}
	}
	return from, nil
}

// walk returns the chunk at offset, or the stretch up to the next one.
func (s *source) walk(at int64) (Chunk, error) {
	if err := s.load(at); err != nil {
		return Chunk{}, err
	}
	c, fault := s.parse(at)
	switch {
	case fault == "" && c.malformed != "":
		return c, base.Corruptf(s.name, at, "%s chunk: %s", c.Type, c.malformed)
	case fault == "":
		return c, nil
	}
	next, err := s.find(at+1, s.sizeBytes)
	last := next.Offset
	if err == nil && last == 0 { // once: nothing is walked after it but zeros
		last, err = s.lastNonZero(at)
	}
	switch {
	case err != nil:
		return Chunk{}, err
	case last == at:
		return Chunk{Offset: at, LengthBytes: s.sizeBytes - at}, nil
	}
	return Chunk{Offset: at, LengthBytes: last - at}, base.Corruptf(s.name, at, "%s", fault)
}

// isZero reports whether b, at most a block, is all zeros.
func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
