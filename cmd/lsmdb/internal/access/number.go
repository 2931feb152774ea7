package access

import "encoding/binary"

// numberBytes is the length of a number as db.SumInt64 has it, little-endian.
const numberBytes = 8

// AppendNumber appends a number as db.SumInt64 has it.
func AppendNumber(dst []byte, n int64) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(n))
}

// Number reads what AppendNumber wrote.
func Number(value []byte) (n int64, ok bool) {
	if len(value) != numberBytes {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(value)), true
}
