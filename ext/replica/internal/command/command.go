// Package command is the command lsmdb-node.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"lsmdb/db"
	"lsmdb/ext/replica/internal/demo"
)

// Exit codes, which the help documents.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInUse       = 5
	exitInterrupted = 130
)

const rootHelp = `lsmdb-node runs a node of a replicated database: three of them keep the same data,
and go on when one dies.

Start with "lsmdb-node demo": it needs no arguments, and everything it makes is removed
again.

Nothing listens on anything but 127.0.0.1 unless you say so, and then only with TLS.

Exit codes:
  0    done
  1    failed
  2    the command line is wrong
  5    another process has the directory open
  130  interrupted`

// usage is an error of the command line.
type usage struct{ error }

// Run executes one command line and returns the exit code.
func Run(ctx context.Context, args []string, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(out, errs)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitFailed
	switch {
	case errors.As(err, new(usage)):
		code = exitUsage
	case errors.Is(err, context.Canceled):
		code, err = exitInterrupted, errors.New("interrupted")
	case errors.Is(err, db.ErrLocked):
		code = exitInUse
	}
	fmt.Fprintln(errs, "lsmdb-node:", err)
	if code == exitUsage {
		fmt.Fprintln(errs, "--help, after the subcommand, explains")
	}
	return code
}

func newRoot(out, errs io.Writer) *cobra.Command {
	cobra.EnableCommandSorting = false
	root := &cobra.Command{
		Use: "lsmdb-node", Short: "A node of a replicated lsmdb database", Long: rootHelp,
		Example:      "  lsmdb-node demo\n  lsmdb-node serve --id a --dir a --member a=127.0.0.1:7401 --listen 127.0.0.1:7401",
		SilenceUsage: true, SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage{fmt.Errorf("there is no command %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(out)
	root.SetErr(errs)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage{err} })
	root.AddCommand(newDemo(out), newServe(out, errs))
	return root
}

// noArguments refuses arguments that are no flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage{fmt.Errorf("%s takes no arguments, but got %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

const demoHelp = `Three nodes run as processes of their own on 127.0.0.1 and take the files of a Go
source tree, each acknowledged when two of them have it on disk. The one that leads is
killed without warning, and another one goes on. The dead one comes back, and catches up
from a checkpoint. Then every file that was acknowledged is read from every node and
compared. A picture shows what happened. It takes less than a minute.`

func newDemo(out io.Writer) *cobra.Command {
	o := demo.Options{Out: out}
	cmd := &cobra.Command{
		Use: "demo", Short: "Three nodes, one of them killed: a demonstration on real data", Long: demoHelp,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Files < 30 {
				return usage{fmt.Errorf("--files is %d, and should be at least 30", o.Files)}
			}
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Data, "data", "", "directory with files to load (default: the source of the Go that is installed)")
	cmd.Flags().IntVar(&o.Files, "files", 3000, "how many files to load at most")
	cmd.Flags().StringVar(&o.Keep, "keep", "", "directory for the nodes that stays (default: a temporary one)")
	return cmd
}
