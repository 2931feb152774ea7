package manifest

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// TableMeta describes one table file. But for the count of detours it is immutable once
// in a Version; a table that moves to another level keeps its TableMeta.
type TableMeta struct {
	Number uint64
	sstable.Summary

	// Handle opens the table. It is not recorded: whoever publishes the first
	// Version that lists the table sets it before.
	Handle *sstable.Handle

	detours atomic.Int64 // of a table below level 0: see Version.Pass
}

// DetoursPay reports whether Version.Pass has reported true for the table, below level 0.
func (t *TableMeta) DetoursPay() bool { return t.detours.Load() >= t.SizeBytes }

// MaxFileNumber bounds the numbers that a MANIFEST may name: every file's is
// smaller, the next one to give out is at most this. It is out of reach of
// counting, and leaves room to add without overflow.
const MaxFileNumber = 1 << 62

// MetaOf describes the table that has just been written under the given number.
func MetaOf(number uint64, p sstable.Properties) *TableMeta {
	return &TableMeta{Number: number, Summary: p.Summary}
}

// MaxMergerBytes is the longest name of a merge operator.
const MaxMergerBytes = base.MaxKeyBytes

// startsAfter reports whether every key of the table lies after an upper bound.
func (t *TableMeta) startsAfter(upper []byte) bool {
	return upper != nil && bytes.Compare(t.Smallest.UserKey(), upper) > 0
}

// Overlaps reports whether the table's bounds overlap the range from lower to upper,
// both included. A nil bound is open; an empty one is the empty key.
func (t *TableMeta) Overlaps(lower, upper []byte) bool {
	return !(lower != nil && t.EndsBefore(lower)) && !t.startsAfter(upper)
}

// SharesKeys reports whether the bounds of two tables overlap.
func (t *TableMeta) SharesKeys(other *TableMeta) bool {
	return !t.EndsBefore(other.Smallest.UserKey()) && !other.EndsBefore(t.Smallest.UserKey())
}

// Equal reports whether the descriptions of two tables are the same.
func (t *TableMeta) Equal(other *TableMeta) bool {
	return bytes.Equal(t.appendTo(nil), other.appendTo(nil))
}

// extended reports whether the table has something that the first version of the format
// could not describe.
func (t *TableMeta) extended() bool {
	return t.RangeDeletes|t.Merges|t.Expiring|uint64(t.Placeholder) != 0
}

// check says what is impossible about a description.
func (t *TableMeta) check() error {
	if err := checkFileNumber(t.Number); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	if err := t.Summary.Check(); err != nil {
		return fmt.Errorf("table %d: %w", t.Number, err)
	}
	if t.SizeBytes <= 0 {
		return fmt.Errorf("table %d has a size of %d bytes", t.Number, t.SizeBytes)
	}
	return nil
}

func (t *TableMeta) String() string {
	text := fmt.Sprintf("table %d: %d bytes, identity %016x, %s to %s, sequence %d to %d, %d entries, %d deletes, %d shadowed",
		t.Number, t.SizeBytes, t.Identity, t.Smallest, t.Largest, t.SmallestSeq, t.LargestSeq, t.Entries, t.Deletes, t.Shadowed)
	if t.extended() {
		text += fmt.Sprintf(", %d range deletes, %d merges, %d expiring from %d to %d, placeholder %d",
			t.RangeDeletes, t.Merges, t.Expiring, t.EarliestExpiry, t.LatestExpiry, t.Placeholder)
	}
	return text
}

// checkFileNumber says what is wrong with the number of a file.
func checkFileNumber(number uint64) error {
	if number == 0 || number >= MaxFileNumber {
		return fmt.Errorf("file number %d is out of range", number)
	}
	return nil
}
