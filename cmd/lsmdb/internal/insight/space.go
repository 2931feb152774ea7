package insight

import (
	"bytes"
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// space tells what takes the space.
type space struct {
	console *console.Console
	form    text.Form
	cmd     *cobra.Command
}

// NewSpace makes the subcommand.
func NewSpace(c *console.Console) *cobra.Command {
	s := &space{console: c}
	s.cmd = &cobra.Command{
		Use:   "space DIR",
		Short: "Tell what takes the space, and what of it would come back",
		Long: `Tell what the tables of a database, or the keys of a range, take on the disk: what
is live, what is dead because it was overwritten or deleted, the deletes themselves,
and values that have ended. It is an estimate from samples of blocks; a small range
is read whole. With --json: an object with "live_bytes", "dead_bytes",
"tombstone_bytes", "expired_bytes", "pinned_bytes" (the part of what is dead that an
open snapshot sees) and "levels".

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb space mydata
  lsmdb space mydata --prefix fruit/
  lsmdb space mydata --from a --to n --json`,
		Args: console.Arguments(1, 1),
		RunE: c.Interruptible(s.run),
	}
	s.form.AddFlags(s.cmd)
	s.cmd.Flags().String("prefix", "", "only keys that start with this")
	s.cmd.Flags().String("from", "", "only keys at or after this one")
	s.cmd.Flags().String("to", "", "only keys before this one")
	return s.cmd
}

func (s *space) run(ctx context.Context, args []string) (err error) {
	start, end, err := s.bounds()
	if err != nil {
		return err
	}
	database, err := access.Look(ctx, s.console, args[0], access.Reading)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	found, err := database.SpaceOf(ctx, start, end)
	if err != nil {
		return err
	}
	return s.print(args[0], &found)
}

// bounds returns the range that the flags amount to together.
func (s *space) bounds() (start, end []byte, err error) {
	var given [3][]byte
	for i, flag := range []string{"prefix", "from", "to"} {
		if given[i], err = s.form.ParseOptional(s.cmd, flag); err != nil {
			return nil, nil, err
		}
	}
	start, end = db.PrefixRange(given[0])
	if from := given[1]; bytes.Compare(from, start) > 0 {
		start = from
	}
	if to := given[2]; to != nil && (end == nil || bytes.Compare(to, end) < 0) {
		end = to
	}
	return start, end, nil
}

func (s *space) print(dir string, found *db.Space) error {
	if s.console.JSON {
		return s.console.PrintJSON(found)
	}
	all := found.LiveBytes + found.DeadBytes + found.TombstoneBytes + found.ExpiredBytes
	if all == 0 {
		s.console.Printf("The tables hold nothing of it. What is only in the log does not count.\n")
		return nil
	}
	ink := s.console.OutInk()
	t := ink.NewTable("What the tables hold, by level", "level", "", "size", "live", "dead", "deletes", "ended")
	display.AlignRight(t, 3, 4, 5, 6, 7)
	largest := int64(0)
	for _, l := range found.Levels {
		largest = max(largest, sizeOf(l))
	}
	for _, l := range found.Levels {
		if size := sizeOf(l); size > 0 {
			t.AppendRow(row(fmt.Sprintf("L%d", l.Level), ink.Bar(float64(size)/float64(largest), 10), l))
		}
	}
	t.AppendFooter(row("all", "", db.LevelSpace{
		LiveBytes: found.LiveBytes, DeadBytes: found.DeadBytes, TombstoneBytes: found.TombstoneBytes, ExpiredBytes: found.ExpiredBytes,
	}))
	s.console.Printf("%s\n\n%s\n", display.Render(t), advice(dir, found, all))
	return nil
}

func sizeOf(l db.LevelSpace) int64 {
	return l.LiveBytes + l.DeadBytes + l.TombstoneBytes + l.ExpiredBytes
}

// row is a line of the table.
func row(name, bar string, l db.LevelSpace) table.Row {
	part := func(bytes int64) string {
		if bytes == 0 {
			return ""
		}
		return fmt.Sprintf("%s  %5s", units.Size(bytes), units.Percent(bytes, sizeOf(l)))
	}
	return table.Row{name, bar, units.Size(sizeOf(l)), part(l.LiveBytes), part(l.DeadBytes), part(l.TombstoneBytes), part(l.ExpiredBytes)}
}

// advice says what to do about it.
func advice(dir string, found *db.Space, all int64) string {
	const little = 20 // of the whole, that is not worth a compaction
	free := all - found.LiveBytes - found.PinnedBytes
	text := fmt.Sprintf("%s of it is not live: \"lsmdb compact %s\" gives back about %s.", units.Percent(free, all), dir, units.Size(free))
	if free < all/little {
		text = "Nearly all of that is needed: there is little to give back."
	}
	if found.PinnedBytes > 0 {
		text += fmt.Sprintf("\nOpen snapshots still see %s of what is dead: that comes back when they are closed.", units.Size(found.PinnedBytes))
	}
	return text
}
