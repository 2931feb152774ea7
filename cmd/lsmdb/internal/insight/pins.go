package insight

import (
	"context"
	"time"

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

// pins lists what keeps something in a database.
type pins struct{ console *console.Console }

// NewPins makes the subcommand.
func NewPins(c *console.Console) *cobra.Command {
	p := &pins{console: c}
	return &cobra.Command{
		Use:   "pins DIR",
		Short: "List the snapshots, iterators, transactions and the like that are open",
		Long: `List what is open in a database and keeps something for itself that would be given
back otherwise: snapshots, iterators, transactions, checkpoints and loops over changes,
each with its age, what it keeps, and the place in the program where it was opened. A
database that no program has open has none. With --json: an array of objects with "kind", "since",
"seq", "bytes" and "where".

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer),
		Example: `  lsmdb pins mydata
  lsmdb pins mydata --json`,
		Args: console.Arguments(1, 1),
		RunE: c.Interruptible(p.run),
	}
}

func (p *pins) run(ctx context.Context, args []string) (err error) {
	database, err := access.Look(ctx, p.console, args[0], access.Reading)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	list, err := database.Pins(ctx)
	if err != nil {
		return err
	}
	return p.print(list, time.Now())
}

func (p *pins) print(list []db.Pin, now time.Time) error {
	if p.console.JSON {
		return p.console.PrintJSON(append([]db.Pin{}, list...)) // an empty list is one, too
	}
	if len(list) == 0 {
		p.console.Printf("Nothing is open that keeps anything.\n")
		return nil
	}
	t := p.console.OutInk().NewTable("What keeps something, oldest first", "kind", "since", "sequence", "keeps", "opened by")
	display.AlignRight(t, 2, 3, 4)
	for _, pin := range list {
		t.AppendRow(table.Row{pin.Kind, units.Span(now.Sub(pin.Since)), units.Count(pin.Seq), units.Size(pin.Bytes), string(text.AppendEscaped(nil, []byte(pin.Where)))})
	}
	p.console.Printf("%s\n", display.Render(t))
	return nil
}
