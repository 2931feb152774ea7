package access

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
	"lsmdb/internal/beside"
)

// Look finds the database in dir for a command that changes nothing in it. If another
// process has it open and serves it, that one is asked; else it is opened here, as Open
// does. The command's own merger and memory do not matter where another process is asked.
func Look(ctx context.Context, c *console.Console, dir string, how Mode) (beside.Reader, error) {
	if err := CheckDirectory(dir, how); err != nil {
		return nil, err
	}
	// Whoever opens a database or begins to serve it between the first two steps is found
	// by the third.
	served, unserved := beside.Dial(ctx, dir)
	if unserved == nil {
		return served, nil
	}
	database, locked := open(c, dir, how, nil)
	if locked == nil {
		return beside.Direct{DB: database}, nil
	}
	if !errors.Is(locked, db.ErrLocked) {
		return nil, locked
	}
	if errors.Is(unserved, fs.ErrNotExist) {
		if served, unserved = beside.Dial(ctx, dir); unserved == nil {
			return served, nil
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, unattached(locked, unserved)
}

// Page explains that a database is in use to a command that shows the live page of one at rest.
func Page(ctx context.Context, dir string, locked error) error {
	_, unserved := beside.Dial(ctx, dir)
	if unserved != nil {
		return unattached(locked, unserved)
	}
	inUse := *exit.Explain(locked)
	inUse.Sentence += fmt.Sprintf("; it is served by attach.Serve: \"lsmdb top %s\" shows it, and %s in its directory leads to its page", dir, beside.SocketName)
	return &inUse
}

// unattached says how commands could read beside the process that has the database open.
func unattached(locked, unserved error) error {
	inUse := *exit.Explain(locked)
	if errors.Is(unserved, fs.ErrNotExist) {
		inUse.Sentence += "; commands can read beside that process if it calls attach.Serve, which it does not"
	} else { // it does, but not for us
		inUse.Sentence += "; what it serves by attach.Serve cannot be reached: " + exit.Plain(unserved)
	}
	return &inUse
}
