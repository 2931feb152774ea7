package base

import (
	"encoding/binary"
	"fmt"
)

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
