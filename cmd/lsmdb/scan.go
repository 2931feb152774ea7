package main

import (
	"context"
	"iter"

	"github.com/spf13/cobra"

	"lsmdb/db"
)

// keyRange is the part of a database that scan and dump walk: the flags
// --prefix, --from and --to.
type keyRange struct {
	form textForm
	cmd  *cobra.Command
}

func (r *keyRange) addFlags(cmd *cobra.Command) {
	r.cmd = cmd
	cmd.Flags().String("prefix", "", "only keys that start with this")
	cmd.Flags().String("from", "", "only keys at or after this one")
	cmd.Flags().String("to", "", "only keys before this one")
}

// options returns the bounds; nil when everything is wanted.
func (r *keyRange) options() (*db.IterOptions, error) {
	prefix, err := r.form.parseOptional(r.cmd, "prefix")
	if err != nil {
		return nil, err
	}
	lower, err := r.form.parseOptional(r.cmd, "from")
	if err != nil {
		return nil, err
	}
	upper, err := r.form.parseOptional(r.cmd, "to")
	if err != nil {
		return nil, err
	}
	return &db.IterOptions{Prefix: prefix, Lower: lower, Upper: upper}, nil
}

// walk calls visit for each entry in the direction until it returns false.
func walk(ctx context.Context, it *db.Iterator, reverse bool, visit func(key, value []byte) (more bool, err error)) error {
	entries := iter.Seq2[[]byte, []byte](it.All())
	if reverse {
		entries = it.Backward()
	}
	n := 0
	for key, value := range entries {
		if n++; n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if more, err := visit(key, value); err != nil || !more {
			return err
		}
	}
	return it.Err()
}

// scan prints a range of entries.
type scan struct {
	console  *console
	keys     keyRange
	reverse  bool
	limit    int64
	keysOnly bool
	count    bool
}

func newScan(c *console) *cobra.Command {
	s := &scan{console: c}
	cmd := &cobra.Command{
		Use:   "scan DIR [PREFIX]",
		Short: "Print entries in the order of their keys",
		Long: `Print entries in the order of their keys (bytes, not letters of an alphabet): one
line per entry, key and value with a tab between them, escaped as in every plain
result. With --json: one object per line, as "lsmdb load" reads them.

` + exitHelp(exitOK, exitFailure, exitUsage, exitNoDatabase, exitInUse, exitNewer, exitInterrupted),
		Example: `  lsmdb scan mydata
  lsmdb scan mydata fruit/
  lsmdb scan mydata --from a --to n --reverse --limit 10
  lsmdb scan mydata --count`,
		Args: arguments(1, 2),
		RunE: c.interruptible(s.run),
	}
	s.keys.form.addFlags(cmd)
	s.keys.addFlags(cmd)
	cmd.Flags().BoolVar(&s.reverse, "reverse", false, "last key first")
	cmd.Flags().Int64VarP(&s.limit, "limit", "n", 0, "stop after so many entries (0: no limit)")
	cmd.Flags().BoolVarP(&s.keysOnly, "keys-only", "k", false, "print no values")
	cmd.Flags().BoolVarP(&s.count, "count", "c", false, "print only how many entries there are, and their bytes")
	return cmd
}

func (s *scan) run(ctx context.Context, args []string) (err error) {
	if len(args) == 2 {
		if s.keys.cmd.Flags().Changed("prefix") {
			return usagef("a prefix as argument and --prefix: only one of them")
		}
		s.keys.cmd.Flags().Set("prefix", args[1])
	}
	if s.limit < 0 {
		return usagef("--limit must not be negative")
	}
	bounds, err := s.keys.options()
	if err != nil {
		return err
	}
	database, err := s.console.open(args[0], reading, nil)
	if err != nil {
		return err
	}
	defer closing(database, &err)
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
	w := newRecordWriter(s.console.out, formatTSV)
	var n int64
	err := walk(ctx, it, s.reverse, func(key, value []byte) (bool, error) {
		n++
		w.line = s.appendLine(w.line[:0], key, value)
		_, err := w.to.Write(w.line)
		return n != s.limit, err
	})
	if flushErr := w.flush(); err == nil {
		err = flushErr
	}
	return err
}

func (s *scan) appendLine(dst, key, value []byte) []byte {
	switch form := s.keys.form; {
	case s.console.json && s.keysOnly:
		return append(appendJSONField(append(dst, '{'), "key", key), "}\n"...)
	case s.console.json:
		return appendJSONLine(dst, key, value)
	case s.keysOnly:
		return append(append(dst, form.format(key)...), '\n')
	default:
		dst = append(append(dst, form.format(key)...), '\t')
		return append(append(dst, form.format(value)...), '\n')
	}
}

func (s *scan) printCount(ctx context.Context, it *db.Iterator) error {
	var entries, keyBytes, valueBytes int64
	err := walk(ctx, it, s.reverse, func(key, value []byte) (bool, error) {
		entries++
		keyBytes += int64(len(key))
		valueBytes += int64(len(value))
		return entries != s.limit, nil
	})
	if err != nil {
		return err
	}
	if s.console.json {
		return s.console.printJSON(map[string]int64{"entries": entries, "key_bytes": keyBytes, "value_bytes": valueBytes})
	}
	s.console.printf("%s, %s in keys, %s in values\n", plural(entries, "entry", "entries"), size(keyBytes), size(valueBytes))
	return nil
}
