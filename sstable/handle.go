package sstable

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// Handle is a table that a version of the tree lists. Its index, filter and properties
// are read at the first use and stay in memory. Its file is opened when a read needs it,
// and closed when another table needs the place. All methods may be called concurrently.
type Handle struct {
	source    source
	sizeBytes int64
	table     atomic.Pointer[Table] // nil until loaded

	// The mutex makes concurrent first readers load the table once. Once that is done,
	// readers do not touch it.
	mu sync.Mutex
}

// NewHandle makes a Handle; nothing is opened yet. The file counts as one of files while
// it is open, and must keep its name until Close.
func NewHandle(fs vfs.Files, path string, o ReaderOptions, files *OpenFiles) *Handle {
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	return &Handle{
		source:    source{fs: fs, name: path, files: files, identity: o.Identity, cache: o.Cache, stats: o.Stats, seq: o.Seq},
		sizeBytes: o.SizeBytes,
	}
}

// Table returns the table, loading it where that was not done yet. An error is not
// remembered: the next call tries again.
func (h *Handle) Table() (*Table, error) {
	if t := h.table.Load(); t != nil {
		return t, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.table.Load(); t != nil {
		return t, nil
	}
	t, err := loadTable(&h.source, h.sizeBytes)
	if err != nil {
		h.source.files.remove(&h.source) // the file was only read: err says more than an error of closing it
		return nil, err
	}
	h.table.Store(t)
	return t, nil
}

// ReadAt fills p with what lies at offset in the file, as it is: nothing is checked.
func (h *Handle) ReadAt(p []byte, offset int64) error { return h.source.readAt(p, offset) }

// Retire tells that the table left the tree: its cached blocks make room at once. What
// is still read of it, through an older version, is cached again until Close.
func (h *Handle) Retire() { h.source.retire() }

// Close is for whoever knows that nobody will read the table any more. It drops the
// cached blocks and closes the file, which may be deleted from then on. A read that comes
// all the same fails with base.ErrClosed. It is idempotent.
func (h *Handle) Close() error { return h.source.close() }

// source is the file of a table and what of it is cached.
type source struct {
	slots    []atomic.Pointer[block] // one for each data block; empty where nothing is cached
	cache    *Cache                  // may be nil
	stats    *Stats
	closed   atomic.Bool
	identity uint64   // 0 until it is known
	seq      base.Seq // of everything in it; 0: it has its own numbers
	name     string

	fs      vfs.Files // opens the file by its name, as often as it was closed to make room
	files   *OpenFiles
	file    atomic.Pointer[openFile] // nil while it is not open
	opening sync.Mutex               // readers of a table whose file is not open wait for the one who opens it
}

// close lets no read start any more, drops the cached blocks and closes the file. It
// is idempotent.
func (s *source) close() error {
	s.closed.Store(true)
	s.retire()
	return s.files.remove(s)
}

// retire drops the cached blocks.
func (s *source) retire() {
	if s.cache != nil {
		s.cache.forget(s)
	}
}

// begin begins a read: the file is open until files.end.
func (s *source) begin() (*openFile, error) {
	if f := s.file.Load(); f != nil && f.begin() {
		return f, nil
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	return s.files.reopen(s)
}

// size asks the file for its size.
func (s *source) size() (int64, error) {
	f, err := s.begin()
	if err != nil {
		return 0, err
	}
	sizeBytes, err := f.Size()
	s.files.end(f)
	switch {
	case s.closed.Load():
		return 0, base.ErrClosed
	case err != nil:
		return 0, fmt.Errorf("size of table %s: %w", s.name, err)
	}
	return sizeBytes, nil
}

// reading has a place for each read of a table file by this process. A read that waits for
// the disk takes a thread of the system, and Go ends a process that needs 10,000.
var reading = make(chan struct{}, 1000)

// readAt fills p from offset.
func (s *source) readAt(p []byte, offset int64) error {
	reading <- struct{}{}
	defer func() { <-reading }()
	f, err := s.begin()
	if err != nil {
		return err
	}
	n, err := f.ReadAt(p, offset)
	s.files.end(f)
	switch {
	case n == len(p):
		return nil
	case s.closed.Load():
		return base.ErrClosed
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return base.Corruptf(s.name, offset, "the file ends within the %d bytes that belong here", len(p))
	}
	return fmt.Errorf("read table %s at offset %d: %w", s.name, offset, err)
}

// readBlock reads and checks a block into memory of its own.
func (s *source) readBlock(t BlockType, e extent) ([]byte, Compression, error) {
	if e.length > maxPayloadBytes+blockTrailerBytes {
		return nil, 0, base.Corruptf(s.name, e.offset, "%s block of %d bytes is longer than any", t, e.length)
	}
	raw := make([]byte, e.length)
	if err := s.readAt(raw, e.offset); err != nil {
		return nil, 0, err
	}
	return s.openBlock(new([]byte), raw, t, e.offset)
}

// openBlock checks and decompresses a stored block. The payload lies in raw or, where
// that was compressed, in the buffer, or in new memory if it is long.
func (s *source) openBlock(buffer *[]byte, raw []byte, t BlockType, offset int64) ([]byte, Compression, error) {
	payload, c, err := checkBlock(raw, t, s.identity, offset)
	if err == nil && c != CompressionNone {
		payload, err = c.decompress(*buffer, payload)
		if len(payload) <= maxReusedBytes {
			*buffer = payload
		}
	}
	if err != nil {
		return nil, 0, base.DamageAt(s.name, offset, err)
	}
	return payload, c, nil
}

// decodeData makes b the data block with that payload.
func (s *source) decodeData(b *block, payload []byte) error {
	err := b.decode(payload, BlockData)
	if err == nil && s.seq != 0 {
		err = b.renumber(s.seq)
	}
	return err
}

// cached returns data block i if it is in the cache.
func (s *source) cached(i int) *block {
	if i >= len(s.slots) {
		return nil
	}
	return s.slots[i].Load()
}

// hit notes that a cached block was of use.
func (s *source) hit(b *block) {
	s.cache.hits.add()
	if !b.referenced.Load() {
		b.referenced.Store(true)
	}
}
