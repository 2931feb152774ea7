// Package checkpoint writes the files of a database as of one instant to somewhere else:
// into a directory (Files.Link) or a stream (Files.WriteTo), from which Restore makes a
// directory again. docs/format-checkpoint.md describes the stream.
//
// A checkpoint is the tables of one version of the tree, a MANIFEST that lists them, and a
// CURRENT that names it. There is no log, since all that was written lies in the tables.
// Everything is plain, synchronous code; Files are safe for concurrent use.
package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// Files are the files of one checkpoint. Whoever made it keeps the tables.
type Files struct {
	source  *output.Directory
	list    []file // tables by number, the MANIFEST, CURRENT
	current manifest.Current
}

// file is one of them.
type file struct {
	name      string // without directory
	sizeBytes int64
	contents  io.ReaderAt
	table     *manifest.TableMeta // nil: it is none
}

// New describes the checkpoint of a state, whose LastSeq is that of the newest write in it.
// Its numbers of files need not be set.
func New(source *output.Directory, state manifest.State) (*Files, error) {
	number := uint64(1) // of the MANIFEST: behind all tables
	f := &Files{source: source}
	for _, t := range slices.Concat(state.Version.Levels[:]...) {
		if t.LargestSeq > state.LastSeq {
			return nil, fmt.Errorf("invariant: a checkpoint at sequence number %d with %s", state.LastSeq, t)
		}
		number = max(number, t.Number+1)
		f.list = append(f.list, file{base.TableName(t.Number), t.SizeBytes, contents{t}, t})
	}
	slices.SortFunc(f.list, func(a, b file) int { return cmp.Compare(a.table.Number, b.table.Number) })
	f.current, state.NextFile = manifest.Current{Manifest: number}, number+1
	mem := vfs.NewMem()
	log, err := manifest.CreateLog(mem, "", number, state)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	name, current := base.ManifestName(number), f.current.Encode()
	written, err := mem.Open(name)
	f.list = append(f.list, file{name, log.Offset(), written, nil}, // zeros follow
		file{base.CurrentName, int64(len(current)), bytes.NewReader(current), nil})
	return f, err
}

// All yields the names, without directory, and the sizes of the files in the order of the
// stream: the tables, the MANIFEST, CURRENT.
func (f *Files) All(yield func(name string, sizeBytes int64) bool) {
	for _, file := range f.list {
		if !yield(file.name, file.sizeBytes) {
			return
		}
	}
}

// Link makes the database of the checkpoint in dir, which must be absent or empty, out of
// second names for the tables where the system can do that, else of copies. After an error
// it is absent or empty again. An end of ctx is seen between two files, and between two
// pieces of one that is copied.
func (f *Files) Link(ctx context.Context, fsys vfs.FS, dir string) error {
	d, err := NewDirectory(fsys, dir)
	if err != nil {
		return err
	}
	for _, file := range f.list[:len(f.list)-1] {
		if err = cmp.Or(err, ctx.Err()); err == nil {
			err = f.link(ctx, d, file)
		}
	}
	if err == nil {
		err = d.Commit(f.current)
	}
	return d.End(err)
}

// link makes one file. The contents of a table were synced before a MANIFEST listed it: only
// a copy has to be synced.
func (f *Files) link(ctx context.Context, d *Directory, file file) error {
	path := filepath.Join(d.dir, file.name)
	if file.table == nil || f.source.FS.Link(filepath.Join(f.source.Dir, file.name), path) != nil {
		return d.write(file.name, func(w io.Writer) error { return file.copyTo(ctx, w) })
	}
	d.Made = append(d.Made, file.name)
	info, err := d.Stat(path) // by the directory that is locked: the link was made by path
	if err == nil && info.SizeBytes != file.sizeBytes {
		err = base.Corruptf(path, -1, "has %d bytes, the MANIFEST says %d", info.SizeBytes, file.sizeBytes)
	}
	return err
}

// copyTo writes the contents to w.
func (f file) copyTo(ctx context.Context, w io.Writer) error {
	return transfer(ctx, w, io.NewSectionReader(f.contents, 0, f.sizeBytes))
}

// contents are those of a table.
type contents struct{ *manifest.TableMeta }

func (c contents) ReadAt(p []byte, offset int64) (n int, err error) {
	if err = c.Handle.ReadAt(p, offset); err == nil {
		n = len(p)
	}
	return n, err
}

// chunkBytes is how much of a file is in memory at a time.
const chunkBytes = 256 << 10

// transfer copies everything, unless ctx ends between two pieces.
func transfer(ctx context.Context, w io.Writer, r io.Reader) error {
	_, err := io.CopyBuffer(w, interruptible{ctx, r}, make([]byte, chunkBytes))
	return err
}

// interruptible is a reader that ends with a context.
type interruptible struct {
	ctx  context.Context
	from io.Reader
}

// Read implements io.Reader.
func (r interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}
