package inspect

import (
	"fmt"

	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/sstable"
)

// summary says more of a table than how much it holds, in pairs of a name and a text: the
// table itself and the MANIFEST tell the same.
func (n *inspection) summary(s *sstable.Summary) (lines [][2]string) {
	add := func(name, format string, args ...any) {
		lines = append(lines, [2]string{name, fmt.Sprintf(format, args...)})
	}
	excluded := ""
	if s.LargestExcluded() {
		excluded = " (excluded)"
	}
	if s.Smallest == nil { // nothing in it
		return nil
	}
	add("keys", "%s .. %s%s", n.key(s.Smallest.UserKey()), n.key(s.Largest.UserKey()), excluded)
	loaded := ""
	if s.Placeholder != 0 {
		loaded = fmt.Sprintf("; loaded: %d stands in place of the number, which only the MANIFEST knows", s.Placeholder)
	}
	add("sequence", "%d to %d%s", s.SmallestSeq, s.LargestSeq, loaded)
	if s.RangeDeletes > 0 {
		add("range deletes", "%s", units.Count(s.RangeDeletes))
	}
	if s.Merges > 0 {
		add("operands", "%s", units.Count(s.Merges))
	}
	if s.Expiring > 0 {
		half := ""
		if s.HalfExpiry != 0 {
			half = ", half of all by " + moment(s.HalfExpiry)
		}
		add("expiring", "%s, from %s to %s%s", units.Count(s.Expiring), moment(s.EarliestExpiry), moment(s.LatestExpiry), half)
	}
	return lines
}

// addSummary is the same for machines; what is not there is left out.
func addSummary(object map[string]any, s *sstable.Summary) {
	object["smallest_sequence"], object["largest_sequence"] = s.SmallestSeq, s.LargestSeq
	if s.Smallest == nil {
		return
	}
	text.JSONFields(object, "smallest", s.Smallest.UserKey())
	text.JSONFields(object, "largest", s.Largest.UserKey())
	if s.LargestExcluded() {
		object["largest_excluded"] = true
	}
	addCount(object, "range_deletes", s.RangeDeletes)
	addCount(object, "merges", s.Merges)
	addCount(object, "expiring", s.Expiring)
	if s.Expiring > 0 {
		object["earliest_expiry"], object["latest_expiry"] = moment(s.EarliestExpiry), moment(s.LatestExpiry)
	}
	if s.HalfExpiry != 0 {
		object["half_expiry"] = moment(s.HalfExpiry)
	}
	if s.Placeholder != 0 {
		object["loaded"] = true
	}
}

func addCount(object map[string]any, name string, count uint64) {
	if count > 0 {
		object[name] = count
	}
}
