package vfstest

import (
	"bytes"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

const (
	pageBytes   = 4096
	sectorBytes = 512 // what a disk writes whole or not at all
)

// page is a piece of a file.
type page [pageBytes]byte

// zeros is what a missing page reads as.
var zeros page

func orZeros(p *page) *page {
	if p == nil {
		return &zeros
	}
	return p
}

// contents are the bytes of a file: pages by offset/pageBytes, so that growing copies
// no bytes, and zeros, as a log is preallocated with, take none. A page that is in
// both maps is durable and never changed: the file gets one of its own in its place.
type contents struct {
	mu          sync.RWMutex
	pages       map[int64]*page // bytes behind size are zeros
	size        int64
	durable     map[int64]*page // as of the last Sync
	durableSize int64
	lowSize     int64          // the smallest size since then
	changed     []int64        // where pages and durable differ
	stale       map[int64]bool // pages that a failed sync gave up, see lose
	spare       *page          // one that Sync replaced: a log synced after every write allocates nothing
	cloned      bool           // a clone has pages of durable, which are never spare
}

func (c *contents) read(p []byte, offset int64) {
	for len(p) > 0 {
		n := copy(p, orZeros(c.pages[offset/pageBytes])[offset%pageBytes:])
		p, offset = p[n:], offset+int64(n)
	}
}

func (c *contents) write(p []byte, offset int64) {
	c.size = max(c.size, offset+int64(len(p)))
	for len(p) > 0 {
		i, at := offset/pageBytes, offset%pageBytes
		n := min(len(p), int(pageBytes-at))
		if c.pages[i] != nil || !bytes.Equal(p[:n], zeros[:n]) {
			copy(c.own(i)[at:], p[:n])
		}
		p, offset = p[n:], offset+int64(n)
	}
}

// own returns page i for writing.
func (c *contents) own(i int64) *page {
	p := c.pages[i]
	if p == nil || p == c.durable[i] || c.stale[i] {
		fresh := c.spare
		if fresh == nil || c.cloned {
			fresh = new(page)
		}
		*fresh = *orZeros(p)
		p, c.pages[i], c.spare = fresh, fresh, nil
		delete(c.stale, i)
		c.changed = append(c.changed, i)
	}
	return p
}

func (c *contents) truncate(size int64) {
	for i := range c.pages {
		if i*pageBytes >= size {
			delete(c.pages, i)
			c.changed = append(c.changed, i)
		} else if tail := size - i*pageBytes; tail < pageBytes && size < c.size {
			clear(c.own(i)[tail:])
		}
	}
	c.size, c.lowSize = size, min(c.lowSize, size)
}

func (c *contents) sync() {
	for _, i := range c.changed {
		if c.durable[i] != c.pages[i] { // else i was listed twice
			c.spare, c.durable[i] = c.durable[i], c.pages[i]
		}
	}
	c.changed, c.durableSize, c.lowSize = c.changed[:0], c.size, c.size
}

// diskFile implements vfs.File.
type diskFile struct {
	disk     *Disk
	among    diskFiles // where it was opened
	node     *diskNode
	name     string
	writable bool
	closed   atomic.Bool
}

func (f *diskFile) ReadAt(p []byte, offset int64) (int, error) {
	f.node.mu.RLock()
	defer f.node.mu.RUnlock()
	if err := f.allows(offset, len(p)); err != nil {
		return 0, pathError("read", f.name, err)
	}
	n := int(max(0, min(int64(len(p)), f.node.size-offset)))
	f.node.read(p[:n], offset)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *diskFile) WriteAt(p []byte, offset int64) (n int, err error) {
	err = f.change("write", offset, len(p), func(c *contents) error {
		if len(p) == 0 {
			return nil // behind the end as well
		}
		if err := f.disk.resize(max(0, offset+int64(len(p))-c.size)); err != nil {
			return err
		}
		c.write(p, offset)
		n = len(p)
		f.node.mirror.write(p, offset)
		f.disk.note(Event{Kind: OpWrite, Name: f.name, file: f.node, Offset: offset, Length: int64(n), Data: p})
		return nil
	})
	return n, err
}

func (f *diskFile) Truncate(size int64) error {
	return f.change("truncate", size, 0, func(c *contents) error {
		if err := f.disk.resize(size - c.size); err != nil {
			return err
		}
		c.truncate(size)
		f.node.mirror.truncate(size)
		f.disk.note(Event{Kind: OpTruncate, Name: f.name, file: f.node, Offset: size})
		return nil
	})
}

func (f *diskFile) Sync() error {
	return f.change("sync", 0, 0, func(c *contents) error {
		c.sync()
		f.disk.note(Event{Kind: OpSync, Name: f.name, file: f.node})
		return nil
	})
}

func (f *diskFile) Size() (int64, error) {
	f.node.mu.RLock()
	defer f.node.mu.RUnlock()
	return f.node.size, pathError("size", f.name, f.allows(0, 0))
}

func (f *diskFile) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.disk.release(f.node)
	return nil
}

// change lets act change the contents, which no other access and no crash sees half
// done. Only who may write may sync, as on Windows. While a trace is recorded, all
// changes have one order.
func (f *diskFile) change(operation string, offset int64, length int, act func(*contents) error) error {
	if t := f.disk.trace.Load(); t != nil {
		f.disk.mu.Lock()
		defer f.disk.mu.Unlock()
		t.absorb()
	} else {
		f.disk.mu.RLock()
		defer f.disk.mu.RUnlock()
	}
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	err := f.allows(offset, length)
	if err == nil && !f.writable {
		err = fs.ErrPermission
	}
	if err == nil {
		err = act(f.node.contents)
	}
	return pathError(operation, f.name, err)
}

func (f *diskFile) allows(offset int64, length int) error {
	if f.closed.Load() {
		return fs.ErrClosed
	}
	if offset < 0 || offset+int64(length) < 0 {
		return fs.ErrInvalid
	}
	return nil
}
