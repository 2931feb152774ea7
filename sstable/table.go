package sstable

import (
	"fmt"
	"runtime"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// Table is an open table file. All methods but Close may be called concurrently.
// Index and filter are held in memory, decoded; data blocks come and go with the
// cache.
//
// Whoever uses a Table keeps it reachable through each read, because the file of a
// Handle's table is closed when nobody can reach the Handle any more.
type Table struct {
	source     *source
	index      *index
	filter     filter
	properties Properties
	owner      *Handle // kept reachable by the table; nil for a table without
}

// ReaderOptions says what a table works with.
type ReaderOptions struct {
	SizeBytes int64  // of the file, where it is known; 0: the file is asked
	Identity  uint64 // what the table must be bound to; 0: whatever it says
	Cache     *Cache // nil: every read goes to the file
	Stats     *Stats // nil: nobody is interested
}

// Open opens a table. The file belongs to the Table from now on; if Open fails, it
// is closed. The name is for errors only.
func Open(f vfs.File, name string, o ReaderOptions) (*Table, error) {
	s := newSource(f, name, o)
	t, err := openSource(s, o)
	if err != nil {
		s.close()
		return nil, err
	}
	return t, nil
}

// openSource reads what stays in memory.
func openSource(s *source, o ReaderOptions) (*Table, error) {
	sizeBytes := o.SizeBytes
	if sizeBytes == 0 {
		var err error
		if sizeBytes, err = s.file.Size(); err != nil {
			return nil, fmt.Errorf("size of table %s: %w", s.name, err)
		}
	}
	t := &Table{source: s}
	d, err := t.readLayout(sizeBytes, o.Identity)
	if err == nil {
		err = t.readPinned(d)
	}
	if err != nil {
		return nil, err
	}
	t.properties.SizeBytes, t.properties.Identity = sizeBytes, s.identity
	if s.cache != nil {
		s.cache.attach(s, t.index.count())
	}
	return t, nil
}

// readLayout reads footer and directory.
func (t *Table) readLayout(sizeBytes int64, identity uint64) (d directory, err error) {
	s := t.source
	at := sizeBytes - footerBytes
	if at < 0 {
		return d, base.Corruptf(s.name, 0, "a file of %d bytes is too short for a table", sizeBytes)
	}
	var p [footerBytes]byte
	if err := s.readAt(p[:], at); err != nil {
		return d, err
	}
	f, err := decodeFooter(p[:], at)
	if err != nil {
		return d, base.DamageAt(s.name, at, err)
	}
	if identity != 0 && identity != f.identity {
		return d, base.Corruptf(s.name, at, "the table has identity %016x where %016x is expected: it is another table's file", f.identity, identity)
	}
	s.identity = f.identity
	payload, _, err := s.readBlock(BlockDirectory, f.directory)
	if err != nil {
		return d, err
	}
	if d, err = decodeDirectory(payload, f.directory.offset); err != nil {
		return d, base.DamageAt(s.name, f.directory.offset, err)
	}
	return d, nil
}

// readPinned reads index, properties and filter.
func (t *Table) readPinned(d directory) error {
	s := t.source
	payload, _, err := s.readBlock(BlockIndex, d.index)
	if err != nil {
		return err
	}
	if t.index, err = decodeIndex(payload, d.dataEnd); err != nil {
		return base.DamageAt(s.name, d.index.offset, err)
	}
	if payload, _, err = s.readBlock(BlockProperties, d.properties); err != nil {
		return err
	}
	if t.properties, err = decodeProperties(payload); err != nil {
		return base.DamageAt(s.name, d.properties.offset, err)
	}
	if t.properties.DataBlocks != uint64(t.index.count()) {
		return base.Corruptf(s.name, d.properties.offset, "properties tell of %d data blocks, the index of %d", t.properties.DataBlocks, t.index.count())
	}
	t.properties.DataBytes, t.properties.IndexBytes, t.properties.FilterBytes = d.dataEnd, d.index.length, d.filter.length
	if d.filter.length == 0 {
		return nil
	}
	if payload, _, err = s.readBlock(BlockFilter, d.filter); err != nil {
		return err
	}
	if t.filter, err = decodeFilter(payload); err != nil {
		return base.DamageAt(s.name, d.filter.offset, err)
	}
	return nil
}

// Get finds the newest version of search's user key that is not newer than search; a
// tombstone is found too. hash is base.Hash of the user key. The value shares an
// immutable block and stays valid as long as it is held. When the block is cached,
// nothing is allocated.
func (t *Table) Get(search base.InternalKey, hash uint64) (value []byte, trailer base.Trailer, found bool, err error) {
	s := t.source
	if s.closed.Load() {
		return nil, 0, false, base.ErrClosed
	}
	if !t.filter.mayContain(hash) {
		s.stats.negatives.add()
		return nil, 0, false, nil
	}
	if i := t.index.find(search); i < t.index.count() {
		b, err := t.block(i)
		if err != nil {
			return nil, 0, false, err
		}
		if value, trailer, found, err = b.get(search); err != nil {
			return nil, 0, false, base.DamageAt(s.name, t.index.offsets[i], err)
		}
	}
	if t.filter.count > 0 {
		s.stats.passes.add()
		if !found {
			s.stats.falsePositives.add()
		}
	}
	return value, trailer, found, nil
}

// block returns data block i.
func (t *Table) block(i int) (*block, error) {
	if b := t.source.cached(i); b != nil {
		t.source.hit(b)
		return b, nil
	}
	b, err := t.source.load(i, t.index.extent(i))
	runtime.KeepAlive(t)
	return b, err
}

// Properties returns what the table holds.
func (t *Table) Properties() Properties { return t.properties }

// Close drops the table's cached blocks and closes its file; reads from then on fail
// with base.ErrClosed. It is idempotent. The table of a Handle is not closed by its
// users.
func (t *Table) Close() error { return t.source.close() }
