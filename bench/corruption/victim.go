// Package corruption damages small databases of every engine in the same ways and
// tells what becomes of them: noticed, harmless, or data silently lost or changed.
//
// A victim is built twice, closed properly and left by a process that ended without
// (Build, in a process of its own). A mutant is one change of one of its files. A judge
// opens each in a process of its own too, since some engines do not survive it.
package corruption

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lsmdb/bench/engine"
)

// options are those of all engines: files as small as each allows, every write synced.
func options(dir string) engine.Options {
	return engine.Options{Dir: dir, MemtableBytes: 256 << 10, CacheBytes: 1 << 20, FilterBits: 10, Sync: true, Clients: 1, Small: true}
}

const (
	oldKeys  = 150 // written, then brought into tables
	newKeys  = 40  // written later, so that they are in the log
	allKeys  = oldKeys + newKeys
	valueLen = 100
)

func key(i int) []byte { return fmt.Appendf(nil, "key%06d", i) }

// value is what a key has, in its first version or after it was written over.
func value(i, version int) []byte {
	text := make([]byte, valueLen) // that does not compress
	rand.NewChaCha8([32]byte{byte(i), byte(version)}).Read(text)
	return text
}

// state is what a database must hold after so many of the later writes; Final
// after all. Some of them write over old keys.
func state(written int) map[string][]byte {
	all := make(map[string][]byte)
	for i := range oldKeys {
		all[string(key(i))] = value(i, 0)
	}
	for n := range written {
		i, version := later(n)
		all[string(key(i))] = value(i, version)
	}
	return all
}

// later is the n-th of the later writes: a new key, or every fourth time an old one.
func later(n int) (i, version int) {
	if n%4 == 3 {
		return n, 1
	}
	return oldKeys + n, 0
}

// Build makes the old part of a victim and, in a second life, the later one. It ends
// without closing the database if killed; the process must then end. after is called
// between the two.
func Build(name, dir string, killed bool, after func() error) error {
	kind, err := engine.Find(name)
	if err != nil {
		return err
	}
	e, err := kind.Open(options(dir))
	if err != nil {
		return err
	}
	for i := range oldKeys {
		if err := e.Put(key(i), value(i, 0)); err != nil {
			return err
		}
	}
	if err := e.Flush(); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	if err := after(); err != nil {
		return err
	}
	if e, err = kind.Open(options(dir)); err != nil {
		return err
	}
	for n := range newKeys {
		i, version := later(n)
		if err := e.Put(key(i), value(i, version)); err != nil {
			return err
		}
	}
	if killed {
		return nil
	}
	return e.Close()
}

// Image is a directory in memory. Zeros that a file ends with are not kept: some engines
// make files of many megabytes at once.
type Image struct {
	Names []string
	Files map[string]File
}

// File is a file of an image.
type File struct {
	Data []byte
	Size int64
}

// ReadImage takes a directory in.
func ReadImage(dir string) (*Image, error) {
	image := &Image{Files: make(map[string]File)}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		image.Names = append(image.Names, name)
		image.Files[name] = File{bytes.Clone(bytes.TrimRight(data, "\x00")), int64(len(data))}
		return err
	})
	slices.Sort(image.Names)
	return image, err
}

// Write puts the image in place of a directory.
func (i *Image) Write(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range i.Names {
		f := i.Files[name]
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			return err
		}
		if int64(len(f.Data)) == f.Size {
			continue
		}
		if err := os.Truncate(path, f.Size); err != nil {
			return err
		}
	}
	return nil
}

// FileKind says what a file is for, across engines. Files that hold nothing of the
// data, such as locks, are empty.
func FileKind(name string) string {
	base := filepath.Base(name)
	switch extension := filepath.Ext(base); {
	case extension == ".sst", extension == ".ldb":
		return "table"
	case extension == ".wal", extension == ".log", extension == ".mem":
		return "log"
	case extension == ".vlog":
		return "value log"
	case extension == ".bbolt":
		return "tree"
	case strings.HasPrefix(base, "MANIFEST"):
		return "MANIFEST"
	case base == "CURRENT", strings.HasPrefix(base, "marker."):
		return "CURRENT"
	case strings.HasPrefix(base, "OPTIONS"), base == "KEYREGISTRY", base == "DISCARD":
		return "other"
	}
	return ""
}
