package display

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// FactTable lists single facts, those that are not zero in a database at rest.
func FactTable(i Ink, m *db.Metrics) string {
	t := i.NewTable("Facts")
	add := func(name, format string, args ...any) { t.AppendRow(table.Row{name, fmt.Sprintf(format, args...)}) }
	tables, sizeBytes := m.Tables()
	add("tables", "%s, %s", units.Count(tables), units.Size(sizeBytes))
	if text := vocabulary(m); text != "" {
		add("in the tables", "%s", text)
	}
	add("memtable", "%s, %s; %d sealed, %s", units.Plural(m.Memtable.ActiveCount, "entry", "entries"), units.Size(m.Memtable.ActiveBytes),
		m.Memtable.Sealed, units.Size(m.Memtable.SealedBytes))
	add("sequence number", "%s", units.Count(m.Sequence))
	add("sorted runs", "%d (that a read looks into at most)", m.ReadAmplification())
	if m.WAL.Segment > 0 { // a read-only opening has none
		add("log", "segment %d: %s written, %s durable, %s reserved", m.WAL.Segment, units.Size(m.WAL.OffsetBytes), units.Size(m.WAL.DurableBytes), units.Size(m.WAL.ReservedBytes))
		add("manifest", "%s", units.Size(m.Files.ManifestBytes))
	}
	add("opening", "%s; took %s", RecoverySentence(&m.Recovery), units.Span(m.Recovery.Time))
	if m.Compact.SetAside > 0 {
		add("set aside", "%s", i.Warm(units.Plural(m.Compact.SetAside, "damaged table that compaction leaves alone", "damaged tables that compaction leaves alone")))
	}
	if m.Checkpoint.Open > 0 {
		add("checkpoints", "%d open; only they keep %s", m.Checkpoint.Open, units.Size(m.Checkpoint.TableBytes))
	}
	if c := m.Changes; c.Loops > 0 || c.Segments > 0 {
		add("changes", "%s, %s kept; behind sequence number %s", units.Plural(c.Segments, "old log", "old logs"), units.Size(c.Bytes), units.Count(c.Oldest))
	}
	if m.Failure != "" {
		add("failure", "%s", i.Bad(m.Failure))
	}
	return Render(t)
}

// vocabulary counts what the tables hold beside entries of the usual kinds; "" if nothing.
func vocabulary(m *db.Metrics) string {
	var sum db.LevelMetrics
	for _, l := range m.Levels {
		sum.RangeDeletes += l.RangeDeletes
		sum.Merges += l.Merges
		sum.Expiring += l.Expiring
	}
	return Vocabulary(sum.RangeDeletes, sum.Merges, sum.Expiring)
}

// Vocabulary names those of the counts that are not zero.
func Vocabulary(rangeDeletes, merges, expiring uint64) string {
	var parts []string
	if rangeDeletes > 0 {
		parts = append(parts, units.Plural(rangeDeletes, "range delete", "range deletes"))
	}
	if merges > 0 {
		parts = append(parts, units.Plural(merges, "operand to merge", "operands to merge"))
	}
	if expiring > 0 {
		parts = append(parts, units.Plural(expiring, "value that ends", "values that end"))
	}
	return strings.Join(parts, ", ")
}

// TrafficTable lists what happened since the database was opened.
func TrafficTable(i Ink, m *db.Metrics) string {
	t := i.NewTable("Since it was opened")
	add := func(name, format string, args ...any) { t.AppendRow(table.Row{name, fmt.Sprintf(format, args...)}) }
	add("writes", "%s in %s, %s; merged into %s", units.Plural(m.Writes.Operations, "operation", "operations"),
		units.Plural(m.Writes.Commits, "commit", "commits"), units.Size(m.Writes.UserBytes), units.Plural(m.Writes.Groups, "log record", "log records"))
	add("log", "%s, %s (%s), %s", units.Size(m.WAL.BytesWritten), units.Plural(m.WAL.Syncs, "sync", "syncs"), units.Span(m.WAL.SyncTime), units.Plural(m.WAL.Rotations, "rotation", "rotations"))
	add("flushes", "%s, %s written, %s", units.Count(m.Flush.Jobs), units.Size(m.Flush.BytesWritten), units.Span(m.Flush.Time))
	add("compactions", "%s and %s, %s read, %s written, %s", units.Count(m.Compact.Jobs), units.Plural(m.Compact.Moves, "move", "moves"),
		units.Size(m.Compact.BytesRead), units.Size(m.Compact.BytesWritten), units.Span(m.Compact.Time))
	add("write amplification", "%.2f bytes written for each byte put", m.WriteAmplification())
	add("writers held back", "%s, %s in all%s", units.Plural(m.Stalls.Count, "time", "times"), units.Span(m.Stalls.Time), behind(m.Stalls.Behind))
	add("writers slowed", "%s, %s in all; %s by rotations", units.Plural(m.Stalls.Slowed, "time", "times"), units.Span(m.Stalls.SlowedTime), units.Span(m.Stalls.RotationTime))
	add("block cache", "%s of %s in %s, %s hits, %s misses (%s)", units.Size(m.Cache.Used), units.Size(m.Cache.Capacity), units.Plural(m.Cache.Blocks, "block", "blocks"),
		units.Count(m.Cache.Hits), units.Count(m.Cache.Misses), hitShare(m.Cache.Hits, m.Cache.Misses))
	add("filters", "%s checks, %s tables not read, %s read in vain", units.Count(m.Filter.Checks), units.Count(m.Filter.Negatives), units.Count(m.Filter.FalsePositives))
	if m.Snapshot.Open > 0 {
		add("snapshots", "%d open, the oldest at %s", m.Snapshot.Open, units.Count(m.Snapshot.Oldest))
	}
	if t := m.Transaction; t.Begun > 0 {
		add("transactions", "%s begun, %s committed, %s in conflict, %d open", units.Count(t.Begun), units.Count(t.Committed), units.Count(t.Conflicted), t.Open)
	}
	return Render(t)
}

func behind(stage string) string {
	if stage == "" {
		return ""
	}
	return "; waiting now for the " + strings.ToLower(stage)
}

func hitShare(hits, misses uint64) string {
	if hits+misses == 0 {
		return "unused"
	}
	return fmt.Sprintf("%.1f %% hits", 100*float64(hits)/float64(hits+misses))
}

// RecoverySentence says what opening found.
func RecoverySentence(r *db.RecoveryMetrics) string {
	switch {
	case r.Created:
		return "a new database"
	case r.CleanClose:
		return "was closed properly"
	}
	s := fmt.Sprintf("was not closed: replayed %s, %s, %s", units.Plural(r.Segments, "log segment", "log segments"),
		units.Plural(r.Operations, "operation", "operations"), units.Size(r.Bytes))
	if r.TornBytes > 0 {
		s += fmt.Sprintf("; cut off %s of an unfinished write", units.Size(r.TornBytes))
	}
	if r.TablesWritten > 0 {
		s += "; wrote " + units.Plural(r.TablesWritten, "table", "tables")
	}
	if r.FilesRemoved > 0 {
		s += "; removed " + units.Plural(r.FilesRemoved, "unlisted file", "unlisted files")
	}
	return s
}
