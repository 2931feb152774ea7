package command

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/internal/salvage"
	"lsmdb/internal/vfs"
)

// rescue makes a new database of what is left of a damaged one.
type rescue struct{ console *console.Console }

func newSalvage(c *console.Console) *cobra.Command {
	r := &rescue{console: c}
	return &cobra.Command{
		Use:   "salvage SRC DST",
		Short: "Make a new database of what is left of a damaged one",
		Long: `Make a new database in DST of everything in SRC that can be proven by a checksum, and
say exactly what is lost or doubtful. SRC need not be a database that opens: CURRENT,
the MANIFEST, LOCK, logs and tables may be missing, cut or damaged. It is only read,
but must not be open for writing. DST must be empty or not exist.

Each loss has a file and an offset and, as far as they are known, the first and the
last key and the sequence numbers of the operations that it concerns. A key that is
missing in DST, or has an older value there, lies within a loss. "doubtful" means that
perhaps nothing is lost: the end of a log that was not closed is always told so, as
nobody knows whether something was written behind it.

Values that end keep their times, and merge operands stay operands, for the program
that has their operator. An operand whose value below is lost is left out.

With --json one object is printed:

  {"ok":false,"entries":998,"losses":[{"file":"000012.sst","offset":8192,
   "detail":"...","from":"a","to":"b","first_seq":5,"last_seq":90,"doubtful":false}]}

Both keys are included, and are from_base64 and to_base64 where they are no text. What
is unknown is not there: a loss without keys concerns all keys.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Interrupted) + `

0 means that nothing is lost or doubtful. Otherwise it is 1, and DST is a database all
the same, unless an error was printed.`,
		Example: `  lsmdb salvage mydata mydata.new
  lsmdb salvage mydata mydata.new --json > report.json`,
		Args: console.Arguments(2, 2),
		RunE: c.Interruptible(r.run),
	}
}

func (r *rescue) run(ctx context.Context, args []string) error {
	from, to := args[0], args[1]
	if err := access.CheckDirectory(from, access.Reading); err != nil {
		return err
	}
	if err := checkTarget(to); err != nil {
		return err
	}
	if err := checkOutside(from, to); err != nil {
		return err
	}
	start, d := time.Now(), r.console.NewDisplay()
	report, err := salvage.Run(ctx, salvage.Place{FS: vfs.OS, Dir: from}, salvage.Place{FS: vfs.OS, Dir: to}, func(file string, doneBytes, totalBytes int64) {
		d.Update(func() []string {
			return []string{d.ProgressLine(display.Progress{Verb: "rescuing", Done: doneBytes, Total: totalBytes, Detail: file, Since: start})}
		})
	})
	d.Clear()
	if err != nil {
		return access.ExplainOpen(from, err)
	}
	return r.tell(to, report, time.Since(start))
}

// checkOutside refuses a new database within the old one, which must not change.
func checkOutside(from, to string) error {
	old, err := os.Stat(from)
	if err != nil {
		return err
	}
	absolute, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	above, err := filepath.EvalSymlinks(filepath.Dir(absolute))
	if err != nil {
		return err
	}
	for {
		if info, err := os.Stat(above); err == nil && os.SameFile(info, old) {
			return exit.Usagef("%s lies within %s, where nothing is to be changed", to, from)
		}
		if filepath.Dir(above) == above {
			return nil
		}
		above = filepath.Dir(above)
	}
}

func (r *rescue) tell(to string, report *salvage.Report, elapsed time.Duration) error {
	if err := r.print(to, report, elapsed); err != nil {
		return err
	}
	if !report.OK() {
		return exit.ErrShown
	}
	return nil
}

func (r *rescue) print(to string, report *salvage.Report, elapsed time.Duration) error {
	if r.console.JSON {
		losses := make([]json.RawMessage, 0, len(report.Losses)) // [] in JSON, not null
		for _, l := range report.Losses {
			losses = append(losses, lossJSON(l))
		}
		return r.console.PrintJSON(struct {
			OK      bool              `json:"ok"`
			Entries uint64            `json:"entries"`
			Losses  []json.RawMessage `json:"losses"`
		}{report.OK(), report.Entries, losses})
	}
	i := r.console.OutInk()
	for _, l := range report.Losses {
		r.console.Printf("%s\n", lossLine(i, l))
	}
	for _, note := range report.Notes {
		r.console.Printf("%s %s\n", i.Faint("note:"), note)
	}
	if len(report.Losses)+len(report.Notes) > 0 {
		r.console.Printf("\n")
	}
	certain := 0
	for _, l := range report.Losses {
		if !l.Doubtful {
			certain++
		}
	}
	verdict := i.Good("nothing is lost")
	switch doubts := len(report.Losses) - certain; {
	case certain > 0:
		verdict = i.Bad(units.Plural(certain, "loss", "losses")) + ", " + units.Plural(doubts, "doubt", "doubts")
	case doubts > 0:
		verdict = "no certain loss, " + i.Warm(units.Plural(doubts, "doubt", "doubts"))
	}
	r.console.Printf("rescued %s to %s in %s, which was verified; %s\n", units.Plural(report.Entries, "entry", "entries"), to, units.Span(elapsed), verdict)
	return nil
}

// lossJSON is a loss as an object.
func lossJSON(l salvage.Loss) []byte {
	object := map[string]any{"file": l.File, "offset": l.Offset, "detail": l.Detail, "first_seq": l.FirstSeq, "last_seq": l.LastSeq, "doubtful": l.Doubtful}
	if l.From != nil {
		text.JSONFields(object, "from", l.From)
	}
	if l.To != nil {
		text.JSONFields(object, "to", l.To)
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		panic("invariant: a loss consists of plain values: " + err.Error())
	}
	return encoded
}

// lossLine is a loss in a line.
func lossLine(i display.Ink, l salvage.Loss) string {
	what := i.Bad("lost")
	if l.Doubtful {
		what = i.Warm("doubtful")
	}
	return fmt.Sprintf("%s: %s: %s; %s, %s", what, i.Bold(exit.Place(l.File, l.Offset)), string(text.AppendEscaped(nil, []byte(l.Detail))), lostKeys(l), lostNumbers(l))
}

// shownBytes is how much of a key a line shows.
const shownBytes = 40

func shown(key []byte) string {
	if len(key) > shownBytes {
		return text.Quote(key[:shownBytes]) + "..."
	}
	return text.Quote(key)
}

func lostKeys(l salvage.Loss) string {
	switch {
	case l.From == nil && l.To == nil:
		return "all keys"
	case l.From == nil:
		return "keys up to " + shown(l.To)
	case l.To == nil:
		return "keys from " + shown(l.From)
	}
	return "keys " + shown(l.From) + " to " + shown(l.To)
}

func lostNumbers(l salvage.Loss) string {
	switch {
	case l.FirstSeq == 0 && l.LastSeq == 0:
		return "all sequence numbers"
	case l.LastSeq == 0:
		return "sequence numbers from " + units.Count(uint64(l.FirstSeq))
	case l.FirstSeq == l.LastSeq:
		return "sequence number " + units.Count(uint64(l.FirstSeq))
	}
	return strings.Join([]string{"sequence numbers", units.Count(uint64(l.FirstSeq)), "to", units.Count(uint64(l.LastSeq))}, " ")
}
