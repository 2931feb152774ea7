package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

const (
	pageBytes    = 4096
	sectorBytes  = 512     // what a disk writes whole or not at all
	maxFileBytes = 1 << 36 // bounds the page table
)

// page is a piece of a file. A nil *page is all zeros.
type page [pageBytes]byte

var zeros page

func orZeros(p *page) *page {
	if p == nil {
		return &zeros
	}
	return p
}

// contents are the bytes of a file: pages behind a table, so that growing copies no
// bytes, and zeros, as a log is preallocated with, take none. What the last Sync made
// durable is kept beside them by copying a page when it is first changed after.
type contents struct {
	mu          sync.RWMutex
	pages       []*page // bytes behind size are zeros
	size        int64
	durableSize int64         // size at the last Sync
	lowSize     int64         // smallest size since then
	before      map[int]*page // pages changed since then, as they were
	spare       *page         // one that before needed until the last Sync
}

func (c *contents) sizeNow() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.size
}

// page returns page i for reading.
func (c *contents) page(i int) *page {
	if i < len(c.pages) {
		return c.pages[i]
	}
	return nil
}

// durablePage returns page i as of the last Sync.
func (c *contents) durablePage(i int) *page {
	if old, changed := c.before[i]; changed {
		return old
	}
	if int64(i)*pageBytes < c.durableSize {
		return c.page(i)
	}
	return nil
}

// save keeps page i as it is for a crash, if it is durable and was not changed yet.
func (c *contents) save(i int) (saved bool) {
	if int64(i)*pageBytes >= c.durableSize {
		return false
	}
	if _, changed := c.before[i]; changed {
		return false
	}
	if c.before == nil {
		c.before = make(map[int]*page)
	}
	c.before[i] = c.page(i)
	return true
}

// own returns page i for writing.
func (c *contents) own(i int) *page {
	saved := c.save(i)
	if i >= len(c.pages) {
		c.pages = append(c.pages, make([]*page, i+1-len(c.pages))...)
	}
	switch old := c.pages[i]; {
	case old == nil:
		c.pages[i] = new(page)
	case saved:
		fresh := c.spare
		if c.spare = nil; fresh == nil {
			fresh = new(page)
		}
		*fresh = *old
		c.pages[i] = fresh
	}
	return c.pages[i]
}

func (c *contents) read(p []byte, offset int64) (n int, err error) {
	if left := max(0, c.size-offset); int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	for n < len(p) {
		at := offset + int64(n)
		n += copy(p[n:], orZeros(c.page(int(at / pageBytes)))[at%pageBytes:])
	}
	return n, err
}

func (c *contents) write(p []byte, offset int64) {
	c.size = max(c.size, offset+int64(len(p)))
	for len(p) > 0 {
		i, at := int(offset/pageBytes), int(offset%pageBytes)
		n := min(len(p), pageBytes-at)
		if c.page(i) != nil || !bytes.Equal(p[:n], zeros[:n]) {
			copy(c.own(i)[at:], p[:n])
		}
		p, offset = p[n:], offset+int64(n)
	}
}

func (c *contents) truncate(size int64) {
	keep := int((size + pageBytes - 1) / pageBytes)
	for i := keep; i < len(c.pages); i++ {
		c.save(i)
		c.pages[i] = nil
	}
	if tail := int(size % pageBytes); tail > 0 && c.page(keep-1) != nil && size < c.size {
		clear(c.own(keep - 1)[tail:])
	}
	c.pages = c.pages[:min(keep, len(c.pages))]
	c.size = size
	c.lowSize = min(c.lowSize, size)
}

func (c *contents) sync() {
	c.durableSize, c.lowSize = c.size, c.size
	if len(c.before) > 16 {
		c.before = nil
		return
	}
	for _, old := range c.before { // a log that is synced after every write needs no allocation
		c.spare = old
	}
	clear(c.before)
}

// memFile implements File.
type memFile struct {
	mem      *Mem
	node     *memNode
	name     string
	writable bool
	closed   atomic.Bool
}

var (
	errOffset   = errors.New("negative offset or size")
	errTooLarge = errors.New("file too large")
)

func (f *memFile) ReadAt(p []byte, offset int64) (int, error) {
	if f.closed.Load() {
		return 0, pathError("read", f.name, fs.ErrClosed)
	}
	if offset < 0 {
		return 0, pathError("read", f.name, errOffset)
	}
	if len(p) == 0 {
		return 0, nil // behind the end as well, as from the operating system
	}
	f.node.mu.RLock()
	defer f.node.mu.RUnlock()
	return f.node.read(p, offset)
}

func (f *memFile) WriteAt(p []byte, offset int64) (n int, err error) {
	err = f.change("write", offset, int64(len(p)), func(end int64) error {
		if len(p) == 0 {
			return nil
		}
		growth := max(0, end-f.node.size)
		taken := f.mem.take(growth)
		n = int(max(0, int64(len(p))-(growth-taken)))
		if n == 0 {
			f.mem.usedBytes.Add(-taken) // it was for a gap
			return noRoom("write", f.name)
		}
		f.node.write(p[:n], offset)
		if n < len(p) {
			return noRoom("write", f.name)
		}
		return nil
	})
	return n, err
}

func (f *memFile) Truncate(size int64) error {
	return f.change("truncate", size, 0, func(size int64) error {
		growth := size - f.node.size
		if taken := f.mem.take(growth); growth > taken {
			f.mem.usedBytes.Add(-taken)
			return noRoom("truncate", f.name)
		}
		f.mem.usedBytes.Add(min(0, growth))
		f.node.truncate(size)
		return nil
	})
}

// change runs act with the locks and after the checks that changing a file up to
// offset+length needs.
func (f *memFile) change(operation string, offset, length int64, act func(end int64) error) error {
	f.mem.mu.RLock()
	defer f.mem.mu.RUnlock()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	switch {
	case f.closed.Load():
		return pathError(operation, f.name, fs.ErrClosed)
	case !f.writable:
		return pathError(operation, f.name, fs.ErrPermission)
	case offset < 0:
		return pathError(operation, f.name, errOffset)
	case offset > maxFileBytes-length:
		return pathError(operation, f.name, errTooLarge)
	}
	return act(offset + length)
}

func (f *memFile) Sync() error {
	f.mem.mu.RLock()
	defer f.mem.mu.RUnlock()
	if f.closed.Load() {
		return pathError("sync", f.name, fs.ErrClosed)
	}
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.node.sync()
	return nil
}

func (f *memFile) Size() (int64, error) {
	if f.closed.Load() {
		return 0, pathError("size", f.name, fs.ErrClosed)
	}
	return f.node.sizeNow(), nil
}

func (f *memFile) Close() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.node.handles--
	f.mem.release(f.node)
	return nil
}
