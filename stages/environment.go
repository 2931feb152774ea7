package stages

import (
	"cmp"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// Environment is what all stages of one database share. Nothing in it changes
// after Start, and what moves (Numbers, Cache, Stats, Files) is safe for
// concurrent use.
type Environment struct {
	FS            vfs.FS
	Dir           string
	DatabaseID    uint64
	MemtableBytes int64 // a memtable is sealed when it holds about this much
	Policy        compactor.Policy
	Workers       int           // compactions at a time, at least 1
	IdleDelay     time.Duration // without a write, after which the house is idle; 0: a second
	Tables        sstable.WriterOptions
	Cache         *sstable.Cache
	Stats         *sstable.Stats
	Files         *sstable.OpenFiles
	Numbers       *FileNumbers
	Logger        zerolog.Logger
}

// idleDelay returns IdleDelay or its default.
func (e *Environment) idleDelay() time.Duration { return cmp.Or(e.IdleDelay, time.Second) }

// FileNumbers hands out the numbers of files. One counter serves all types of
// files, and a number is never handed out twice.
type FileNumbers struct{ next atomic.Uint64 }

// NewFileNumbers returns a counter whose first number is next.
func NewFileNumbers(next uint64) *FileNumbers {
	n := &FileNumbers{}
	n.next.Store(next)
	return n
}

// Next hands out a number.
func (n *FileNumbers) Next() uint64 { return n.next.Add(1) - 1 }

// Peek returns the number that Next would hand out.
func (n *FileNumbers) Peek() uint64 { return n.next.Load() }

// Attach gives a table of the tree its handle, unless it has one.
func (e *Environment) Attach(t *manifest.TableMeta) {
	if t.Handle != nil {
		return
	}
	t.Handle = sstable.NewHandle(e.FS, base.TablePath(e.Dir, t.Number), sstable.ReaderOptions{
		SizeBytes: t.SizeBytes,
		Identity:  t.Identity,
		Cache:     e.Cache,
		Stats:     e.Stats,
	}, e.Files)
}

// Output is where flushes and compactions write their tables.
func (e *Environment) Output() output.Environment {
	return output.Environment{
		FS:         e.FS,
		Dir:        e.Dir,
		NextNumber: e.Numbers.Next,
		DatabaseID: e.DatabaseID,
		Writer:     e.Tables,
	}
}

// removeTables deletes the tables that an edit would have added to the tree, but
// not those it only would have moved. What cannot be deleted now is unlisted, so the
// next open removes it.
func (e *Environment) removeTables(edit *manifest.Edit) {
	for _, a := range edit.Added {
		if a.Meta.Handle != nil {
			continue // it is in the tree already
		}
		path := base.TablePath(e.Dir, a.Meta.Number)
		if err := e.FS.Remove(path); err != nil {
			e.Logger.Warn().Str("file", filepath.Base(path)).Err(err).Msg("an unused table stays until the next open")
		}
	}
}
