package base

import (
	"encoding/binary"
	"fmt"
)

// Operations are encoded one after the other, each as
//
//	kind u8 | key length uvarint | key | value length uvarint | value
//
// where a delete has no value part. A batch is such a sequence and the number of
// its operations; a group commit is the concatenation of its batches.

// AppendSet appends a set operation to dst.
func AppendSet(dst, key, value []byte) []byte {
	dst = append(dst, byte(KindSet))
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// AppendDelete appends a delete operation to dst.
func AppendDelete(dst, key []byte) []byte {
	dst = append(dst, byte(KindDelete))
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	return append(dst, key...)
}

// Op is one decoded operation. Key and Value share the memory of their source.
type Op struct {
	Kind  Kind
	Key   []byte
	Value []byte // nil for a delete
}

// DecodeOp splits the first operation off p. It checks every length against what
// remains; an unknown kind wraps ErrIncompatible.
func DecodeOp(p []byte) (op Op, rest []byte, err error) {
	if len(p) == 0 {
		return Op{}, nil, fmt.Errorf("operation missing")
	}
	op.Kind = Kind(p[0])
	if !op.Kind.Known() {
		return Op{}, nil, fmt.Errorf("%w: unknown operation kind (%s)", ErrIncompatible, op.Kind)
	}
	if op.Key, p, err = splitBytes(p[1:], MaxKeyBytes, "key"); err != nil {
		return Op{}, nil, err
	}
	if op.Kind == KindSet {
		if op.Value, p, err = splitBytes(p, MaxValueBytes, "value"); err != nil {
			return Op{}, nil, err
		}
	}
	return op, p, nil
}

func splitBytes(p []byte, limit uint64, what string) (field, rest []byte, err error) {
	n, w := binary.Uvarint(p)
	if w <= 0 {
		return nil, nil, fmt.Errorf("%s length is malformed", what)
	}
	if n > limit || n > uint64(len(p)-w) {
		return nil, nil, fmt.Errorf("%s of %d bytes exceeds what remains (%d) or the limit (%d)", what, n, len(p)-w, limit)
	}
	end := w + int(n)
	return p[w:end:end], p[end:], nil
}

// GroupHeaderBytes is the encoded length of a GroupHeader.
const GroupHeaderBytes = 12

// GroupHeader starts the WAL record of a group commit; the operations follow.
// Operation i of the group has sequence number First + i.
type GroupHeader struct {
	First Seq
	Count uint32
}

// AppendTo appends the encoded header: first u64, count u32, little-endian.
func (h GroupHeader) AppendTo(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.First))
	return binary.LittleEndian.AppendUint32(dst, h.Count)
}

// DecodeGroup splits a WAL record into its header and its operations.
func DecodeGroup(p []byte) (h GroupHeader, ops []byte, err error) {
	if len(p) < GroupHeaderBytes {
		return h, nil, fmt.Errorf("commit record of %d bytes is shorter than its header", len(p))
	}
	h.First = Seq(binary.LittleEndian.Uint64(p))
	h.Count = binary.LittleEndian.Uint32(p[8:])
	if h.First == 0 || h.First > MaxSeq || uint64(h.Count) > uint64(MaxSeq-h.First) {
		return h, nil, fmt.Errorf("commit record has sequence number %d and %d operations", h.First, h.Count)
	}
	return h, p[GroupHeaderBytes:], nil
}
