// Package door leads behind the public API of db: tests to file systems of theirs, and to
// stages that are set up in ways that no option offers; and what serves a database to the
// moment when that is closed. Package db fills it in. Nothing but db, db/attach, db/dbtest
// and tests may import it.
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

	// Receive makes a *db.DB tell a guest when it closes, and returns the directory, which
	// is one of the operating system, and where events go. There is one guest at a time.
	Receive func(db any, g *Guest) (dir string, events io.Writer, err error)

	// Dismiss ends what Receive began.
	Dismiss func(db any, g *Guest)
)

// Guest is what serves a database that others have opened. Close calls both methods, also
// when Receive has not returned yet.
type Guest struct {
	Leave func() // first of all, while the database is still locked; it must not wait
	Gone  func() // last of all; it waits until nothing of the guest runs
}
