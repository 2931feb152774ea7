// Package command is the tree of subcommands. The simple ones live here, each in the
// file of its name; tour, shell and inspect have packages of their own.
package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/insight"
	"lsmdb/cmd/lsmdb/internal/inspect"
	"lsmdb/cmd/lsmdb/internal/serve"
	"lsmdb/cmd/lsmdb/internal/shell"
	"lsmdb/cmd/lsmdb/internal/top"
	"lsmdb/cmd/lsmdb/internal/tour"
)

// Run executes one command line on a console and returns the exit code.
func Run(ctx context.Context, args []string, c *console.Console) int {
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(c.In)
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	err := cmp.Or(root.ExecuteContext(ctx), c.Unwritten())
	if err == nil {
		return exit.OK
	}
	if settled := new(exit.Error); !c.Started && !errors.As(err, &settled) {
		err = excluding(err)
	}
	return c.Report(err)
}

// setTogether matches cobra's error for flags that exclude each other.
var setTogether = regexp.MustCompile(`; \[(.+)\] were all set$`)

// excluding is cobra's error for such flags in the words of this command.
func excluding(err error) error {
	if set := setTogether.FindStringSubmatch(err.Error()); set != nil {
		return exit.Usagef("--%s: only one of them", strings.ReplaceAll(set[1], " ", " and --"))
	}
	return exit.Usagef("%v", err)
}

const rootHelp = `lsmdb is an embedded, crash-safe, ordered key-value store. This command shows it
at work, operates databases by hand and looks into their files.

Start with "lsmdb tour": it needs no arguments, and everything it makes is
removed again.

A database is a directory. put, merge, load, shell and restore create it where it is
missing; every other command wants an existing one. Reading commands write nothing to
it, and work beside a program that has it open, if that calls attach.Serve.

Keys and values are given as plain text. --escaped, --hex and --base64 read the
arguments in that form, and results come in the same form. Plain results are
escaped: \\ \t \n \r, and \xHH for every byte that is not printable UTF-8, so
that each key and value has exactly one line; --escaped reads them back. A key or
value that begins with "-" goes behind "--": lsmdb put mydata -- balance -5`

// newRoot builds the tree of commands on a console.
func newRoot(c *console.Console) *cobra.Command {
	cobra.EnableCommandSorting = false // the help lists them as they are added
	root := &cobra.Command{
		Use:                        "lsmdb",
		Short:                      "An embedded, crash-safe, ordered key-value store",
		Long:                       rootHelp + "\n\n" + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NotFound, exit.NoDatabase, exit.InUse, exit.Newer, exit.Interrupted),
		Version:                    version(),
		Example:                    "  lsmdb tour\n  lsmdb shell mydata\n  lsmdb put mydata fruit/apple red\n  lsmdb scan mydata fruit/",
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		Args:                       wrongCommand,
		PersistentPreRun: func(*cobra.Command, []string) {
			if c.Verbose { // the stages write events there while this command writes progress
				c.Err = zerolog.SyncWriter(c.Err)
			}
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolVar(&c.JSON, "json", false, "write results, and errors, as JSON")
	root.PersistentFlags().BoolVarP(&c.Verbose, "verbose", "v", false, "write the database's events to standard error")
	root.SetFlagErrorFunc(wrongFlag)
	root.AddGroup(
		&cobra.Group{ID: "start", Title: "To start with:"},
		&cobra.Group{ID: "data", Title: "Data:"},
		&cobra.Group{ID: "care", Title: "Care and diagnosis:"},
	)
	addTo(root, "start", tour.New(c), shell.New(c))
	addTo(root, "data", newPut(c), newGet(c), newDelete(c), newDeleteRange(c), newMerge(c), newScan(c), newLoad(c), newDump(c))
	addTo(root, "care", newStats(c), top.New(c), serve.New(c), insight.NewExplain(c), insight.NewSpace(c), insight.NewPins(c), newCompact(c), newCheckpoint(c), newBackup(c), newRestore(c), newVerify(c), newSalvage(c), inspect.New(c))
	root.AddCommand(tour.NewChild(c))
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		RunE: func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = wrongCommand(about, rest)
			}
			if err != nil {
				return err
			}
			return about.Help()
		},
	})
	return root
}

// version names the commit or tag that was built, as far as the compiler knew it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version + ", " + info.GoVersion
}

func addTo(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, command := range commands {
		command.GroupID = group
		root.AddCommand(command)
	}
}

// wrongCommand names what was taken for a subcommand and is none.
func wrongCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if close := cmd.SuggestionsFor(args[0]); len(close) > 0 {
		hint = fmt.Sprintf("; did you mean %q?", close[0])
	}
	return exit.Usagef("%s has no command %q%s", cmd.CommandPath(), args[0], hint)
}

// wrongFlag is the error for a flag that is unknown or malformed. A word that was
// meant as a key or value looks like one when it begins with a dash.
func wrongFlag(_ *cobra.Command, err error) error {
	if value := new(pflag.InvalidValueError); errors.As(err, &value) {
		return exit.Usagef("--%s does not take %q", value.GetFlag().Name, value.GetValue())
	}
	wrong := exit.Usagef("%v", err)
	if settled := new(exit.Error); errors.As(wrong, &settled) {
		settled.Hint += "; what begins with \"-\" and is no flag goes behind \"--\""
	}
	return wrong
}
