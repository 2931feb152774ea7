package console

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/exit"
)

// Arguments accepts between least and most arguments (most < 0: any number).
func Arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return exit.Usagef("%s wants other arguments: %s", cmd.CommandPath(), cmd.UseLine())
		}
		return nil
	}
}

// Interruptible makes work a command's RunE, with a context that a signal ends.
func (c *Console) Interruptible(work func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.Started = true
		ctx, stop := UntilInterrupted(cmd.Context())
		defer stop()
		err := work(ctx, args)
		if err != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
			interrupted := *exit.Explain(context.Canceled)
			if settled := new(exit.Error); errors.As(err, &settled) { // says what was kept
				interrupted = *settled
			}
			return &interrupted
		}
		return err
	}
}
