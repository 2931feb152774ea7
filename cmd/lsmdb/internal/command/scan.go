package command

import (
	"bufio"
	"context"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/internal/beside"
)

// keyRange is the part of a database that a command is about: the flags --from and
// --to, for scan and dump --prefix too, and those of the form they are in.
type keyRange struct {
	form text.Form
	cmd  *cobra.Command
}

func (r *keyRange) addFlags(cmd *cobra.Command) {
	r.cmd = cmd
	r.form.AddFlags(cmd)
	cmd.Flags().String("from", "", "only keys at or after this one")
	cmd.Flags().String("to", "", "only keys before this one")
}

func (r *keyRange) addPrefixFlag() {
	r.cmd.Flags().String("prefix", "", "only keys that start with this")
}

// query returns the bounds; nil when everything is wanted.
func (r *keyRange) query() (q beside.Query, err error) {
	for _, bound := range []struct {
		flag string
		key  *[]byte
	}{{"prefix", &q.Prefix}, {"from", &q.Lower}, {"to", &q.Upper}} {
		if *bound.key, err = r.form.ParseOptional(r.cmd, bound.flag); err != nil {
			return q, err
		}
	}
	return q, nil
}

// scan prints a range of entries.
type scan struct {
	console  *console.Console
	keys     keyRange
	reverse  bool
	limit    int64
	keysOnly bool
	count    bool
}

func newScan(c *console.Console) *cobra.Command {
	s := &scan{console: c}
	cmd := &cobra.Command{
		Use:   "scan DIR [PREFIX]",
		Short: "Print entries in the order of their keys",
		Long: `Print entries in the order of their keys (bytes, not letters of an alphabet): one
line per entry, key and value with a tab between them, escaped as in every plain
result, and behind another tab when the value ends, if it does. With --json: one
object per line, as "lsmdb load" reads them. --keys-only and --count --keys-only
read no large values.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Example: `  lsmdb scan mydata
  lsmdb scan mydata fruit/
  lsmdb scan mydata --from a --to n --reverse --limit 10
  lsmdb scan mydata --count`,
		Args: console.Arguments(1, 2),
		RunE: c.Interruptible(s.run),
	}
	s.keys.addFlags(cmd)
	s.keys.addPrefixFlag()
	cmd.Flags().BoolVar(&s.reverse, "reverse", false, "last key first")
	cmd.Flags().Int64VarP(&s.limit, "limit", "n", 0, "stop after so many entries (0: no limit)")
	cmd.Flags().BoolVarP(&s.keysOnly, "keys-only", "k", false, "print no values, and read no large ones")
	cmd.Flags().BoolVarP(&s.count, "count", "c", false, "print only how many entries there are, and their bytes")
	return cmd
}

func (s *scan) run(ctx context.Context, args []string) (err error) {
	if len(args) == 2 {
		if s.keys.cmd.Flags().Changed("prefix") {
			return exit.Usagef("a prefix as argument and --prefix: only one of them")
		}
		s.keys.cmd.Flags().Set("prefix", args[1])
	}
	if s.limit < 0 {
		return exit.Usagef("--limit must not be negative")
	}
	q, err := s.keys.query()
	if err != nil {
		return err
	}
	q.KeysOnly, q.Reverse, q.Limit = s.keysOnly, s.reverse, s.limit
	database, err := access.Look(ctx, s.console, args[0], access.Reading)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	if s.count {
		counts, err := database.Count(ctx, q)
		if err != nil {
			return err
		}
		return s.printCount(counts)
	}
	return s.print(ctx, database, q)
}

func (s *scan) print(ctx context.Context, database beside.Reader, q beside.Query) error {
	w := bufio.NewWriterSize(s.console.Out, 256<<10)
	var line []byte
	err := database.Scan(ctx, q, func(e beside.Entry) error {
		line = s.appendLine(line[:0], text.Entry(e))
		_, err := w.Write(line)
		return err
	})
	if flushErr := w.Flush(); err == nil {
		err = flushErr
	}
	return err
}

func (s *scan) appendLine(dst []byte, e text.Entry) []byte {
	form := s.keys.form
	switch {
	case s.console.JSON && s.keysOnly:
		dst = text.AppendJSONField(append(dst, '{'), "key", e.Key)
		return append(text.AppendJSONUntil(dst, e.Until), "}\n"...)
	case s.console.JSON:
		return text.AppendJSONLine(dst, e)
	}
	dst = append(dst, form.Format(e.Key)...)
	if !s.keysOnly {
		dst = append(append(dst, '\t'), form.Format(e.Value)...)
	}
	if !e.Until.IsZero() {
		dst = append(append(dst, '\t'), text.FormatUntil(e.Until)...)
	}
	return append(dst, '\n')
}

func (s *scan) printCount(c beside.Counts) error {
	if s.console.JSON {
		counts := map[string]int64{"entries": c.Entries, "key_bytes": c.KeyBytes, "value_bytes": c.ValueBytes}
		if c.Ending > 0 {
			counts["ending"] = c.Ending
		}
		if s.keysOnly {
			delete(counts, "value_bytes")
		}
		return s.console.PrintJSON(counts)
	}
	s.console.Printf("%s, %s in keys", units.Plural(c.Entries, "entry", "entries"), units.Size(c.KeyBytes))
	if !s.keysOnly {
		s.console.Printf(", %s in values", units.Size(c.ValueBytes))
	}
	if c.Ending > 0 {
		s.console.Printf(", %s of the values end", units.Count(c.Ending))
	}
	s.console.Printf("\n")
	return nil
}
