package vfstest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// OpMoveDirectory stands in a trace for Disk.MoveDirectory and, without a NewName, for
// Disk.RemoveDirectory.
const OpMoveDirectory OpKind = "movedir"

// nowhere is the path of a directory that was removed. Nothing is ever there.
const nowhere = "/\x00/removed"

// place returns the clean path of a directory: one of the Disk, or as far as it is
// still there the one that is open. The caller holds Disk.mu.
func (v diskFiles) place(dir string) string {
	if v.handle == nil {
		return clean(dir)
	}
	if clean(dir) != clean(v.dir) {
		panic("invariant: " + dir + " is not " + v.dir)
	}
	if v.disk.entries[clean(dir)] == v.handle {
		return clean(dir)
	}
	for name, node := range v.disk.entries {
		if node == v.handle {
			return name
		}
	}
	return nowhere
}

// at returns the clean path of a file. The caller holds Disk.mu.
func (v diskFiles) at(name string) string {
	if v.handle == nil {
		return clean(name)
	}
	return path.Join(v.place(filepath.Dir(name)), path.Base(clean(name)))
}

// whichever is at, or place for the open directory itself.
func (v diskFiles) whichever(name string) string {
	if v.handle != nil && clean(name) == clean(v.dir) {
		return v.place(name)
	}
	return v.at(name)
}

// look compares what is at a path with what was opened there. The caller holds mu.
func (d *Disk) look(at string, opened *diskNode) vfs.Found {
	switch d.entries[at] {
	case opened:
		return vfs.FoundSame
	case nil:
		return vfs.FoundNothing
	}
	return vfs.FoundOther
}

// OpenDirectory implements vfs.FS.
func (v diskFiles) OpenDirectory(dir string) (vfs.Directory, error) {
	d := v.disk
	d.mu.RLock()
	defer d.mu.RUnlock()
	node, err := d.find("open", dir, v.place(dir), true)
	if err != nil {
		return nil, err
	}
	return &diskDirectory{diskFiles: diskFiles{disk: d, dir: dir, handle: node}}, nil
}

// diskDirectory implements vfs.Directory. It follows its directory wherever that is
// moved.
type diskDirectory struct {
	diskFiles
	lock *diskNode // LOCK, as it was locked; nil: it was not there
	held []*lock
}

// lock is on a node while it is among its locks.
type lock struct {
	node   *diskNode
	shared bool
}

// Lock implements vfs.Directory within this Disk.
func (v *diskDirectory) Lock(shared bool) error {
	d := v.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	name := filepath.Join(v.dir, base.LockName)
	nodes := []*diskNode{v.handle}
	file := d.entries[v.at(name)]
	if file != nil {
		nodes = append(nodes, file)
	}
	for _, node := range nodes {
		if slices.ContainsFunc(node.locks, func(other *lock) bool { return !shared || !other.shared }) {
			return fmt.Errorf("%w: %s is held on this disk", base.ErrLocked, name)
		}
	}
	if file != nil && file.isDir {
		return pathError("lock", name, syscall.EISDIR)
	}
	if file == nil && !shared {
		var err error
		if file, err = d.create("lock", name, v.at(name)); err != nil {
			return err
		}
		nodes = append(nodes, file)
	}
	v.lock = file
	for _, node := range nodes {
		l := &lock{node, shared}
		node.locks = append(node.locks, l)
		v.held = append(v.held, l)
	}
	return nil
}

// Link implements vfs.Directory within this Disk.
func (v *diskDirectory) Link(name, newname string) error {
	d := v.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to := v.at(name), clean(newname)
	node, err := d.find("link", name, from, false)
	if err == nil {
		_, err = d.find("link", newname, path.Dir(to), true)
	}
	if err == nil && d.entries[to] != nil {
		err = pathError("link", newname, fs.ErrExist)
	}
	if err == nil {
		d.change(Event{Kind: OpLink, Name: from, NewName: to, tree: treeChange{to: node}})
	}
	return err
}

// SyncFile implements vfs.Directory.
func (v *diskDirectory) SyncFile(name string) error {
	f, err := v.Open(name)
	if err != nil {
		return err
	}
	file := f.(*diskFile)
	file.writable = true
	return errors.Join(file.Sync(), file.Close())
}

// NoteHolder has nobody to serve.
func (v *diskDirectory) NoteHolder() {}

// Check implements vfs.Directory.
func (v *diskDirectory) Check() error {
	d := v.disk
	d.mu.RLock()
	defer d.mu.RUnlock()
	found := vfs.FoundSame
	if v.lock != nil {
		found = d.look(v.at(filepath.Join(v.dir, base.LockName)), v.lock)
	}
	return vfs.DisplacedDirectory(v.dir, d.look(clean(v.dir), v.handle), found)
}

// Close releases the locks. A second Close of who had any fails with fs.ErrClosed.
func (v *diskDirectory) Close() error {
	d := v.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range v.held {
		i := slices.Index(l.node.locks, l)
		if i < 0 {
			return fs.ErrClosed
		}
		l.node.locks = slices.Delete(l.node.locks, i, i+1)
	}
	return nil
}

// Check implements vfs.File. The file is sought in the directory that it was opened in.
func (f *diskFile) Check() error {
	f.disk.mu.RLock()
	defer f.disk.mu.RUnlock()
	if f.closed.Load() {
		return pathError("check", f.name, fs.ErrClosed)
	}
	return vfs.DisplacedFile(f.name, f.disk.look(f.among.at(f.name), f.node))
}

// MoveDirectory renames a directory as somebody else may do it, at once durable with all
// that is in it. Nothing may be under the new path.
func (d *Disk) MoveDirectory(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to = clean(from), clean(to)
	if _, err := d.find("rename", to, path.Dir(to), true); err != nil {
		return err
	}
	if d.entries[to] != nil || strings.HasPrefix(to, from+"/") {
		return pathError("rename", to, fs.ErrExist)
	}
	return d.moveDirectory("rename", from, to)
}

// RemoveDirectory removes a directory and all that is in it, at once durable. What is
// open stays usable.
func (d *Disk) RemoveDirectory(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.moveDirectory("remove", clean(dir), "")
}

// moveDirectory moves a directory, or removes it. The caller holds mu whole.
func (d *Disk) moveDirectory(operation, from, to string) error {
	if _, err := d.find(operation, from, from, true); err != nil {
		return err
	}
	for name, node := range d.entries {
		if to == "" && below(name, from) {
			d.release(node)
		}
	}
	d.entries = moved(d.entries, from, to)
	d.durable, d.pending = moved(d.durable, from, to), movedChanges(d.pending, from, to)
	d.note(Event{Kind: OpMoveDirectory, Name: from, NewName: to})
	return nil
}

func below(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// moved returns what names say after a directory was moved, or removed. Maps are shared
// with traces, so they do not change.
func moved(names map[string]*diskNode, from, to string) map[string]*diskNode {
	result := make(map[string]*diskNode, len(names))
	for name, node := range names {
		if below(name, from) {
			if to == "" {
				continue
			}
			name = to + strings.TrimPrefix(name, from)
		}
		result[name] = node
	}
	return result
}

// movedChanges does so with changes that are pending.
func movedChanges(changes []treeChange, from, to string) []treeChange {
	result := make([]treeChange, len(changes))
	for i, c := range changes {
		result[i] = moved(c, from, to)
	}
	return result
}
