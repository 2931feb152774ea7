// Command lsmdb-import moves a database of another store into lsmdb.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"lsmdb/ext/importer"
)

func main() {
	if source := os.Getenv(probed); source != "" {
		probeAndExit(source)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func run(ctx context.Context, args []string, out, err io.Writer) int {
	var order importer.Order
	var asJSON, usage bool
	command := &cobra.Command{
		Use:   "lsmdb-import [--from KIND] [--json] SRC DST",
		Short: "Move a database of another store into lsmdb",
		Long: `Moves a database of another store into a new one of lsmdb.

SRC is a directory, or the file of bbolt. It is opened for reading only, stays as it is,
and must not be open elsewhere. DST must not exist, or be an empty directory. It is whole
when it appears: written by one sorted load, and compared with SRC entry by entry.

Values of Badger that will end keep their end; those that have ended are left out. Buckets
of bbolt become keyspaces: the output tells the prefix of each.`,
		Example: `  lsmdb-import old.bolt new
  lsmdb-import --from leveldb --json chaindata new`,
		SilenceUsage: true, SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			usage = len(args) != 2 || order.Kind != "" && !slices.Contains(importer.Kinds(), order.Kind)
			switch {
			case len(args) != 2:
				return fmt.Errorf("SRC and DST are needed, and nothing else: there are %d arguments", len(args))
			case usage:
				return fmt.Errorf("unknown kind %q: there are %s", order.Kind, strings.Join(importer.Kinds(), ", "))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			order.Source, order.Destination = args[0], args[1]
			if flaw := probe(c.Context(), order.Kind, order.Source); flaw != nil {
				return flaw
			}
			end := show(&order, err)
			result, failure := importer.Import(c.Context(), order)
			end()
			if failure != nil {
				return failure
			}
			if asJSON {
				return json.NewEncoder(out).Encode(result)
			}
			return tell(out, result, order.Destination)
		},
	}
	command.Flags().StringVar(&order.Kind, "from", "", "kind of SRC: "+strings.Join(importer.Kinds(), ", ")+" (default: what its files say)")
	command.Flags().BoolVar(&asJSON, "json", false, "print the result as one line of JSON")
	command.SetFlagErrorFunc(func(_ *cobra.Command, flaw error) error { usage = true; return flaw })
	command.SetArgs(args)
	command.SetOut(out)
	command.SetErr(err)
	command.CompletionOptions.DisableDefaultCmd = true
	failure := command.ExecuteContext(ctx)
	switch {
	case failure == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(err, "lsmdb-import: interrupted, nothing was written")
		return exitInterrupted
	}
	fmt.Fprintln(err, "lsmdb-import:", failure)
	if errors.Is(failure, importer.ErrDestination) {
		fmt.Fprintln(err, "Name a directory that does not exist.")
	}
	if usage {
		fmt.Fprintln(err, "usage:", command.UseLine(), "(more: --help)")
		return exitUsage
	}
	return exitFailed
}

// probed names the variable that makes this program open a source of Badger and no more.
const probed = "LSMDB_IMPORT_PROBE"

// probe opens a source of Badger in a process of its own, because Badger ends the process where
// it finds damage, in a goroutine that nobody else can guard. The error is the beginning of what it said.
func probe(ctx context.Context, kind, source string) error {
	if kind == "" {
		kind, _ = importer.Detect(source) // Import says what is wrong
	}
	if kind != importer.Badger {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	child := exec.CommandContext(ctx, self)
	child.Env = append(os.Environ(), probed+"="+source)
	said, err := child.CombinedOutput()
	if err == nil {
		return nil
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(string(said), "panic: "), "\n")
	return fmt.Errorf("open %s as badger: %s", source, cmp.Or(strings.TrimSpace(line), err.Error()))
}

// probeAndExit is the whole work of the process that probe starts.
func probeAndExit(source string) {
	if err := importer.Probe(importer.Badger, source); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
	os.Exit(0)
}

// show has the progress drawn on a terminal. end takes it away again.
func show(order *importer.Order, err io.Writer) (end func()) {
	terminal, ok := err.(*os.File)
	if !ok {
		return func() {}
	}
	if info, err := terminal.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func() {}
	}
	bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(terminal), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("entries"), progressbar.OptionSpinnerType(14), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100e6))
	order.Progress = func(step string, entries int64) {
		if bar.State().Description != step {
			bar.Describe(step)
		}
		_ = bar.Set64(entries)
	}
	return func() { _ = bar.Finish() }
}

// tell prints the result for people.
func tell(out io.Writer, r importer.Result, destination string) error {
	_, err := fmt.Fprintf(out, "%d entries of %s are in %s, each compared with its source\n", r.Entries, r.Kind, destination)
	for _, k := range r.Keyspaces {
		if err == nil {
			_, err = fmt.Fprintf(out, "bucket %s has the prefix %q\n", path(k.Path), k.Prefix)
		}
	}
	return err
}

func path(names [][]byte) string {
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	return strings.Join(quoted, " / ")
}
