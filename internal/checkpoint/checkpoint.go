// Package checkpoint writes the files of a database as of one instant to somewhere else:
// into a directory (Files.Link) or a stream (Files.WriteTo), from which Restore makes a
// directory again. docs/format-checkpoint.md describes the stream.
//
// A checkpoint is the tables of one version of the tree, a MANIFEST that lists them, and a
// CURRENT that names it. There is no log, since all that was written lies in the tables.
// Everything is plain, synchronous code; Files are safe for concurrent use.
package checkpoint

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// Files are the files of one checkpoint. Whoever made it keeps the tables.
type Files struct {
	source   *output.Directory
	tables   []*manifest.TableMeta // by number
	current  manifest.Current
	manifest []byte
}

// New describes the checkpoint of a state, whose LastSeq is that of the newest write in it.
// Its numbers of files need not be set.
func New(source *output.Directory, state manifest.State) (*Files, error) {
	f := &Files{source: source, current: manifest.Current{Manifest: 1}}
	for _, tables := range state.Version.Levels {
		f.tables = append(f.tables, tables...)
	}
	slices.SortFunc(f.tables, func(a, b *manifest.TableMeta) int { return cmp.Compare(a.Number, b.Number) })
	for _, t := range f.tables {
		f.current.Manifest = t.Number + 1
		if t.LargestSeq > state.LastSeq {
			return nil, fmt.Errorf("invariant: a checkpoint at sequence number %d with %s", state.LastSeq, t)
		}
	}
	state.NextFile = f.current.Manifest + 1
	mem := vfs.NewMem()
	log, err := manifest.CreateLog(mem, "", f.current.Manifest, state)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	file, err := mem.Open(base.ManifestName(f.current.Manifest))
	if err != nil {
		return nil, err
	}
	f.manifest = make([]byte, log.SizeBytes()) // zeros follow
	_, err = file.ReadAt(f.manifest, 0)
	return f, err
}

// All yields the names, without directory, and the sizes of the files in the order of the
// stream: the tables, the MANIFEST, CURRENT.
func (f *Files) All(yield func(name string, sizeBytes int64) bool) {
	for _, t := range f.tables {
		if !yield(base.TableName(t.Number), t.SizeBytes) {
			return
		}
	}
	_ = yield(base.ManifestName(f.current.Manifest), int64(len(f.manifest))) &&
		yield(base.CurrentName, int64(len(f.current.Encode())))
}

// Link makes the database of the checkpoint in dir, which must be absent or empty, out of
// second names for the tables where the system can do that, else of copies. After an error
// it is absent or empty again.
func (f *Files) Link(fsys vfs.FS, dir string) error {
	d, err := newDirectory(fsys, dir)
	if err != nil {
		return err
	}
	for _, t := range f.tables {
		if err == nil {
			err = f.link(d, t)
		}
	}
	if err == nil {
		err = d.write(base.ManifestName(f.current.Manifest), func(file vfs.File) error {
			_, err := file.WriteAt(f.manifest, 0)
			return err
		})
	}
	if err == nil {
		err = d.commit(f.current)
	}
	return d.end(err)
}

// link makes one table. Its contents were synced before a MANIFEST listed it: only a copy
// has to be synced.
func (f *Files) link(d *directory, t *manifest.TableMeta) error {
	name := base.TableName(t.Number)
	path := filepath.Join(d.dir, name)
	if f.source.FS.Link(base.TablePath(f.source.Dir, t.Number), path) != nil {
		return d.write(name, func(file vfs.File) error { return read(t, file.WriteAt) })
	}
	d.made = append(d.made, name)
	info, err := d.Stat(path) // by the directory that is locked: the link was made by path
	if err == nil && info.SizeBytes != t.SizeBytes {
		err = base.Corruptf(path, -1, "has %d bytes, the MANIFEST says %d", info.SizeBytes, t.SizeBytes)
	}
	return err
}

// chunkBytes is how much of a file is in memory at a time.
const chunkBytes = 256 << 10

// read hands the contents of a table on, piece by piece.
func read(t *manifest.TableMeta, writeAt func(p []byte, offset int64) (int, error)) error {
	buffer := make([]byte, min(chunkBytes, t.SizeBytes))
	for offset := int64(0); offset < t.SizeBytes; offset += int64(len(buffer)) {
		buffer = buffer[:min(chunkBytes, t.SizeBytes-offset)]
		err := t.Handle.ReadAt(buffer, offset)
		if err == nil {
			_, err = writeAt(buffer, offset)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
