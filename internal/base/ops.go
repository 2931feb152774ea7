package base

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Operations are encoded one after the other, each as
//
//	kind u8 | key length uvarint | key | value length uvarint | value
//
// where a delete has no value part. The value of a range delete, whose key is where it
// starts, is where it ends; empty: nowhere. That of an expiring value begins with its
// time. A batch is such a sequence and the number of its operations; a group commit is
// the concatenation of its batches.

// Known reports whether this version of lsmdb can store and read the kind.
func (k Kind) Known() bool { return k >= KindSet && k <= KindSetExpiring }

// Removes reports whether the operation gives no key a value.
func (k Kind) Removes() bool { return k == KindDelete || k == KindRangeDelete }

// AppendOp appends an operation to dst. The value of a delete does not count; that of a
// range delete of the keys in [key, value) may be empty, which is open. A range without keys
// deletes nothing, and yet takes a sequence number. Until is when the value of a
// KindSetExpiring ends, in nanoseconds since 1970, and does not count for others.
func AppendOp(dst []byte, kind Kind, key, value []byte, until int64) []byte {
	dst = AppendField(append(dst, byte(kind)), key)
	switch kind {
	case KindDelete:
		return dst
	case KindSetExpiring:
		dst = binary.AppendUvarint(dst, uint64(len(value)+ExpiryBytes))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(until))
		return append(dst, value...)
	}
	return AppendField(dst, value)
}

// ExpiryBytes is the length of the time that a value of KindSetExpiring begins with.
const ExpiryBytes = 8

// Until returns the time at which a value of KindSetExpiring ends.
func Until(value []byte) int64 { return int64(binary.LittleEndian.Uint64(value)) }

// CheckSizes refuses a key or a value that is too long.
func CheckSizes(keyBytes, valueBytes int) error {
	switch {
	case keyBytes > MaxKeyBytes:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrKeyTooLarge, keyBytes, MaxKeyBytes)
	case valueBytes > MaxValueBytes:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrValueTooLarge, valueBytes, MaxValueBytes)
	}
	return nil
}

// Op is one decoded operation. Key and Value share the memory of their source.
type Op struct {
	Kind  Kind
	Key   []byte
	Value []byte // nil for a delete; of a range delete its end
}

// DecodeOp splits the first operation off p. It checks every length against what
// remains; an unknown kind wraps ErrIncompatible.
func DecodeOp(p []byte) (op Op, rest []byte, err error) {
	key, keyEnd, value, end := fieldsOf(p, 0)
	if end < 0 {
		return Op{}, nil, malformedOp(p)
	}
	op = Op{Kind: Kind(p[0]), Key: p[key:keyEnd:keyEnd]}
	if op.Kind != KindDelete {
		op.Value = p[value:end:end]
	}
	return op, p[end:], nil
}

// CountOps decodes all of p, and returns how many operations it holds and how long their
// keys and values are together.
func CountOps(p []byte) (count uint32, payload int64, err error) {
	for at := 0; at < len(p); count++ {
		key, keyEnd, value, end := fieldsOf(p, at)
		if end < 0 {
			return 0, 0, malformedOp(p[at:])
		}
		payload += int64(keyEnd-key) + int64(end-value)
		at = end
	}
	return count, payload, nil
}

// fieldsOf returns where the fields of the operation at p[at:] are; without a value, that
// is an empty one. end is -1 where the operation is malformed.
func fieldsOf(p []byte, at int) (key, keyEnd, value, end int) {
	if at >= len(p) || !Kind(p[at]).Known() {
		return 0, 0, 0, -1
	}
	n, key := lengthAt(p, at+1)
	if key <= at+1 || n > MaxKeyBytes || n > uint64(len(p)-key) {
		return 0, 0, 0, -1
	}
	keyEnd = key + int(n)
	kind := Kind(p[at])
	if kind == KindDelete {
		return key, keyEnd, keyEnd, keyEnd
	}
	n, value = lengthAt(p, keyEnd)
	if least, most := kind.valueLimits(); value <= keyEnd || n > uint64(len(p)-value) || n < least || n > most {
		return 0, 0, 0, -1
	}
	return key, keyEnd, value, value + int(n)
}

// valueLimits returns how long the value part of an operation of this kind can be.
func (k Kind) valueLimits() (least, most uint64) {
	switch k {
	case KindRangeDelete:
		return 0, MaxKeyBytes
	case KindSetExpiring:
		return ExpiryBytes, ExpiryBytes + MaxValueBytes
	}
	return 0, MaxValueBytes
}

// lengthAt reads the length of a field, mostly one byte. field is where the field itself
// begins, not behind at if the length is malformed.
func lengthAt(p []byte, at int) (n uint64, field int) {
	if at < len(p) && p[at] < 0x80 {
		return uint64(p[at]), at + 1
	}
	n, width := binary.Uvarint(p[at:])
	return n, at + width
}

// malformedOp says what is wrong with the operation that p begins with.
func malformedOp(p []byte) error {
	if len(p) == 0 {
		return errors.New("operation missing")
	}
	if kind := Kind(p[0]); !kind.Known() {
		return fmt.Errorf("%w: unknown operation kind (%s)", ErrIncompatible, kind)
	}
	f := Fields{Rest: p[1:]} // which refuses whatever fieldsOf does
	f.Take("key", f.Number("length of the key", 0, MaxKeyBytes))
	least, most := Kind(p[0]).valueLimits()
	f.Take("value", f.Number(fmt.Sprintf("length of the value of a %s", Kind(p[0])), least, most))
	return f.Err
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

// Fields takes encoded fields apart that are not read often: see Op for operations. After
// the first error everything that it returns is zero.
type Fields struct {
	Rest []byte // what is left
	Err  error  // the first; the caller adds file and offset
}

// Uvarint reads a number in its shortest form, the only one allowed.
func (f *Fields) Uvarint(what string) uint64 {
	if f.Err != nil {
		return 0
	}
	value, width := binary.Uvarint(f.Rest)
	if width <= 0 || width > 1 && f.Rest[width-1] == 0 {
		f.Err = fmt.Errorf("%s is malformed", what)
		return 0
	}
	f.Rest = f.Rest[width:]
	return value
}

// Number reads a number from least to limit.
func (f *Fields) Number(what string, least, limit uint64) uint64 {
	value := f.Uvarint(what)
	if f.Err == nil && (value < least || value > limit) {
		f.Err = fmt.Errorf("%s %d is out of range, which is from %d to %d", what, value, least, limit)
		return 0
	}
	return value
}

// Take returns the next bytes, shared with the source.
func (f *Fields) Take(what string, length uint64) []byte {
	if f.Err == nil && length > uint64(len(f.Rest)) {
		f.Err = fmt.Errorf("%s of %d bytes exceeds what remains (%d)", what, length, len(f.Rest))
	}
	if f.Err != nil {
		return nil
	}
	taken := f.Rest[:length:length]
	f.Rest = f.Rest[length:]
	return taken
}

// Field returns the bytes that AppendField has appended, shared with the source.
func (f *Fields) Field(what string) []byte { return f.Take(what, f.Uvarint("length of the "+what)) }

// Uint64 reads eight bytes, little-endian.
func (f *Fields) Uint64(what string) (n uint64) {
	_, _ = binary.Decode(f.Take(what, 8), binary.LittleEndian, &n) // 0 after an error
	return n
}

// AppendField appends the length of a field, a uvarint, and the field.
func AppendField(dst, field []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}
