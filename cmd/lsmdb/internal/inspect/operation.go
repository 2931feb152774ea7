package inspect

import (
	"time"

	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
)

// operation describes what was done to a key: an operation of a log, or an entry of a
// table. Mark stands behind the key.
func (n *inspection) operation(kind base.Kind, seq base.Seq, key, value []byte, mark string) (object map[string]any, line string) {
	object = map[string]any{"type": kind.String(), "sequence": seq}
	line = n.key(key) + mark
	switch kind {
	case base.KindRangeDelete:
		addBounds(object, key, value)
		return object, n.bounds(key, value) + mark
	case base.KindDelete:
		text.JSONFields(object, "key", key)
		return object, line
	}
	ends := ""
	if kind == base.KindSetExpiring {
		until := base.Until(value)
		object["until"] = moment(until)
		ends = ", until " + moment(until)
		value = value[base.ExpiryBytes:]
	}
	text.JSONFields(object, "key", key)
	object["value_bytes"] = len(value)
	return object, line + " = " + n.value(value) + n.console.OutInk().Faint(ends)
}

// spans lists the range deletes of a table.
func (n *inspection) spans(l ranges.List) {
	for _, s := range l {
		object := map[string]any{"type": base.KindRangeDelete.String(), "sequences": s.Seqs}
		addBounds(object, s.Start, s.End)
		numbers := ""
		for _, seq := range s.Seqs {
			numbers += " #" + units.Count(uint64(seq))
		}
		n.item(object, "            %s %s%s", base.KindRangeDelete, n.bounds(s.Start, s.End), n.console.OutInk().Faint(numbers))
	}
}

// bounds shows the range of a range delete, whose end is excluded; an empty one is open.
func (n *inspection) bounds(start, end []byte) string {
	if len(end) == 0 {
		return n.key(start) + " .. (no end)"
	}
	return n.key(start) + " .. " + n.key(end) + " (excluded)"
}

func addBounds(object map[string]any, start, end []byte) {
	text.JSONFields(object, "start", start)
	if len(end) > 0 {
		text.JSONFields(object, "end", end)
	}
}

// moment writes a time that files hold.
func moment(nanoseconds int64) string { return text.FormatUntil(time.Unix(0, nanoseconds)) }
