package sstable

import (
	"bytes"
	"fmt"

	"lsmdb/internal/base"
)

// Summary says of a table what whoever lists it must know. The keys share memory with
// the table and are not to be changed.
type Summary struct {
	SizeBytes int64  // of the file
	Identity  uint64 // what its blocks are bound to

	Entries  uint64
	Deletes  uint64 // entries that are tombstones
	Shadowed uint64 // entries whose next-newer version of the same user key is in this table too

	// The bounds enclose entries and range deletes; nil where there are neither. Where
	// the end of a range delete lies behind all keys, which is the case after none of
	// its own, that is the largest: see LargestExcluded.
	Smallest, Largest       base.InternalKey
	SmallestSeq, LargestSeq base.Seq // of entries and range deletes

	RangeDeletes uint64 // counted once in each of the spans into which they cut each other
	Merges       uint64 // entries that are operands
	Expiring     uint64 // entries that are values which end

	EarliestExpiry, LatestExpiry int64 // when these end, in nanoseconds since 1970; 0 without any
	HalfExpiry                   int64 // when half of all entries have ended; 0: that many never do

	// Placeholder, if not 0, stands in the file in place of the number that all entries
	// have. Only the MANIFEST knows that.
	Placeholder base.Seq
}

// placeholder is the only Placeholder there is: the smallest number.
const placeholder base.Seq = 1

// LargestExcluded reports whether the user key of Largest is itself no part of the
// table, but the end of a range delete. Largest has then the trailer of MaxSeq and
// KindRangeDelete, so that it sorts before each version of that user key. This is the
// one form of a bound that is excluded.
func (s *Summary) LargestExcluded() bool {
	return len(s.Largest) >= base.TrailerBytes && s.Largest.Trailer() == excluded
}

const excluded = base.Trailer(base.MaxSeq)<<8 | base.Trailer(base.KindRangeDelete)

// EndsBefore reports whether everything in the table lies before userKey.
func (s *Summary) EndsBefore(userKey []byte) bool {
	c := bytes.Compare(s.Largest.UserKey(), userKey)
	return c < 0 || c == 0 && s.LargestExcluded()
}

// Renumber puts seq in place of the placeholder: everything in the table has that number.
func (s *Summary) Renumber(seq base.Seq) {
	s.SmallestSeq, s.LargestSeq = seq, seq
	for _, key := range []*base.InternalKey{&s.Smallest, &s.Largest} {
		if *key != nil && key.Trailer() != excluded {
			*key = base.MakeInternalKey(key.UserKey(), seq, key.Kind())
		}
	}
}

// Check says what cannot be true of any table that holds something.
func (s *Summary) Check() error {
	largest := s.Largest
	if s.LargestExcluded() {
		largest = largest[1:] // never empty, and may be the successor of the longest key
	}
	for _, key := range []base.InternalKey{s.Smallest, largest} {
		if err := base.CheckInternalKey(key); err != nil {
			return fmt.Errorf("bounds: %w", err)
		}
		if seq := key.Seq(); key.Trailer() != excluded && (seq < s.SmallestSeq || seq > s.LargestSeq) {
			return fmt.Errorf("bound %s lies outside the sequence numbers from %d to %d", key, s.SmallestSeq, s.LargestSeq)
		}
	}
	rangeFirst := s.Smallest.Kind() == base.KindRangeDelete
	switch {
	case base.Compare(s.Smallest, s.Largest) > 0:
		return fmt.Errorf("smallest key %s is after the largest, %s", s.Smallest, s.Largest)
	case (rangeFirst || s.LargestExcluded()) && s.RangeDeletes == 0, s.Entries == 0 && !(rangeFirst && s.LargestExcluded()),
		s.Largest.Kind() == base.KindRangeDelete && !s.LargestExcluded():
		return fmt.Errorf("bounds %s and %s with %d entries and %d range deletes", s.Smallest, s.Largest, s.Entries, s.RangeDeletes)
	case s.SmallestSeq == 0 || s.SmallestSeq > s.LargestSeq || s.LargestSeq > base.MaxSeq:
		return fmt.Errorf("sequence numbers from %d to %d", s.SmallestSeq, s.LargestSeq)
	case s.Placeholder > placeholder || s.Placeholder != 0 && s.SmallestSeq != s.LargestSeq:
		return fmt.Errorf("sequence numbers from %d to %d in place of %d", s.SmallestSeq, s.LargestSeq, s.Placeholder)
	case s.Deletes > s.Entries || s.Merges > s.Entries-s.Deletes || s.Expiring > s.Entries-s.Deletes-s.Merges || s.Shadowed > 0 && s.Shadowed >= s.Entries:
		return fmt.Errorf("%d entries, %d deletes, %d merges, %d expiring and %d shadowed", s.Entries, s.Deletes, s.Merges, s.Expiring, s.Shadowed)
	case s.HalfExpiry != 0 && (s.HalfExpiry < s.EarliestExpiry || s.HalfExpiry > s.LatestExpiry || 2*s.Expiring < s.Entries):
		return fmt.Errorf("half of %d entries ends at %d, %d of them from %d to %d", s.Entries, s.HalfExpiry, s.Expiring, s.EarliestExpiry, s.LatestExpiry)
	case s.EarliestExpiry > s.LatestExpiry || s.Expiring < 2 && s.EarliestExpiry != s.LatestExpiry || s.Expiring == 0 && s.LatestExpiry != 0:
		return fmt.Errorf("%d expiring, from %d to %d", s.Expiring, s.EarliestExpiry, s.LatestExpiry)
	}
	return nil
}
