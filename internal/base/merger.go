package base

import (
	"errors"
	"fmt"
	"slices"
)

// Merger says how operands become part of a value. It is associative: to merge two
// operands first, and what they give onto a value, is the same as to merge one after the
// other.
type Merger struct {
	// Name is recorded in the database, which is never opened with another one.
	Name string

	// Merge appends to dst what newer makes of older, and returns the result. Older is nil
	// where key has no value. Nothing but dst is to be changed or kept. It may be called by
	// several goroutines at the same time, any number of times for the same operands, and
	// gives the same each time. After an error the key cannot be read; its operands stay.
	Merge func(dst, key, older, newer []byte) ([]byte, error)
}

// ErrNoMerger says that there are merge operands, and nothing that can merge them.
var ErrNoMerger = errors.New("lsmdb: merge operands need Options.Merger")

// Fold merges operands, in memory that it uses again. The zero value is ready.
type Fold struct{ buffers [2][]byte }

// Onto merges operands, the newest of which comes first, onto older, which is nil where
// there is no value. Older may be an operand itself: then the result is one, too. It is
// valid until the next call, to which it cannot be given.
func (f *Fold) Onto(m *Merger, key, older []byte, operands [][]byte) ([]byte, error) {
	if m == nil {
		return nil, fmt.Errorf("%w: key %q", ErrNoMerger, key)
	}
	for i, newer := range slices.Backward(operands) {
		dst := f.buffers[i&1][:0]
		if dst == nil {
			dst = make([]byte, 0, len(older)+len(newer)+64) // an empty value is not nil
		}
		merged, err := m.Merge(dst, key, older[:len(older):len(older)], newer[:len(newer):len(newer)])
		if err == nil && len(merged) > MaxValueBytes {
			err = fmt.Errorf("%w: %d bytes, at most %d", ErrValueTooLarge, len(merged), MaxValueBytes)
		}
		if err != nil {
			return nil, fmt.Errorf("lsmdb: merging the operands of key %q with %q: %w", key, m.Name, err)
		}
		if cap(merged) == 0 || &merged[:1][0] != &dst[:1][0] {
			merged = append(dst, merged...) // it may be somebody else's memory
		}
		f.buffers[i&1], older = merged, merged
	}
	return older, nil
}
