// Package serve shows the page of a database to browsers on this machine, and to nobody else.
package serve

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
)

// serve shows the page of a database at rest.
type serve struct {
	console *console.Console
	port    int
}

// New makes the subcommand.
func New(c *console.Console) *cobra.Command {
	s := &serve{console: c}
	cmd := &cobra.Command{
		Use:   "serve DIR",
		Short: "Show a database in a browser",
		Long: `Open a database that nobody else has open, and show it in a browser: the tree table by
table, what opening found, space by prefix, and where a key is. The address that is
printed works on this machine only, and holds a word that nobody can guess. It ends
with an interrupt.

Nothing is written to DIR. Other processes may read the database meanwhile, and none
can write to it. A program that wants to be looked at while it works mounts the same
page by itself: see package db/debug. "lsmdb tour --serve" shows a database at work.

` + exit.Help(exit.OK, exit.Failed, exit.Usage, exit.NoDatabase, exit.InUse, exit.Newer),
		Example: `  lsmdb serve mydata
  lsmdb serve mydata --port 8080`,
		Args: console.Arguments(1, 1),
		RunE: c.Interruptible(s.run),
	}
	cmd.Flags().IntVar(&s.port, "port", 0, "the port to listen on (default: a free one)")
	return cmd
}

func (s *serve) run(ctx context.Context, args []string) (err error) {
	if s.port < 0 || s.port > 65535 {
		return exit.Usagef("--port does not take %d", s.port)
	}
	database, err := access.Open(s.console, args[0], access.Reading, nil)
	if errors.Is(err, db.ErrLocked) {
		return access.Page(ctx, args[0], err)
	}
	if err != nil {
		return err
	}
	defer access.Closing(database, &err)
	page, err := Show(database, s.port)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, page.Close()) }()
	if err := page.Announce(s.console); err != nil {
		return err
	}
	return page.Until(ctx)
}
