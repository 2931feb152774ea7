// Package access opens databases for the subcommands, or says why not, and has what
// several of them do with one.
package access

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/beside"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// Mode says what a command wants from a database.
type Mode int

const (
	Reading  Mode = iota // must exist; nothing is written to the directory
	Writing              // must exist
	Creating             // is created where it is missing
)

// Open opens the database in dir. tune, if not nil, adjusts the options. The
// library would create a database among somebody's files and make missing
// parents; a command line, where names are mistyped, refuses both.
func Open(c *console.Console, dir string, how Mode, tune func(*db.Options)) (*db.DB, error) {
	if err := CheckDirectory(dir, how); err != nil {
		return nil, err
	}
	return open(c, dir, how, tune)
}

// open is Open for a directory that was checked.
func open(c *console.Console, dir string, how Mode, tune func(*db.Options)) (*db.DB, error) {
	options := &db.Options{
		MemtableBytes: c.MemtableBytes,
		ReadOnly:      how == Reading,
		MustExist:     how != Creating,
		Logger:        c.Logger(),
	}
	if how != Reading {
		options.KeepChangesBytes = keptLogs(dir)
	}
	if tune != nil {
		tune(options)
	}
	if err := chooseMerger(dir, options); err != nil {
		return nil, err
	}
	database, err := db.Open(dir, options)
	if err != nil {
		return nil, ExplainOpen(dir, err)
	}
	return database, nil
}

// keptLogs is how much a database keeps of its log for those who follow the changes, and as much
// again as a command may add: what their program has kept stays. 0: it keeps nothing.
func keptLogs(dir string) (sizeBytes int64) {
	current, err := manifest.ReadCurrent(vfs.OS, dir)
	if err != nil {
		return 0 // what is wrong is told when it is opened
	}
	state, _, err := manifest.Load(vfs.OS, dir, current.Manifest)
	entries, _ := os.ReadDir(dir)
	kept := false
	for _, entry := range entries {
		if kind, number := base.ParseFileName(entry.Name()); kind == base.FileWAL {
			kept = kept || number < state.OldestWAL
			if info, err := entry.Info(); err == nil {
				sizeBytes += info.Size()
			}
		}
	}
	const more = 64 << 20
	if err != nil || !kept {
		return 0
	}
	return sizeBytes + more
}

// Closing closes a database at the end of a command and keeps the first error.
func Closing(database io.Closer, err *error) {
	if closeErr := database.Close(); *err == nil {
		*err = closeErr
	}
}

// CheckDirectory answers the mistakes that a look at the directory reveals.
func CheckDirectory(dir string, how Mode) error {
	if dir == "" { // an unset variable of a script; the library would take the working directory
		return exit.Usagef("the name of the directory is empty")
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && how != Creating:
		return exit.Failf(exit.NoDatabase, "no such directory: %s", dir)
	case errors.Is(err, fs.ErrNotExist):
		return CheckParent(dir)
	case err != nil:
		return err
	case !info.IsDir():
		return &exit.Error{Code: exit.NoDatabase, Sentence: dir + " is a file; a database is a directory", Hint: inspectHint(dir)}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	ours, stranger := sortOut(entries)
	switch {
	case ours:
		return checkKinship(dir)
	case stranger != "":
		return exit.Failf(exit.NoDatabase, "%s holds something else (for example %s), not an lsmdb database", dir, stranger)
	case how != Creating:
		return exit.Failf(exit.NoDatabase, "%s is empty, there is no database in it", dir)
	}
	return nil
}

// CheckParent refuses to create dir where its parent is missing.
func CheckParent(dir string) error {
	parent := filepath.Dir(filepath.Clean(dir))
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		return &exit.Error{Code: exit.NoDatabase, Sentence: "no such directory: " + parent,
			Hint: "the directory of a database is created where it is missing, its parent is not"}
	}
	return nil
}

// sortOut tells whether a directory has files of a database, and names a file
// that is none of ours. A lone LOCK or temporary is what a creation that was
// interrupted leaves behind: neither the one nor the other. Nor is a socket.
func sortOut(entries []fs.DirEntry) (ours bool, stranger string) {
	for _, entry := range entries {
		switch kind, _ := base.ParseFileName(entry.Name()); kind {
		case base.FileOther:
			if stranger == "" && entry.Name() != beside.SocketName {
				stranger = entry.Name()
			}
		case base.FileLock, base.FileTemporary:
		default:
			ours = true
		}
	}
	return ours, stranger
}

// checkKinship recognises the directories of LevelDB, RocksDB and Pebble, whose
// file names are like ours.
func checkKinship(dir string) error {
	current, err := os.ReadFile(filepath.Join(dir, base.CurrentName))
	if err == nil && len(current) < 64 && len(current) > 9 && string(current[:9]) == "MANIFEST-" {
		return exit.Failf(exit.NoDatabase, "%s holds something else: it looks like a LevelDB or RocksDB database", dir)
	}
	return nil
}

// inspectHint is what to do with a file of a database.
func inspectHint(path string) string {
	switch kind, _ := base.ParseFileName(filepath.Base(path)); kind {
	case base.FileWAL:
		return fmt.Sprintf("to look into it: lsmdb inspect wal %s", path)
	case base.FileTable:
		return fmt.Sprintf("to look into it: lsmdb inspect table %s", path)
	case base.FileManifest:
		return fmt.Sprintf("to look into it: lsmdb inspect manifest %s", path)
	}
	return ""
}

// ExplainOpen puts the directory into the errors that do not name it.
func ExplainOpen(dir string, err error) error {
	switch {
	case errors.Is(err, db.ErrLocked):
		return &exit.Error{Code: exit.InUse, Cause: err,
			Sentence: dir + " is in use: " + strings.TrimPrefix(exit.Plain(err), exit.Plain(db.ErrLocked)+": "),
			Hint:     "only one process at a time may have a database open for writing; several may read it"}
	case errors.Is(err, fs.ErrNotExist) && !errors.Is(err, db.ErrCorrupt):
		return &exit.Error{Code: exit.NoDatabase, Cause: err, Sentence: fmt.Sprintf("no database in %s: %s", dir, exit.Plain(err))}
	}
	return err
}
