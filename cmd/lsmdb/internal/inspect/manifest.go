package inspect

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// inspectManifest prints the edits in a MANIFEST and the tree they amount to.
type inspectManifest struct {
	inspection
	state manifest.State
	lost  bool // an edit is missing or does not fit: the tree is not known any more
	edits int
}

func newInspectManifest(c *console.Console) *cobra.Command {
	m := &inspectManifest{inspection: inspection{console: c}}
	cmd := &cobra.Command{
		Use:   "manifest FILE",
		Short: "Print the edits in a MANIFEST, or what CURRENT says",
		Long: `Print the edits of the tree that a MANIFEST records, and the tree they amount to.
Given CURRENT, print which MANIFEST counts and whether the database was closed
properly.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.Newer, exit.Interrupted),
		Example: "  lsmdb inspect manifest mydata/MANIFEST-000001\n  lsmdb inspect manifest mydata/CURRENT",
		Args:    console.Arguments(1, 1),
		RunE:    c.Interruptible(m.run),
	}
	m.addFlags(cmd)
	m.addNumberFlag(cmd)
	return cmd
}

func (m *inspectManifest) run(ctx context.Context, args []string) error {
	name := args[0]
	if filepath.Base(name) == base.CurrentName {
		return m.current(filepath.Dir(name))
	}
	f, err := m.open(name, base.FileManifest, "MANIFEST-000001")
	if err != nil {
		return err
	}
	defer f.Close()
	walk := &logWalk{inspection: &m.inspection}
	walk.record = func(r logRecord) error {
		m.lost = m.lost || walk.unreadable > 0 // an edit may be missing
		return m.edit(name, r)
	}
	if err := walk.run(ctx, f, name); err != nil {
		return err
	}
	if !m.lost && m.edits > 0 {
		m.tree()
	}
	verdict, err := walk.verdict(f, name)
	if err != nil {
		return err
	}
	return m.end(fmt.Sprintf("%s; %s", units.Plural(m.edits, "edit", "edits"), verdict))
}

// edit prints one edit and applies it to the tree so far.
func (m *inspectManifest) edit(name string, r logRecord) error {
	e, err := manifest.DecodeEdit(r.payload)
	if err != nil {
		m.lost = true
		return m.damage(base.DamageAt(name, r.offset, err))
	}
	m.edits++
	m.item(map[string]any{"type": "edit", "offset": r.offset, "added": tableObjects(e.Added), "removed": removedObjects(e.Removed),
		"next_file": e.NextFile, "last_sequence": e.LastSeq, "oldest_wal": e.OldestWAL, "database_id": e.DatabaseID,
		"now": e.Now, "merger": e.Merger, "loads": loadObjects(e.Loaded)},
		"%10d  %s %s", r.offset, m.console.OutInk().Bold("edit"), scalars(e))
	if !m.console.JSON {
		for _, t := range e.Removed {
			m.item(nil, "            - level %d  table %06d", t.Level, t.Number)
		}
		for _, t := range e.Added {
			m.item(nil, "            + level %d  %s", t.Level, m.table(t.Meta))
		}
	}
	if m.lost {
		return nil
	}
	state, err := m.state.Apply(e)
	if err != nil {
		m.lost = true
		return m.damage(base.Corruptf(name, r.offset, "the edit does not fit: %v", err))
	}
	m.state = state
	return nil
}

// scalars lists the single values that an edit sets.
func scalars(e *manifest.Edit) string {
	var parts []string
	add := func(name string, value uint64) {
		if value != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, value))
		}
	}
	if e.DatabaseID != 0 {
		parts = append(parts, fmt.Sprintf("database %016x", e.DatabaseID))
	}
	add("next file", e.NextFile)
	add("last sequence", uint64(e.LastSeq))
	add("oldest log", e.OldestWAL)
	if e.Now != 0 {
		parts = append(parts, "now "+moment(e.Now))
	}
	if e.Merger != "" {
		parts = append(parts, "merger "+text.Quote([]byte(e.Merger)))
	}
	for _, l := range e.Loaded {
		parts = append(parts, fmt.Sprintf("load %d from %s to %s", l.Seq, text.Quote(l.First), text.Quote(l.Last)))
	}
	return strings.Join(parts, ", ")
}

// loadObjects are loads as JSON has them.
func loadObjects(loads []manifest.Loaded) []map[string]any {
	list := []map[string]any{}
	for _, l := range loads {
		object := map[string]any{"sequence": l.Seq}
		text.JSONFields(object, "first", l.First)
		text.JSONFields(object, "last", l.Last)
		list = append(list, object)
	}
	return list
}

func (m *inspectManifest) table(t *manifest.TableMeta) string {
	indent := "\n" + strings.Repeat(" ", 23)
	text := fmt.Sprintf("table %06d  %9s  %s entries, %s deletes", t.Number, units.Size(t.SizeBytes), units.Count(t.Entries), units.Count(t.Deletes))
	for _, more := range m.summary(&t.Summary) {
		text += indent + more[0] + " " + more[1]
	}
	return text
}

// tree prints the state at the end of the file.
func (m *inspectManifest) tree() {
	s := m.state
	object := map[string]any{"type": "tree", "next_file": s.NextFile, "last_sequence": s.LastSeq, "oldest_wal": s.OldestWAL, "now": s.Now, "merger": s.Merger}
	var levels []map[string]any
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s next file %d, last sequence %d, oldest log %d", m.console.OutInk().Bold("the tree:"), s.NextFile, s.LastSeq, s.OldestWAL)
	if s.Merger != "" {
		fmt.Fprintf(&b, ", merger %s", text.Quote([]byte(s.Merger)))
	}
	for level, tables := range s.Version.Levels {
		if len(tables) == 0 {
			continue
		}
		var sizeBytes int64
		var numbers []uint64
		for _, t := range tables {
			sizeBytes += t.SizeBytes
			numbers = append(numbers, t.Number)
		}
		levels = append(levels, map[string]any{"level": level, "tables": numbers, "bytes": sizeBytes})
		fmt.Fprintf(&b, "\n  level %d  %s, %s", level, units.Plural(len(tables), "table", "tables"), units.Size(sizeBytes))
	}
	object["levels"] = levels
	m.always(object, "%s", b.String())
}

func tableObjects(added []manifest.AddedTable) []map[string]any {
	objects := []map[string]any{}
	for _, t := range added {
		object := map[string]any{"level": t.Level, "number": t.Meta.Number, "bytes": t.Meta.SizeBytes, "entries": t.Meta.Entries,
			"deletes": t.Meta.Deletes, "shadowed": t.Meta.Shadowed}
		addSummary(object, &t.Meta.Summary)
		objects = append(objects, object)
	}
	return objects
}

func removedObjects(removed []manifest.RemovedTable) []map[string]any {
	objects := []map[string]any{}
	for _, t := range removed {
		objects = append(objects, map[string]any{"level": t.Level, "number": t.Number})
	}
	return objects
}

// current prints what CURRENT says.
func (m *inspectManifest) current(dir string) error {
	c, err := manifest.ReadCurrent(vfs.OS, dir)
	if err != nil {
		if err := m.damage(err); err != nil {
			return err
		}
		return m.end("the database does not open")
	}
	m.always(map[string]any{"type": "current", "manifest": c.Manifest, "clean": c.Clean != nil},
		"%s counts", base.ManifestName(c.Manifest))
	if c.Clean == nil {
		return m.end("open, or not closed properly: the next opening replays the log")
	}
	mark := *c.Clean
	m.always(map[string]any{"type": "clean-mark", "manifest_end": mark.ManifestEnd, "wal": mark.WAL, "wal_end": mark.WALEnd},
		"the MANIFEST ends at offset %d, the last log segment is %d and ends at offset %d", mark.ManifestEnd, mark.WAL, mark.WALEnd)
	return m.end("closed properly")
}
