package inspect

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/sstable"
)

// inspectTable prints a table file.
type inspectTable struct {
	inspection
	entries bool
	sound   int // blocks that could be read
}

func newInspectTable(c *console.Console) *cobra.Command {
	t := &inspectTable{inspection: inspection{console: c}}
	cmd := &cobra.Command{
		Use:   "table FILE",
		Short: "Print the properties, blocks and entries of a table",
		Long: `Print the properties of a table and its blocks: offset, kind, stored and plain
size, entries and key range. With --entries also every entry: key, sequence
number, kind, value and when that ends; and every range delete, with the numbers
of those that cover its keys.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.Newer, exit.Interrupted),
		Example: "  lsmdb inspect table mydata/000003.sst\n  lsmdb inspect table mydata/000003.sst --entries --limit 0",
		Args:    console.Arguments(1, 1),
		RunE:    c.Interruptible(t.run),
	}
	t.addFlags(cmd)
	cmd.Flags().BoolVar(&t.entries, "entries", false, "list the entries too")
	return cmd
}

func (t *inspectTable) run(ctx context.Context, args []string) error {
	f, err := t.open(args[0], base.FileTable, "000003.sst")
	if err != nil {
		return err
	}
	f.Close() // a Table opens it when it reads
	opened, err := sstable.Open(vfs.OS, args[0], sstable.ReaderOptions{})
	if err != nil {
		if err := t.damage(err); err != nil {
			return err
		}
		return t.end("the table does not open; none of its blocks is shown")
	}
	defer opened.Close()
	t.properties(opened.Properties())
	if err := t.blocks(ctx, opened); err != nil {
		return err
	}
	if t.damages == 0 { // the blocks are sound one by one: do they agree with each other?
		if err := opened.Verify(nil); err != nil {
			if err := t.damage(err); err != nil {
				return err
			}
		}
	}
	if t.damages > 0 {
		return t.end(fmt.Sprintf("damaged: %s; %s could be read", units.Plural(t.damages, "problem", "problems"), units.Plural(t.sound, "block", "blocks")))
	}
	return t.end("sound: every byte was read and checked")
}

func (t *inspectTable) properties(p sstable.Properties) {
	object := map[string]any{"type": "properties", "bytes": p.SizeBytes, "identity": fmt.Sprintf("%016x", p.Identity), "entries": p.Entries,
		"deletes": p.Deletes, "shadowed": p.Shadowed,
		"raw_key_bytes": p.RawKeyBytes, "raw_value_bytes": p.RawValueBytes, "data_blocks": p.DataBlocks}
	addSummary(object, &p.Summary)
	addCount(object, "large_values", p.LargeValues)
	i := t.console.OutInk()
	w := i.NewTable("Properties")
	add := func(name, format string, args ...any) { w.AppendRow(table.Row{name, fmt.Sprintf(format, args...)}) }
	add("size", "%s in %s", units.Size(p.SizeBytes), units.Plural(p.DataBlocks, "data block", "data blocks"))
	add("entries", "%s, of them %s deletes, %s shadowed by a newer version here", units.Count(p.Entries), units.Count(p.Deletes), units.Count(p.Shadowed))
	for _, more := range t.summary(&p.Summary) {
		add(more[0], "%s", more[1])
	}
	if p.LargeValues > 0 {
		add("large values", "%s, each in a block of its own", units.Count(p.LargeValues))
	}
	add("raw bytes", "%s in keys, %s in values", units.Size(p.RawKeyBytes), units.Size(p.RawValueBytes))
	add("identity", "%016x", p.Identity)
	t.always(object, "%s\n", display.Render(w))
}

// blocks lists the blocks, and the entries of each where they are wanted. A
// damaged block does not keep the others from being read.
func (t *inspectTable) blocks(ctx context.Context, opened *sstable.Table) error {
	it := opened.NewIterator(sstable.IteratorOptions{NoCacheFill: true})
	defer it.Close()
	for b, err := range opened.Blocks() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if err := t.damage(err); err != nil {
				return err
			}
			continue
		}
		t.sound++
		t.block(b)
		if t.entries && b.Type == sstable.BlockRangeDelete {
			t.spans(opened.Ranges())
		}
		if t.entries && b.Entries > 0 && len(b.First) > 0 {
			t.list(it, b)
		}
	}
	return nil
}

func (t *inspectTable) block(b sstable.BlockInfo) {
	object := map[string]any{"type": "block", "kind": b.Type.String(), "offset": b.Offset, "bytes": b.SizeBytes,
		"plain_bytes": b.PayloadBytes, "compression": b.Compression.String(), "entries": b.Entries}
	keys := ""
	if len(b.First) > 0 {
		text.JSONFields(object, "first", b.First.UserKey())
		text.JSONFields(object, "last", b.Last.UserKey())
		if b.Large {
			object["large_value"] = true
			keys = "a large value, " + t.key(b.First.UserKey())
		}
	}
	if len(b.First) > 0 && !b.Large {
		keys = fmt.Sprintf("%s, %s .. %s", units.Plural(b.Entries, "entry", "entries"), t.key(b.First.UserKey()), t.key(b.Last.UserKey()))
	}
	t.item(object, "%10d  %-10s %9s of %9s  %-6s  %s", b.Offset, t.console.OutInk().Bold(b.Type.String()), units.Size(b.SizeBytes), units.Size(b.PayloadBytes), b.Compression, keys)
}

// list prints the entries of one block.
func (t *inspectTable) list(it *sstable.Iterator, b sstable.BlockInfo) {
	ok := it.SeekGE(b.First)
	for n := 0; ok && n < b.Entries; n++ {
		if t.limit > 0 && t.listed >= t.limit {
			t.omitted += b.Entries - n
			return
		}
		key := it.Key()
		object, line := t.operation(key.Kind(), key.Seq(), key.UserKey(), it.Value(), t.console.OutInk().Faint(fmt.Sprintf("#%d", key.Seq()))+" ")
		t.item(object, "            %-6s %s", key.Kind(), line)
		ok = it.Next()
	}
}
