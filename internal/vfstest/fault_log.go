package vfstest

import (
	"errors"
	"fmt"
	"os"

	"lsmdb/internal/vfs"
)

// The operations of a vfs.LogFile, where the file system below offers them.
const (
	OpAllocate OpKind = "allocate"
	OpMap      OpKind = "map"
	OpAwait    OpKind = "await" // AwaitWriteback
)

// OpenFiles returns how many files were opened or created and not closed since.
func (f *Fault) OpenFiles() int { return int(f.open.Load()) }

// Lost makes an OpSync drop what it should have made durable, and fail with Err. That
// is what Linux does: the pages count as clean, so the next sync succeeds and makes
// nothing of them durable. With Visible they can be read until the power fails, as on
// ext4; otherwise the file reads at once as it was when it was last synced. The file
// system below must be a Disk.
type Lost struct {
	Err     error
	Visible bool
}

func (l *Lost) Error() string {
	return fmt.Sprintf("with the unsynced pages (visible: %v): %v", l.Visible, l.Err)
}

// lose is what a sync that failed with Lost makes of the file.
func (f *diskFile) lose(visible bool) {
	f.disk.mu.RLock()
	defer f.disk.mu.RUnlock()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	before := f.node.size
	f.node.lose(visible)
	_ = f.disk.resize(f.node.size - before) // a full disk is no reason to have less lost
}

// lose forgets that pages were changed. Those that stay visible are stale: what is
// written to one makes a changed page of the whole.
func (c *contents) lose(visible bool) {
	for _, i := range c.changed {
		switch {
		case !visible && c.durable[i] == nil:
			delete(c.pages, i)
		case !visible:
			c.pages[i] = c.durable[i]
		case c.pages[i] != nil && c.pages[i] != c.durable[i]:
			if c.stale == nil {
				c.stale = make(map[int64]bool)
			}
			c.stale[i] = true
		}
	}
	c.changed = c.changed[:0]
	if !visible {
		c.size, c.lowSize = c.durableSize, c.durableSize
	}
}

// errGone makes an OpMap return a window on a file that ends before it, so that every
// store into it faults, as where the disk fails under a mapped page.
type errGone struct{}

func (errGone) Error() string { return "the mapped pages are gone" }

// Gone is the error to inject for that.
var Gone error = errGone{}

// faultLogFile asks before the operations of a log file as well. What is stored into
// a window passes unseen.
type faultLogFile struct {
	*faultFile
	log vfs.LogFile
}

// Allocate implements vfs.LogFile.
func (f *faultLogFile) Allocate(offset, length int64) error {
	op := Op{Kind: OpAllocate, Name: f.name, Offset: offset, Length: int(length)}
	return f.fault.do(op, func() error { return f.log.Allocate(offset, length) })
}

// Map implements vfs.LogFile.
func (f *faultLogFile) Map(offset, length int64) (*vfs.Window, error) {
	op := Op{Kind: OpMap, Name: f.name, Offset: offset, Length: int(length)}
	w, err := fetch(f.fault, op, func() (*vfs.Window, error) { return f.log.Map(offset, length) })
	if err == Gone {
		return f.goneWindow(offset, length)
	}
	return w, err
}

// goneWindow maps an empty file in place of this one.
func (f *faultLogFile) goneWindow(offset, length int64) (*vfs.Window, error) {
	name := f.name + ".gone"
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	empty, err := f.fault.under.Create(name)
	if err != nil {
		return nil, err
	}
	log, ok := empty.(vfs.LogFile)
	if !ok {
		return nil, errors.Join(errors.ErrUnsupported, empty.Close())
	}
	w, err := log.Map(offset, length)
	return w, errors.Join(err, empty.Close(), f.fault.under.Remove(name))
}

// StartWriteback implements vfs.WritebackFile. It promises nothing, so it cannot fail.
func (f *faultLogFile) StartWriteback(offset, length int64) { f.log.StartWriteback(offset, length) }

// AwaitWriteback implements vfs.WritebackFile.
func (f *faultLogFile) AwaitWriteback(offset, length int64) error {
	op := Op{Kind: OpAwait, Name: f.name, Offset: offset, Length: int(length)}
	return f.fault.do(op, func() error { return f.log.AwaitWriteback(offset, length) })
}
