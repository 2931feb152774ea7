package sstable

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// source is the file of an open table and what of it is cached. It refers neither to
// the Table nor to the Handle, because the cache and the cleanup of the Handle refer
// to it and must not keep those alive.
type source struct {
	slots    []atomic.Pointer[block] // one for each data block; empty where nothing is cached
	cache    *Cache                  // may be nil
	stats    *Stats
	closed   atomic.Bool
	identity uint64 // 0 until it is known
	name     string
	file     vfs.File
}

func newSource(f vfs.File, name string, o ReaderOptions) *source {
	return &source{file: f, name: name, identity: o.Identity, cache: o.Cache, stats: cmp.Or(o.Stats, new(Stats))}
}

// close lets no read start any more, drops the cached blocks and closes the file. It
// is idempotent.
func (s *source) close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.retire()
	return s.file.Close()
}

// retire drops the cached blocks.
func (s *source) retire() {
	if s.cache != nil {
		s.cache.forget(s)
	}
}

// size asks the file for its size.
func (s *source) size() (int64, error) {
	sizeBytes, err := s.file.Size()
	switch {
	case s.closed.Load():
		return 0, base.ErrClosed
	case err != nil:
		return 0, fmt.Errorf("size of table %s: %w", s.name, err)
	}
	return sizeBytes, nil
}

// readAt fills p from offset.
func (s *source) readAt(p []byte, offset int64) error {
	if s.closed.Load() {
		return base.ErrClosed
	}
	n, err := s.file.ReadAt(p, offset)
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
	if err == nil && c == CompressionSnappy {
		payload, err = decompress(*buffer, payload)
		if len(payload) <= maxReusedBytes {
			*buffer = payload
		}
	}
	if err != nil {
		return nil, 0, base.DamageAt(s.name, offset, err)
	}
	return payload, c, nil
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
