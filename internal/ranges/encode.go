package ranges

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"lsmdb/internal/base"
)

// AppendTo appends the encoding of a list in which no end is open: for each span
//
//	start length uvarint | start | end length uvarint | end | count uvarint | numbers, uvarint each
func (l List) AppendTo(dst []byte) []byte {
	for _, s := range l {
		if s.End == nil {
			panic("invariant: a range delete with an open end is to be written to a table")
		}
		dst = base.AppendField(base.AppendField(dst, s.Start), s.End)
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
func (l List) Pieces(limitBytes int64) (starts [][]byte) {
	const most = 8 // bytes of a number or a length
	var pieceBytes int64
	for _, s := range l {
		spanBytes := int64(len(s.Start) + len(s.End) + most*(3+len(s.Seqs)))
		if pieceBytes += spanBytes; pieceBytes > limitBytes && pieceBytes > spanBytes {
			starts, pieceBytes = append(starts, s.Start), spanBytes
		}
	}
	return starts
}

// MaxBoundBytes is the length of the longest bound: the successor of the longest key.
const MaxBoundBytes = base.MaxKeyBytes + 1

// Decode decodes all of p, whose memory the list shares, and checks everything that a
// list promises.
func Decode(p []byte) (l List, err error) {
	for f := (base.Fields{Rest: p}); len(f.Rest) > 0; {
		s := Span{Start: f.Field("start of a range delete"), End: f.Field("end of a range delete")}
		for range f.Number("count of range deletes", 1, uint64(len(f.Rest))) {
			s.Seqs = append(s.Seqs, base.Seq(f.Uvarint("number of a range delete")))
		}
		if f.Err == nil {
			f.Err = l.check(s)
		}
		if f.Err != nil {
			return nil, f.Err
		}
		l = append(l, s)
	}
	return l, nil
}

// check says what is wrong with the span that would be the next one.
func (l List) check(s Span) error {
	if longest := max(len(s.Start), len(s.End)); longest > MaxBoundBytes {
		return fmt.Errorf("a range delete has a bound of %d bytes", longest)
	}
	if bytes.Compare(s.Start, s.End) >= 0 {
		return fmt.Errorf("a range delete starts at %q and ends at %q", s.Start, s.End)
	}
	if n := len(l); n > 0 && bytes.Compare(l[n-1].End, s.Start) > 0 {
		return fmt.Errorf("a range delete starts at %q, before the end of another one, %q", s.Start, l[n-1].End)
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
