package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
)

// run executes one command line on a console and returns the exit code.
func run(ctx context.Context, args []string, c *console) int {
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if settled := new(failure); !c.started && !errors.As(err, &settled) {
		err = excluding(err)
	}
	return c.report(err)
}

// setTogether matches cobra's error for flags that exclude each other.
var setTogether = regexp.MustCompile(`; \[(.+)\] were all set$`)

// excluding is cobra's error for such flags in the words of this command.
func excluding(err error) error {
	if set := setTogether.FindStringSubmatch(err.Error()); set != nil {
		return usagef("--%s: only one of them", strings.ReplaceAll(set[1], " ", " and --"))
	}
	return usagef("%v", err)
}

const rootHelp = `lsmdb is an embedded, crash-safe, ordered key-value store. This command shows it
at work, operates databases by hand and looks into their files.

Start with "lsmdb tour": it needs no arguments, and everything it makes is
removed again.

A database is a directory. put, load and shell create it where it is missing;
every other command wants an existing one. Reading commands write nothing to it.

Keys and values are given as plain text. --escaped, --hex and --base64 read the
arguments in that form, and results come in the same form. Plain results are
escaped: \\ \t \n \r, and \xHH for every byte that is not printable UTF-8, so
that each key and value has exactly one line; --escaped reads them back. A key or
value that begins with "-" goes behind "--": lsmdb put mydata -- balance -5`

// newRoot builds the tree of commands on a console.
func newRoot(c *console) *cobra.Command {
	cobra.EnableCommandSorting = false // the help lists them as they are added
	root := &cobra.Command{
		Use:                        "lsmdb",
		Short:                      "An embedded, crash-safe, ordered key-value store",
		Long:                       rootHelp + "\n\n" + exitHelp(exitOK, exitFailure, exitUsage, exitNotFound, exitNoDatabase, exitInUse, exitNewer, exitInterrupted),
		Version:                    version(),
		Example:                    "  lsmdb tour\n  lsmdb shell mydata\n  lsmdb put mydata fruit/apple red\n  lsmdb scan mydata fruit/",
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		Args:                       wrongCommand,
		PersistentPreRun: func(*cobra.Command, []string) {
			if c.verbose { // the stages write events there while this command writes progress
				c.err = zerolog.SyncWriter(c.err)
			}
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolVar(&c.json, "json", false, "write results, and errors, as JSON")
	root.PersistentFlags().BoolVarP(&c.verbose, "verbose", "v", false, "write the database's events to standard error")
	root.SetFlagErrorFunc(wrongFlag)
	root.AddGroup(
		&cobra.Group{ID: "start", Title: "To start with:"},
		&cobra.Group{ID: "data", Title: "Data:"},
		&cobra.Group{ID: "care", Title: "Care and diagnosis:"},
	)
	addTo(root, "start", newTour(c), newShell(c))
	addTo(root, "data", newPut(c), newGet(c), newDelete(c), newScan(c), newLoad(c), newDump(c))
	addTo(root, "care", newStats(c), newCompact(c), newVerify(c), newInspect(c))
	root.AddCommand(newTourChild(c))
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
	return usagef("%s has no command %q%s", cmd.CommandPath(), args[0], hint)
}

// wrongFlag is the error for a flag that is unknown or malformed. A word that was
// meant as a key or value looks like one when it begins with a dash.
func wrongFlag(_ *cobra.Command, err error) error {
	wrong := usagef("%v", err)
	if settled := new(failure); errors.As(wrong, &settled) {
		settled.hint += "; what begins with \"-\" and is no flag goes behind \"--\""
	}
	return wrong
}

// arguments accepts between least and most arguments (most < 0: any number).
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usagef("%s wants other arguments: %s", cmd.CommandPath(), cmd.UseLine())
		}
		return nil
	}
}

// interruptible makes work a command's RunE, with a context that a signal ends.
func (c *console) interruptible(work func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.started = true
		ctx, stop := untilInterrupted(cmd.Context())
		defer stop()
		err := work(ctx, args)
		if err != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
			interrupted := *explain(context.Canceled)
			if settled := new(failure); errors.As(err, &settled) { // says what was kept
				interrupted = *settled
			}
			return &interrupted
		}
		return err
	}
}
