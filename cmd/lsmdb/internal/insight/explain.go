// Package insight has the subcommands that tell why a database is as it is: what answers a
// read, what takes the space, what is kept for whom.
package insight

import (
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

// explanation tells how a key is looked up.
type explanation struct {
	console *console.Console
	form    text.Form
}

// NewExplain makes the subcommand.
func NewExplain(c *console.Console) *cobra.Command {
	x := &explanation{console: c}
	cmd := &cobra.Command{
		Use:   "explain DIR KEY",
		Short: "Tell where a key is looked for, and what decides whether it has a value",
		Long: `Look a key up as "get" does, and tell how that goes: which memtables and tables are
asked, what their filters say, what is read, and what kind of entry decides. A key
that has no value ends with exit code 3, explained all the same. With --json: an
object with "key" (or "key_base64"), "found", "decided_by" (put, delete,
range-delete, expiry, merge, nothing), "level" and "table" of what decided (-1 and 0
where that lies in a memtable), "steps" and "time_ns".

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NotFound, exit.NoDatabase, exit.InUse, exit.Newer),
		Example: `  lsmdb explain mydata fruit/apple
  lsmdb explain mydata --hex 00ff --json`,
		Args: console.Arguments(2, 2),
		RunE: c.Interruptible(x.run),
	}
	x.form.AddFlags(cmd)
	return cmd
}

func (x *explanation) run(ctx context.Context, args []string) (err error) {
	key, err := x.form.Parse("key", args[1])
	if err != nil {
		return err
	}
	database, err := access.Look(ctx, x.console, args[0], access.Reading)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	e, err := database.Explain(ctx, key)
	if err != nil {
		return err
	}
	return x.print(&e)
}

// print writes the explanation. That a key has no value is told with it.
func (x *explanation) print(e *db.Explanation) error {
	if x.console.JSON {
		if err := x.console.PrintJSON(e); err != nil {
			return err
		}
	} else {
		x.console.Printf("%s\n\n%s\n", x.sentence(e), x.steps(e))
	}
	if !e.Found {
		return &exit.Error{Code: exit.NotFound, Sentence: "no such key: " + x.form.Format(e.Key), Cause: db.ErrNotFound, Shown: true}
	}
	return nil
}

// sentence says what decided.
func (x *explanation) sentence(e *db.Explanation) string {
	key, where := x.console.OutInk().Accent(x.form.Format(e.Key)), place(e)
	switch e.DecidedBy {
	case "put":
		return fmt.Sprintf("%s has a value, which lies in %s.", key, where)
	case "merge":
		return fmt.Sprintf("%s has a value that operands make; the newest of them lies in %s.", key, where)
	case "delete":
		return fmt.Sprintf("%s has no value: it was deleted. The delete lies in %s.", key, where)
	case "range-delete":
		return fmt.Sprintf("%s has no value: a range that it lies in was deleted. The range delete lies in %s.", key, where)
	case "expiry":
		return fmt.Sprintf("%s has no value: the one it had has ended. It lies in %s.", key, where)
	}
	return fmt.Sprintf("%s has no value: nothing is known of it.", key)
}

// place names what holds the entry that decided.
func place(e *db.Explanation) string {
	if e.Level >= 0 {
		return fmt.Sprintf("table %06d of level %d", e.Table, e.Level)
	}
	return "a memtable, and in the log"
}

// steps lists what was asked.
func (x *explanation) steps(e *db.Explanation) string {
	t := x.console.OutInk().NewTable("What was asked, in this order", "", "level", "table", "its filter said", "its block came from", "took")
	display.AlignRight(t, 6)
	for _, s := range e.Steps {
		level, number := "", ""
		if s.Level >= 0 {
			level, number = fmt.Sprintf("L%d", s.Level), fmt.Sprintf("%06d", s.Table)
		}
		t.AppendRow(table.Row{s.Place, level, number, s.Filter, source(s), units.Span(s.Time)})
	}
	t.AppendFooter(table.Row{"all", "", "", "", "", units.Span(e.Time)})
	return display.Render(t)
}

// source says where the block of a step came from.
func source(s db.ExplainStep) string {
	switch {
	case s.Read:
		return "the file"
	case s.Cached:
		return "the cache"
	}
	return ""
}
