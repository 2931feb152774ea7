package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"gocloud.dev/blob"

	"lsmdb/db"
	"lsmdb/internal/beside"
)

// ErrLost is the error of RunAttached and OnceAttached when the other process ends, or closes
// the database.
var ErrLost = beside.ErrLost

// RunAttached is Run for the database in dir, which another process on this machine has open
// and serves by db/attach. What that writes with NoSync or Queued it sees when something
// syncs. Errors are those of Run, fs.ErrNotExist if nobody serves, and ErrLost.
func RunAttached(ctx context.Context, dir string, bucket *blob.Bucket, o *Options) error {
	a, err := dial(ctx, dir)
	if err != nil {
		return err
	}
	return errors.Join(run(ctx, a, store{bucket}, o.resolved()), a.client.Close())
}

// OnceAttached is Once for the database in dir, as RunAttached is Run. The other process links
// the tables into a directory beside dir, which is removed in the end.
func OnceAttached(ctx context.Context, dir string, bucket *blob.Bucket, o *Options) (*Report, error) {
	a, err := dial(ctx, dir)
	if err != nil {
		return nil, err
	}
	r, err := once(ctx, a, store{bucket}, o.resolved())
	return r, errors.Join(err, a.client.Close())
}

// attached is a database of another process.
type attached struct {
	client *beside.Client
	dir    string
	known  *memory
}

func dial(ctx context.Context, dir string) (*attached, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	client, err := beside.Dial(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("lsmdb: backup: attach to %s: %w", dir, err)
	}
	return &attached{client, dir, newMemory()}, nil
}

func (a *attached) memory() *memory { return a.known }

// settle does nothing: nobody writes through the socket.
func (a *attached) settle(context.Context) (uint64, error) { return 0, nil }

func (a *attached) changes(ctx context.Context, after uint64) iter.Seq2[db.Change, error] {
	return a.client.Changes(ctx, after)
}

// checkpoint has the other process make a copy. Beside the database it consists of links,
// which take no room and no time.
func (a *attached) checkpoint(ctx context.Context) (copied, error) {
	pattern := "." + filepath.Base(a.dir) + ".backup-"
	dir, err := os.MkdirTemp(filepath.Dir(a.dir), pattern)
	if err != nil {
		dir, err = os.MkdirTemp("", pattern)
	}
	if err != nil {
		return nil, err
	}
	made, err := a.client.Checkpoint(ctx, dir)
	l := &linked{dir: dir, seq: made.Sequence}
	if err == nil {
		err = l.list()
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// linked is a checkpoint in a directory that goes with it.
type linked struct {
	dir   string
	seq   uint64
	files []db.CheckpointFile
	open  []*os.File
}

func (l *linked) list() error {
	entries, err := os.ReadDir(l.dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		l.files = append(l.files, db.CheckpointFile{Name: e.Name(), Bytes: info.Size()})
	}
	return err
}

// Seq is that of a db.Checkpoint.
func (l *linked) Seq() uint64 { return l.seq }

// Files is that of a db.Checkpoint.
func (l *linked) Files() iter.Seq[db.CheckpointFile] {
	return func(yield func(db.CheckpointFile) bool) {
		for _, f := range l.files {
			if !yield(f) {
				return
			}
		}
	}
}

// Open is that of a db.Checkpoint. At most one file is open.
func (l *linked) Open(name string) (*io.SectionReader, error) {
	l.closeFiles()
	f, err := os.Open(filepath.Join(l.dir, name))
	if err != nil {
		return nil, err
	}
	l.open = append(l.open, f)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(f, 0, info.Size()), nil
}

func (l *linked) closeFiles() {
	for _, f := range l.open {
		_ = f.Close()
	}
	l.open = nil
}

// Close removes the directory.
func (l *linked) Close() error {
	l.closeFiles()
	return os.RemoveAll(l.dir)
}

// Served reports whether a process serves the database in dir.
func Served(ctx context.Context, dir string) bool {
	a, err := dial(ctx, dir)
	return err == nil && a.client.Close() == nil
}
