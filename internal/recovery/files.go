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

// files is what lies in a database directory.
type files struct {
	hasCurrent bool
	all        []string // numbered files and temporaries
	largest    uint64   // number of any file
}

// listFiles reads a directory. Files that are not ours are ignored.
func listFiles(fs vfs.Files, dir string) (files, error) {
	var d files
	names, err := fs.List(dir)
	if err != nil {
		return d, fmt.Errorf("lsmdb: list %s: %w", dir, err)
	}
	for _, name := range names {
		t, number := base.ParseFileName(name)
		switch {
		case t == base.FileCurrent:
			d.hasCurrent = true
			continue
		case t == base.FileOther, t == base.FileLock, number >= manifest.MaxFileNumber: // no database gets so far
			continue
		}
		d.all = append(d.all, name)
		d.largest = max(d.largest, number)
	}
	return d, nil
}

// numbered returns the names of the numbered files from a number on.
func (d *files) numbered(from uint64) []string {
	return slices.DeleteFunc(slices.Clone(d.all), func(name string) bool {
		t, number := base.ParseFileName(name)
		return t == base.FileTemporary || number < from
	})
}

// data names the files that would be lost if a database were created here. A lone
// first MANIFEST is none: a creation that was interrupted before CURRENT leaves
// it, and a database that was ever written to has a WAL as well.
func (d *files) data() []string {
	names := d.numbered(0)
	if len(names) == 1 && names[0] == base.ManifestName(firstManifest) {
		return nil
	}
	return names
}
