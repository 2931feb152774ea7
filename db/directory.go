package db

import (
	"fmt"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// firstManifest is the number of the MANIFEST that creation writes.
const firstManifest = 1

// directory is what lies in a database directory, by type. Numbers ascend.
type directory struct {
	hasCurrent  bool
	manifests   []uint64
	wals        []uint64
	tables      []uint64
	temporaries []string
	largest     uint64 // number of any file
}

// listDirectory reads a directory. Files that are not ours are ignored.
func listDirectory(fs vfs.FS, dir string) (directory, error) {
	var d directory
	names, err := fs.List(dir)
	if err != nil {
		return d, fmt.Errorf("lsmdb: list %s: %w", dir, err)
	}
	for _, name := range names {
		t, number := base.ParseFileName(name)
		switch t {
		case base.FileCurrent:
			d.hasCurrent = true
		case base.FileManifest:
			d.manifests = append(d.manifests, number)
		case base.FileWAL:
			d.wals = append(d.wals, number)
		case base.FileTable:
			d.tables = append(d.tables, number)
		case base.FileTemporary:
			d.temporaries = append(d.temporaries, name)
		}
		d.largest = max(d.largest, number)
	}
	sortNumbers(d.manifests, d.wals, d.tables)
	return d, nil
}

// data names the files that would be lost if a database were created here. A lone
// first MANIFEST is none: a creation that was interrupted before CURRENT leaves
// it, and a database that was ever written to has a WAL as well.
func (d *directory) data() []string {
	var names []string
	for _, n := range d.manifests {
		if n != firstManifest || len(d.wals)+len(d.tables) > 0 {
			names = append(names, base.ManifestName(n))
		}
	}
	for _, n := range d.wals {
		names = append(names, base.WALName(n))
	}
	for _, n := range d.tables {
		names = append(names, base.TableName(n))
	}
	return names
}
