package inspect

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/wal"
)

// inspectWAL prints a segment of the write-ahead log.
type inspectWAL struct {
	inspection
	marks      int
	operations int
}

func newInspectWAL(c *console.Console) *cobra.Command {
	w := &inspectWAL{inspection: inspection{console: c}}
	cmd := &cobra.Command{
		Use:   "wal FILE",
		Short: "Print the commits in a segment of the write-ahead log",
		Long: `Print the commits in a segment of the write-ahead log: for each record its offset,
the sequence numbers it covers, up to where the log was known to be durable when it
was written, and its operations. Bytes that do not verify are reported as damage,
also where recovery would cut them off as an unfinished write; the last line says
how recovery would take the file.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.Newer, exit.Interrupted),
		Example: "  lsmdb inspect wal mydata/000002.wal\n  lsmdb inspect wal mydata/000002.wal --json --limit 0\n  lsmdb inspect wal saved.bin --number 2",
		Args:    console.Arguments(1, 1),
		RunE:    c.Interruptible(w.run),
	}
	w.addFlags(cmd)
	w.addNumberFlag(cmd)
	return cmd
}

func (w *inspectWAL) run(ctx context.Context, args []string) error {
	f, err := w.open(args[0], base.FileWAL, "000002.wal")
	if err != nil {
		return err
	}
	defer f.Close()
	walk := &logWalk{inspection: &w.inspection, record: func(r logRecord) error { return w.commit(args[0], r) }}
	if err := w.header(f, args[0]); err != nil {
		return err
	}
	if err := walk.run(ctx, f, args[0]); err != nil {
		return err
	}
	verdict, err := walk.verdict(f, args[0])
	if err != nil {
		return err
	}
	return w.end(fmt.Sprintf("%s with %s; %s", units.Plural(walk.records-w.marks, "record", "records"), units.Plural(w.operations, "operation", "operations"), verdict))
}

// header prints what the segment says of the one before it.
func (w *inspectWAL) header(f vfs.File, name string) error {
	r, err := wal.Open(f, name, w.number)
	if err != nil || r.Empty() {
		return nil // the walk over the chunks reports it
	}
	previous := r.Previous()
	after := "the first segment"
	if previous.Segment != 0 {
		after = fmt.Sprintf("follows segment %d, which ended at offset %d", previous.Segment, previous.End)
	}
	w.always(map[string]any{"type": "header", "segment": w.number, "previous_segment": previous.Segment, "previous_end": previous.End},
		"segment %d, %s\n", w.number, after)
	return nil
}

// commit prints one record: a group of commits and their operations.
func (w *inspectWAL) commit(name string, r logRecord) error {
	group, ops, err := base.DecodeGroup(r.payload)
	if err != nil {
		return w.damage(base.DamageAt(name, r.offset, err))
	}
	if group.Count == 0 && len(ops) == 0 { // says only how far the log is durable
		w.marks++
		w.always(map[string]any{"type": "mark", "offset": r.offset, "sequence": group.First, "durable": r.durable},
			"%10d  mark, before sequence %d, log durable to %d\n", r.offset, group.First, r.durable)
		return nil
	}
	last := group.First + base.Seq(group.Count) - min(1, base.Seq(group.Count))
	w.item(map[string]any{"type": "record", "offset": r.offset, "bytes": len(r.payload), "chunks": r.chunks,
		"first_sequence": group.First, "operations": group.Count, "durable": r.durable},
		"%10d  %s, sequence %d to %d, %s, log durable to %d", r.offset, w.console.OutInk().Bold("commit"),
		group.First, last, units.Size(len(r.payload)), r.durable)
	for i := range group.Count {
		op, rest, err := base.DecodeOp(ops)
		if err != nil {
			return w.damage(base.DamageAt(name, r.offset, fmt.Errorf("operation %d of %d: %w", i+1, group.Count, err)))
		}
		ops = rest
		w.operations++
		w.operation(group.First+base.Seq(i), op)
	}
	if len(ops) > 0 {
		return w.damage(base.Corruptf(name, r.offset, "%d bytes follow the last operation", len(ops)))
	}
	return nil
}

func (w *inspectWAL) operation(seq base.Seq, op base.Op) {
	if w.limit > 0 && w.listed >= w.limit {
		w.omitted++
		return // spares the formatting
	}
	object, line := w.inspection.operation(op.Kind, seq, op.Key, op.Value, "")
	w.item(object, "            %-6s %s", op.Kind, line)
}
