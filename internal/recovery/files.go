package recovery

import (
	"fmt"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// firstManifest is the number of the MANIFEST that creation writes.
const firstManifest = 1

// files is what lies in a database directory, by type. Numbers ascend.
type files struct {
	hasCurrent bool
	manifests  []uint64
	wals       []uint64
	tables     []uint64
	all        []string // numbered files and temporaries
	largest    uint64   // number of any file
}

// listFiles reads a directory. Files that are not ours are ignored.
func listFiles(fs vfs.FS, dir string) (files, error) {
	var d files
	names, err := fs.List(dir)
	if err != nil {
		return d, fmt.Errorf("lsmdb: list %s: %w", dir, err)
	}
	for _, name := range names {
		t, number := base.ParseFileName(name)
		if number >= manifest.MaxFileNumber {
			continue // no database gets so far: it is not ours
		}
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
			d.all = append(d.all, name)
		}
		d.largest = max(d.largest, number)
	}
	for _, numbers := range [][]uint64{d.manifests, d.wals, d.tables} {
		slices.Sort(numbers)
	}
	d.all = append(d.all, d.names(0)...)
	return d, nil
}

// names returns the names of the numbered files from a number on.
func (d *files) names(from uint64) []string {
	var names []string
	add := func(numbers []uint64, name func(uint64) string) {
		for _, n := range numbers {
			if n >= from {
				names = append(names, name(n))
			}
		}
	}
	add(d.manifests, base.ManifestName)
	add(d.wals, base.WALName)
	add(d.tables, base.TableName)
	return names
}

// data names the files that would be lost if a database were created here. A lone
// first MANIFEST is none: a creation that was interrupted before CURRENT leaves
// it, and a database that was ever written to has a WAL as well.
func (d *files) data() []string {
	names := d.names(0)
	if len(names) == 1 && names[0] == base.ManifestName(firstManifest) {
		return nil
	}
	return names
}
