package ranges

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"lsmdb/internal/base"
)

// AppendTo appends the encoding of a list in which no end is open: for each span
//
//	start length uvarint | start | end length uvarint | end | count uvarint | numbers, uvarint each
func (l *List) AppendTo(dst []byte) []byte {
	for s := range l.All() {
		if s.End == nil {
			panic("invariant: a range delete with an open end is to be written to a table")
		}
		for _, key := range [][]byte{s.Start, s.End} {
			dst = binary.AppendUvarint(dst, uint64(len(key)))
			dst = append(dst, key...)
		}
		dst = binary.AppendUvarint(dst, uint64(len(s.Seqs)))
		for _, seq := range s.Seqs {
			dst = binary.AppendUvarint(dst, uint64(seq))
		}
	}
	return dst
}

// Pieces returns where to cut a list in which no end is open so that no piece is longer than
// limitBytes when it is encoded, unless it is a single span: the starts of the second
// piece and those behind it.
func (l *List) Pieces(limitBytes int64) (starts [][]byte) {
	const most = 8 // bytes of a number or a length
	var pieceBytes int64
	for s := range l.All() {
		spanBytes := int64(len(s.Start) + len(s.End) + most*(3+len(s.Seqs)))
		if pieceBytes += spanBytes; pieceBytes > limitBytes && pieceBytes > spanBytes {
			starts, pieceBytes = append(starts, s.Start), spanBytes
		}
	}
	return starts
}

// MaxBoundBytes is the length of the longest bound: the successor of the longest key.
const MaxBoundBytes = base.MaxKeyBytes + 1

var errMalformed = errors.New("a range delete is malformed")

// Decode decodes all of p, whose memory the list shares, and checks everything that a
// list promises.
func Decode(p []byte) (*List, error) {
	l := &List{}
	d := decoder{rest: p}
	for len(d.rest) > 0 {
		s := Span{Start: d.key(), End: d.key()}
		count := d.number()
		if count == 0 || count > uint64(len(d.rest)) {
			return nil, errMalformed
		}
		for range count {
			s.Seqs = append(s.Seqs, base.Seq(d.number()))
		}
		if d.failed {
			return nil, errMalformed
		}
		if err := l.check(s); err != nil {
			return nil, err
		}
		l.spans = append(l.spans, s)
	}
	return l, nil
}

// check says what is wrong with the span that would be the next one.
func (l *List) check(s Span) error {
	if bytes.Compare(s.Start, s.End) >= 0 {
		return fmt.Errorf("a range delete starts at %q and ends at %q", s.Start, s.End)
	}
	if n := len(l.spans); n > 0 && bytes.Compare(l.spans[n-1].End, s.Start) > 0 {
		return fmt.Errorf("a range delete starts at %q, before the end of another one, %q", s.Start, l.spans[n-1].End)
	}
	newer := base.MaxSeq + 1
	for _, seq := range s.Seqs {
		if seq == 0 || seq >= newer {
			return fmt.Errorf("a range delete has number %d, and a newer one %d", seq, newer)
		}
		newer = seq
	}
	return nil
}

// decoder takes an encoded list apart. After a failure what it returns has no meaning.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) number() uint64 {
	n, width := binary.Uvarint(d.rest)
	if width <= 0 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[width:]
	return n
}

func (d *decoder) key() []byte {
	n := d.number()
	if n > uint64(len(d.rest)) || n > MaxBoundBytes {
		d.failed, d.rest = true, nil
		return nil
	}
	key := d.rest[:n:n]
	d.rest = d.rest[n:]
	return key
}
