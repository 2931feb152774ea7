// Package door leads tests behind the public API of db: to file systems of theirs,
// and to stages that are set up in ways that no option offers. Package db fills it
// in. Nothing but db, dbtest and tests may import it.
package door

import (
	"context"
	"io"

	"lsmdb/internal/vfs"
	"lsmdb/stages"
)

var (
	// Set makes the Open that gets options, a *db.Options, use a file system, and
	// change what its stages share before they run. Either may be nil.
	Set func(options any, fsys vfs.FS, tune func(*stages.Environment))

	// Sites has a *db.DB, which nobody uses yet, note of every iterator where it was opened.
	Sites func(db any)

	// Compact is what db.Compact does with all of a *db.DB when it has flushed.
	Compact func(db any) error

	// Restore is db.Restore on a file system.
	Restore func(ctx context.Context, r io.Reader, fsys vfs.FS, dir string) error

	// Verify is db.Verify on a file system; the report is a *db.VerifyReport.
	Verify func(fsys vfs.FS, dir string) (report any, err error)
)
