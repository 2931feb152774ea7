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

// source is the file of an open table and what of it is cached. It refers neither to
// the Table nor to the Handle, because the cache and the cleanup of the Handle refer
// to it and must not keep those alive.
type source struct {
	slots    []atomic.Pointer[block] // one for each data block; empty where nothing is cached
	cache    *Cache                  // may be nil
	stats    *Stats
	closed   atomic.Bool
	noFill   bool // guarded by the cache's mutex: no block comes in any more
	identity uint64
	name     string
	file     vfs.File
}

func newSource(f vfs.File, name string, o ReaderOptions) *source {
	s := &source{file: f, name: name, cache: o.Cache, stats: o.Stats}
	if s.stats == nil {
		s.stats = new(Stats)
	}
	return s
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

// retire drops the cached blocks and caches none any more.
func (s *source) retire() {
	if s.cache != nil {
		s.cache.forget(s)
	}
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
	if int64(int(e.length)) != e.length {
		return nil, 0, base.Corruptf(s.name, e.offset, "%s block of %d bytes is longer than memory", t, e.length)
	}
	raw := make([]byte, e.length)
	if err := s.readAt(raw, e.offset); err != nil {
		return nil, 0, err
	}
	return s.openBlock(nil, raw, t, e.offset)
}

// openBlock checks and decompresses a stored block. The payload lies in dst, in raw or
// in new memory.
func (s *source) openBlock(dst, raw []byte, t BlockType, offset int64) ([]byte, Compression, error) {
	stored, c, err := checkBlock(raw, t, s.identity, offset)
	if err != nil {
		return nil, 0, base.DamageAt(s.name, offset, err)
	}
	payload, err := decompress(dst, stored, c)
	if err != nil {
		return nil, 0, base.DamageAt(s.name, offset, err)
	}
	return payload, c, nil
}

// ownBlock makes a data block in memory of its own from stored bytes, which it may
// keep if they are given away.
func (s *source) ownBlock(raw []byte, offset int64, given bool) (*block, error) {
	payload, c, err := s.openBlock(nil, raw, BlockData, offset)
	if err != nil {
		return nil, err
	}
	if c == CompressionNone && !given {
		payload = append(make([]byte, 0, len(payload)), payload...)
	}
	b := new(block)
	if err := b.init(payload); err != nil {
		return nil, base.DamageAt(s.name, offset, err)
	}
	return b, nil
}

// load reads data block i and offers it to the cache. It returns the block that
// stays.
func (s *source) load(i int, e extent) (*block, error) {
	raw := takeScratch(e.length)
	defer giveScratch(raw)
	if err := s.readAt(*raw, e.offset); err != nil {
		return nil, err
	}
	s.stats.blocksRead.Add(1)
	s.stats.bytesRead.Add(uint64(e.length))
	b, err := s.ownBlock(*raw, e.offset, !reusable(*raw))
	if err != nil {
		return nil, err
	}
	return s.fill(i, b), nil
}

func (s *source) fill(i int, b *block) *block {
	if s.cache == nil {
		return b
	}
	return s.cache.insert(place{s, i}, b)
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

// scratch holds stored blocks between reading and decoding. Long ones are not kept.
var scratch sync.Pool

const maxScratchBytes = 1 << 20

func takeScratch(length int64) *[]byte {
	if p, ok := scratch.Get().(*[]byte); ok && int64(cap(*p)) >= length {
		*p = (*p)[:length]
		return p
	}
	p := make([]byte, length, max(length, 2*defaultBlockBytes))
	return &p
}

func giveScratch(p *[]byte) {
	if reusable(*p) {
		scratch.Put(p)
	}
}

func reusable(p []byte) bool { return cap(p) <= maxScratchBytes }
