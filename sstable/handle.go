package sstable

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/vfs"
)

// Handle is a table that a version of the tree lists. Its index and properties are read at
// the first use and stay in memory, unless that is short, and so does its filter once it is
// needed. Its file is opened when a read needs it, and closed when another table needs the
// place. All methods may be called concurrently.
type Handle struct {
	fs      vfs.Files // opens the file by its name, as often as it was closed to make room
	name    string
	options ReaderOptions // with a Cache and Stats; the Identity is 0 until it is known
	files   *OpenFiles
	closed  atomic.Bool

	table   atomic.Pointer[Table] // nil until loaded
	used    atomic.Uint32         // who has not heard yet that it was: those of usedForAll
	loading sync.Mutex            // concurrent first readers load the table once; others do not touch it

	file    atomic.Pointer[openFile] // nil while it is not open
	opening sync.Mutex               // readers of a table whose file is not open wait for the one who opens it
}

// Who looks whether a table was used.
const (
	usedForUnloading uint32 = 1 << iota // OpenFiles, for a table to unload
	usedForWatching                     // UsedSince
	usedForAll       = usedForUnloading | usedForWatching
)

// NewHandle makes a Handle; nothing is opened yet. The file counts as one of files while
// it is open, and must keep its name until Close.
func NewHandle(fs vfs.Files, path string, o ReaderOptions, files *OpenFiles) *Handle {
	o.Stats, o.Cache = cmp.Or(o.Stats, &noStats), cmp.Or(o.Cache, noCache)
	return &Handle{fs: fs, name: path, options: o, files: files}
}

// Table returns the table, loading it where that was not done yet. An error is not
// remembered: the next call tries again.
func (h *Handle) Table() (*Table, error) {
	if t := h.table.Load(); t != nil {
		if h.used.Load() != usedForAll {
			h.used.Store(usedForAll)
		}
		return t, nil
	}
	t, err := h.load()
	h.files.Account.Settle()
	return t, err
}

// load loads the table, unless somebody was faster.
func (h *Handle) load() (*Table, error) {
	h.loading.Lock()
	defer h.loading.Unlock()
	if t := h.table.Load(); t != nil {
		return t, nil
	}
	t := &Table{handle: h}
	if err := t.load(h.options.SizeBytes); err != nil {
		h.files.remove(h) // the file was only read: err says more than an error of closing it
		return nil, err
	}
	h.used.Store(usedForAll)
	h.files.Account.Add(budget.Tables, t.memoryBytes())
	h.table.Store(t)
	if h.closed.Load() {
		h.unload() // who closed it may have come too early
	}
	return t, nil
}

// loadFilter loads the filter of a table that it is due in, unless somebody was faster.
func (h *Handle) loadFilter(t *Table) (*filter, error) {
	defer h.files.Account.Settle()
	h.loading.Lock()
	defer h.loading.Unlock()
	if f := t.filter.Load(); f != due {
		return f, nil
	}
	f, err := t.readFilter()
	if err != nil {
		return nil, err
	}
	h.files.Account.Add(budget.Tables, f.memoryBytes())
	if !t.filter.CompareAndSwap(due, f) { // the table was unloaded meanwhile
		h.files.Account.Add(budget.Tables, -f.memoryBytes())
	}
	return f, nil
}

// unload lets go of the table, and returns how much memory that gives back. It is loaded
// again when a read comes; who reads it now, reads on.
func (h *Handle) unload() (bytes int64) {
	t := h.table.Swap(nil)
	if t == nil {
		return 0
	}
	h.options.Cache.forget(t, true)
	bytes = t.memoryBytes() + t.filter.Swap(none).memoryBytes()
	h.files.Account.Add(budget.Tables, -bytes)
	return bytes
}

// Close is for whoever knows that nobody will read the table any more. It drops the
// cached blocks and closes the file, which may be deleted from then on. A read that comes
// all the same fails with base.ErrClosed. It is idempotent.
func (h *Handle) Close() error {
	h.closed.Store(true)
	h.unload()
	return h.files.remove(h)
}

// Retire tells that the table left the tree: its cached blocks make room at once. What
// is still read of it, through an older version, is cached again until Close.
func (h *Handle) Retire() {
	if t := h.table.Load(); t != nil {
		h.options.Cache.forget(t, false)
	}
}

// UsedSince reports whether anybody used the table since the last call. Who reads pays
// nothing for that.
func (h *Handle) UsedSince() bool { return h.used.And(^usedForWatching)&usedForWatching != 0 }

// Cached counts the data blocks of the table, and those of them in the cache; none while it
// is not loaded.
func (h *Handle) Cached() (cached, blocks int) {
	t := h.table.Load()
	if t == nil {
		return 0, 0
	}
	for i := range t.slots {
		if t.slots[i].Load() != nil {
			cached++
		}
	}
	return cached, len(t.slots)
}

// begin begins a read: the file is open until files.end.
func (h *Handle) begin() (*openFile, error) {
	if f := h.file.Load(); f != nil && f.begin() {
		return f, nil
	}
	h.opening.Lock()
	defer h.opening.Unlock()
	return h.files.reopen(h)
}

// size asks the file for its size.
func (h *Handle) size() (int64, error) {
	f, err := h.begin()
	if err != nil {
		return 0, err
	}
	sizeBytes, err := f.Size()
	h.files.end(f)
	switch {
	case h.closed.Load():
		return 0, base.ErrClosed
	case err != nil:
		return 0, fmt.Errorf("size of table %s: %w", h.name, err)
	}
	return sizeBytes, nil
}

// reading has a place for each read of a table file by this process. A read that waits for
// the disk takes a thread of the system, and Go ends a process that needs 10,000.
var reading = make(chan struct{}, 1000)

// ReadAt fills p with what lies at offset in the file, as it is: nothing is checked.
func (h *Handle) ReadAt(p []byte, offset int64) error {
	reading <- struct{}{}
	defer func() { <-reading }()
	f, err := h.begin()
	if err != nil {
		return err
	}
	n, err := f.ReadAt(p, offset)
	h.files.end(f)
	switch {
	case n == len(p):
		return nil
	case h.closed.Load():
		return base.ErrClosed
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return base.Corruptf(h.name, offset, "the file ends within the %d bytes that belong here", len(p))
	}
	return fmt.Errorf("read table %s at offset %d: %w", h.name, offset, err)
}

// readBlock reads and checks a block into memory of its own. A reader may hold it already.
func (h *Handle) readBlock(r *blockReader, t BlockType, e extent) ([]byte, Compression, error) {
	if e.length > maxPayloadBytes+blockTrailerBytes {
		return nil, 0, base.Corruptf(h.name, e.offset, "%s block of %d bytes is longer than any", t, e.length)
	}
	if t == BlockIndex && r.holds(e) { // decoding copies it
		return h.openBlock(&r.decoded, r.stored[e.offset-r.offset:][:e.length], t, e.offset)
	}
	raw, err := r.piece(h, e)
	if err != nil {
		return nil, 0, err
	}
	return h.openBlock(new([]byte), raw, t, e.offset)
}

// openBlock checks and decompresses a stored block. The payload lies in raw or, where
// that was compressed, in the buffer, or in new memory if it is long.
func (h *Handle) openBlock(buffer *[]byte, raw []byte, t BlockType, offset int64) ([]byte, Compression, error) {
	payload, c, err := checkBlock(raw, t, h.options.Identity, offset)
	if err == nil && c != CompressionNone {
		payload, err = c.decompress(*buffer, payload)
		if len(payload) <= maxReusedBytes {
			*buffer = payload
		}
	}
	if err != nil {
		return nil, 0, base.DamageAt(h.name, offset, err)
	}
	return payload, c, nil
}

// decodeData makes b the data block at offset, with that payload.
func (h *Handle) decodeData(b *block, payload []byte, offset int64) error {
	err := b.decode(payload, BlockData)
	if err == nil && h.options.Seq != 0 {
		err = b.renumber(h.options.Seq)
	}
	if err != nil {
		return base.DamageAt(h.name, offset, err)
	}
	return nil
}
