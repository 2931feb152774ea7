package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"lsmdb/db"
)

// stats prints what a database knows of itself.
type stats struct{ console *console }

func newStats(c *console) *cobra.Command {
	s := &stats{console: c}
	return &cobra.Command{
		Use:   "stats DIR",
		Short: "Show the tree, the log and what opening found",
		Long: `Show the tree by level, the write-ahead log and what opening the database found.
Nothing is written to DIR. With --json: all metrics as one object, durations in
nanoseconds, sizes in bytes; counters start at zero with each opening.

` + exitHelp(exitOK, exitFailure, exitUsage, exitNoDatabase, exitInUse, exitNewer),
		Example: `  lsmdb stats mydata
  lsmdb stats mydata --json`,
		Args: arguments(1, 1),
		RunE: c.interruptible(s.run),
	}
}

func (s *stats) run(_ context.Context, args []string) (err error) {
	database, err := s.console.open(args[0], reading, nil)
	if err != nil {
		return err
	}
	defer closing(database, &err)
	m := database.Metrics()
	if s.console.json {
		return s.console.printJSON(m)
	}
	i := s.console.outInk()
	s.console.printf("%s\n\n%s\n", treeTable(i, &m), factTable(i, &m))
	return nil
}

// factTable lists single facts, those that are not zero in a database at rest.
func factTable(i ink, m *db.Metrics) string {
	t := i.newTable("Facts")
	add := func(name, format string, args ...any) { t.AppendRow(table.Row{name, fmt.Sprintf(format, args...)}) }
	tables, sizeBytes := m.Tables()
	add("tables", "%s, %s", count(tables), size(sizeBytes))
	add("memtable", "%s, %s; %d sealed, %s", plural(m.Memtable.ActiveCount, "entry", "entries"), size(m.Memtable.ActiveBytes),
		m.Memtable.Sealed, size(m.Memtable.SealedBytes))
	add("sequence number", "%s", count(m.Sequence))
	add("sorted runs", "%d (that a read looks into at most)", m.ReadAmplification())
	if m.WAL.Segment > 0 { // a read-only opening has none
		add("log", "segment %d: %s written, %s durable, %s reserved", m.WAL.Segment, size(m.WAL.OffsetBytes), size(m.WAL.DurableBytes), size(m.WAL.ReservedBytes))
		add("manifest", "%s", size(m.Files.ManifestBytes))
	}
	add("opening", "%s; took %s", recoverySentence(&m.Recovery), span(m.Recovery.Time))
	if m.Compact.SetAside > 0 {
		add("set aside", "%s", i.warm(plural(m.Compact.SetAside, "damaged table that compaction leaves alone", "damaged tables that compaction leaves alone")))
	}
	if m.Failure != "" {
		add("failure", "%s", i.bad(m.Failure))
	}
	return render(t)
}

// trafficTable lists what happened since the database was opened.
func trafficTable(i ink, m *db.Metrics) string {
	t := i.newTable("Since it was opened")
	add := func(name, format string, args ...any) { t.AppendRow(table.Row{name, fmt.Sprintf(format, args...)}) }
	add("writes", "%s in %s, %s; merged into %s", plural(m.Writes.Operations, "operation", "operations"),
		plural(m.Writes.Commits, "commit", "commits"), size(m.Writes.UserBytes), plural(m.Writes.Groups, "log record", "log records"))
	add("log", "%s, %s (%s), %s", size(m.WAL.BytesWritten), plural(m.WAL.Syncs, "sync", "syncs"), span(m.WAL.SyncTime), plural(m.WAL.Rotations, "rotation", "rotations"))
	add("flushes", "%s, %s written, %s", count(m.Flush.Jobs), size(m.Flush.BytesWritten), span(m.Flush.Time))
	add("compactions", "%s and %s, %s read, %s written, %s", count(m.Compact.Jobs), plural(m.Compact.Moves, "move", "moves"),
		size(m.Compact.BytesRead), size(m.Compact.BytesWritten), span(m.Compact.Time))
	add("write amplification", "%.2f bytes written for each byte put", m.WriteAmplification())
	add("writers held back", "%s, %s in all%s", plural(m.Stalls.Count, "time", "times"), span(m.Stalls.Time), behind(m.Stalls.Behind))
	add("block cache", "%s of %s in %s, %s hits, %s misses (%s)", size(m.Cache.Used), size(m.Cache.Capacity), plural(m.Cache.Blocks, "block", "blocks"),
		count(m.Cache.Hits), count(m.Cache.Misses), hitShare(m.Cache.Hits, m.Cache.Misses))
	add("filters", "%s checks, %s tables not read, %s read in vain", count(m.Filter.Checks), count(m.Filter.Negatives), count(m.Filter.FalsePositives))
	if m.Snapshot.Open > 0 {
		add("snapshots", "%d open, the oldest at %s", m.Snapshot.Open, count(m.Snapshot.Oldest))
	}
	return render(t)
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

// recoverySentence says what opening found.
func recoverySentence(r *db.RecoveryMetrics) string {
	switch {
	case r.Created:
		return "a new database"
	case r.CleanClose:
		return "was closed properly"
	}
	s := fmt.Sprintf("was not closed: replayed %s, %s, %s", plural(r.Segments, "log segment", "log segments"),
		plural(r.Operations, "operation", "operations"), size(r.Bytes))
	if r.TornBytes > 0 {
		s += fmt.Sprintf("; cut off %s of an unfinished write", size(r.TornBytes))
	}
	if r.TablesWritten > 0 {
		s += "; wrote " + plural(r.TablesWritten, "table", "tables")
	}
	if r.FilesRemoved > 0 {
		s += "; removed " + plural(r.FilesRemoved, "unlisted file", "unlisted files")
	}
	return s
}
