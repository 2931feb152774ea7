// Package inspect prints what single files of a database hold, also of one that does
// not open.
package inspect

import (
	"errors"
	"fmt"
	"path/filepath"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// New makes the subcommand.
func New(c *console.Console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect wal|table|manifest FILE",
		Short: "Print what a file holds, also of a database that does not open",
		Long: `Print what one file of a database holds. No other file is needed, no lock is
taken, nothing is written. Of a damaged file everything is printed that can be
read, and every damage with its offset; the exit code is 1 then.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.Newer, exit.Interrupted),
		Example: `  lsmdb inspect wal mydata/000002.wal
  lsmdb inspect table mydata/000003.sst --entries --limit 0
  lsmdb inspect manifest mydata/MANIFEST-000001
  lsmdb inspect manifest mydata/CURRENT`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exit.Usagef("inspect what? wal, table or manifest; not %q", args[0])
		},
		RunE: func(*cobra.Command, []string) error { return exit.Usagef("inspect what? wal, table or manifest") },
	}
	cmd.AddCommand(newInspectWAL(c), newInspectTable(c), newInspectManifest(c))
	return cmd
}

// inspection is what the three inspect commands share: a bounded list of lines,
// with damage among them that is always printed.
type inspection struct {
	console *console.Console
	form    text.Form
	limit   int
	number  uint64

	listed  int
	omitted int
	damages int
}

func (n *inspection) addFlags(cmd *cobra.Command) {
	cmd.Flags().IntVarP(&n.limit, "limit", "n", 100, "list at most so many lines (0: no limit); damage is always listed")
	cmd.Flags().BoolVarP(&n.form.Hex, "hex", "x", false, "print keys and values in hexadecimal")
	cmd.Flags().BoolVarP(&n.form.Base64, "base64", "b", false, "print keys and values in base64")
	cmd.MarkFlagsMutuallyExclusive("hex", "base64")
}

// addNumberFlag is for the logs, whose checksums cover the file's number.
func (n *inspection) addNumberFlag(cmd *cobra.Command) {
	cmd.Flags().Uint64Var(&n.number, "number", 0, "the file's number, where its name does not tell; the checksums depend on it")
}

// open opens a file of a kind and settles its number.
func (n *inspection) open(path string, want base.FileType, example string) (vfs.File, error) {
	info, err := vfs.OS.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir {
		return nil, exit.Usagef("%s is a directory; inspect looks into one file", path)
	}
	kind, number := base.ParseFileName(filepath.Base(path))
	if kind == want && n.number == 0 {
		n.number = number
	}
	if n.number == 0 && want != base.FileTable {
		return nil, exit.Usagef("%s is not named like %s, so its number is not known: give it with --number", path, example)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil { // the database itself follows none
		return nil, err
	}
	return vfs.OS.Open(path)
}

// item lists one thing as a line of text, or as object where --json wants one.
func (n *inspection) item(object map[string]any, format string, args ...any) {
	if n.limit > 0 && n.listed >= n.limit {
		n.omitted++
		return
	}
	n.listed++
	n.always(object, format, args...)
}

// always is item without the limit.
func (n *inspection) always(object map[string]any, format string, args ...any) {
	if n.console.JSON {
		n.console.PrintJSON(object)
		return
	}
	n.console.Printf(format+"\n", args...)
}

// damage lists something that could not be read. It returns the error when it is
// none of the file's contents but of reading it.
func (n *inspection) damage(err error) error {
	var corrupt *base.CorruptionError
	switch {
	case errors.As(err, &corrupt):
		n.damages++
		place := "somewhere"
		if corrupt.Offset >= 0 {
			place = fmt.Sprintf("at offset %d", corrupt.Offset)
		}
		n.always(map[string]any{"type": "damage", "offset": corrupt.Offset, "detail": corrupt.Detail},
			"%s %s: %s", n.console.OutInk().Bad("damage"), place, corrupt.Detail)
		return nil
	case errors.Is(err, base.ErrIncompatible):
		n.damages++
		n.always(map[string]any{"type": "incompatible", "detail": exit.Plain(err)}, "%s %s", n.console.OutInk().Bad("incompatible"), exit.Plain(err))
		return nil
	}
	return err
}

// end prints what was left out, then the verdict, and returns the command's error.
func (n *inspection) end(verdict string) error {
	if n.omitted > 0 {
		n.always(map[string]any{"type": "omitted", "lines": n.omitted},
			"%s", n.console.OutInk().Faint(fmt.Sprintf("... and %s (--limit 0 lists all)", units.Plural(n.omitted, "line more", "lines more"))))
	}
	n.always(map[string]any{"type": "verdict", "verdict": verdict, "damages": n.damages}, "\n%s", verdict)
	if n.damages > 0 {
		return exit.ErrShown
	}
	return nil
}

// previewBytes is how much of a key or value a line shows.
const previewBytes = 48

// key shows a key, shortened where it is very long.
func (n *inspection) key(key []byte) string { return n.preview(key, 4*previewBytes) }

// value shows the start of a value and its length.
func (n *inspection) value(value []byte) string {
	return fmt.Sprintf("%s  %s", n.preview(value, previewBytes), n.console.OutInk().Faint("("+units.Plural(len(value), "byte", "bytes")+")"))
}

func (n *inspection) preview(p []byte, limit int) string {
	if len(p) <= limit {
		return n.form.Format(p)
	}
	cut := limit
	for cut > limit-utf8.UTFMax && !utf8.RuneStart(p[cut]) { // not through a character
		cut--
	}
	return n.form.Format(p[:cut]) + "..."
}
