package db

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"lsmdb/internal/base"
)

// Merger says what Merge does to a value. See Options.Merger, and SumInt64, MaxBytes and
// AppendBytes, which are ready made.
type Merger = base.Merger

// SumInt64 adds numbers of eight bytes, little endian, of which the sum wraps around. A
// key without a value counts as 0. Values and operands of another length are errors.
var SumInt64 = &Merger{Name: "lsmdb.SumInt64", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
	if older == nil {
		older = make([]byte, 8)
	}
	if len(older) != 8 || len(newer) != 8 {
		return nil, fmt.Errorf("numbers of %d and %d bytes, where both need 8", len(older), len(newer))
	}
	return binary.LittleEndian.AppendUint64(dst, binary.LittleEndian.Uint64(older)+binary.LittleEndian.Uint64(newer)), nil
}}

// MaxBytes keeps what is largest in the order of bytes.Compare.
var MaxBytes = &Merger{Name: "lsmdb.MaxBytes", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
	if bytes.Compare(older, newer) > 0 {
		newer = older
	}
	return append(dst, newer...), nil
}}

// AppendBytes puts operands behind the value, in the order in which they came.
var AppendBytes = &Merger{Name: "lsmdb.AppendBytes", Merge: func(dst, _, older, newer []byte) ([]byte, error) {
	return append(append(dst, older...), newer...), nil
}}
