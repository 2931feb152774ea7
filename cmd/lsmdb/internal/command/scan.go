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
	"lsmdb/db"
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

// options returns the bounds; nil when everything is wanted.
func (r *keyRange) options() (*db.IterOptions, error) {
	prefix, err := r.form.ParseOptional(r.cmd, "prefix")
	if err != nil {
		return nil, err
	}
	lower, err := r.form.ParseOptional(r.cmd, "from")
	if err != nil {
		return nil, err
	}
	upper, err := r.form.ParseOptional(r.cmd, "to")
	if err != nil {
		return nil, err
	}
	return &db.IterOptions{Prefix: prefix, Lower: lower, Upper: upper}, nil
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
	bounds, err := s.keys.options()
	if err != nil {
		return err
	}
	database, err := access.Open(s.console, args[0], access.Reading, nil)
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	bounds.KeysOnly = s.keysOnly
	it, err := database.NewIterator(bounds)
	if err != nil {
		return err
	}
	defer it.Close()
	if s.count {
		return s.printCount(ctx, it)
	}
	return s.print(ctx, it)
}

func (s *scan) print(ctx context.Context, it *db.Iterator) error {
	w := bufio.NewWriterSize(s.console.Out, 256<<10)
	var line []byte
	var n int64
	err := access.Walk(ctx, it, s.reverse, func(key, value []byte) (bool, error) {
		n++
		line = s.appendLine(line[:0], text.Entry{Key: key, Value: value, Until: it.Until()})
		_, err := w.Write(line)
		return n != s.limit, err
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

func (s *scan) printCount(ctx context.Context, it *db.Iterator) error {
	var entries, keyBytes, valueBytes, ending int64
	err := access.Walk(ctx, it, s.reverse, func(key, value []byte) (bool, error) {
		entries++
		keyBytes += int64(len(key))
		valueBytes += int64(len(value))
		if !it.Until().IsZero() {
			ending++
		}
		return entries != s.limit, nil
	})
	if err != nil {
		return err
	}
	if s.console.JSON {
		counts := map[string]int64{"entries": entries, "key_bytes": keyBytes, "value_bytes": valueBytes}
		if ending > 0 {
			counts["ending"] = ending
		}
		if s.keysOnly {
			delete(counts, "value_bytes")
		}
		return s.console.PrintJSON(counts)
	}
	s.console.Printf("%s, %s in keys", units.Plural(entries, "entry", "entries"), units.Size(keyBytes))
	if !s.keysOnly {
		s.console.Printf(", %s in values", units.Size(valueBytes))
	}
	if ending > 0 {
		s.console.Printf(", %s of the values end", units.Count(ending))
	}
	s.console.Printf("\n")
	return nil
}
