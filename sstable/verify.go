package sstable

import (
	"bytes"
	"fmt"
	"iter"
	"runtime"

	"lsmdb/internal/base"
)

// verifier reads a whole table and checks everything that its parts say of each
// other.
type verifier struct {
	table    *Table
	cursor   cursor
	last     base.InternalKey
	counted  Properties
	progress func(bytes int64)
}

// Verify reads every byte of the table from the file, whatever is cached, and checks
// all of it: checksums, order and form of entries, restart points, separators, that
// the filter knows every key, and the properties. progress, if not nil, is told after
// each part how many bytes that was.
func (t *Table) Verify(progress func(bytes int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	defer runtime.KeepAlive(t)
	fresh, err := t.reopen()
	if err != nil {
		return err
	}
	progress(fresh.properties.SizeBytes - fresh.index.dataEnd())
	v := verifier{table: fresh, progress: progress}
	for i := range fresh.index.count() {
		if err := v.verifyBlock(i); err != nil {
			return err
		}
	}
	return v.verifyProperties()
}

// reopen reads what is pinned in memory once more.
func (t *Table) reopen() (*Table, error) {
	s := t.source
	sizeBytes, err := s.file.Size()
	if s.closed.Load() {
		return nil, base.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("size of table %s: %w", s.name, err)
	}
	if sizeBytes != t.properties.SizeBytes {
		return nil, base.Corruptf(s.name, -1, "the file has %d bytes where %d are expected", sizeBytes, t.properties.SizeBytes)
	}
	o := ReaderOptions{SizeBytes: sizeBytes, Identity: s.identity}
	return openSource(newSource(s.file, s.name, o), o)
}

func (v *verifier) verifyBlock(i int) error {
	s, e := v.table.source, v.table.index.extent(i)
	payload, _, err := s.readBlock(BlockData, e)
	if err != nil {
		return err
	}
	b := new(block)
	if err = b.init(payload); err == nil {
		err = v.verifyEntries(b, i)
	}
	if err != nil {
		return base.DamageAt(s.name, e.offset, err)
	}
	v.counted.DataBlocks++
	v.progress(e.length)
	return nil
}

func (v *verifier) verifyEntries(b *block, i int) error {
	c := &v.cursor
	c.reset(b)
	restart, run := 0, 0
	for c.step() {
		if run++; restart < b.restartCount() && c.at == b.restart(restart) {
			restart, run = restart+1, 1
			if e, _ := b.parse(c.at); e.shared != 0 {
				return fmt.Errorf("entry at %d is a restart point but shares %d bytes", c.at, e.shared)
			}
		}
		if run > maxIntervalEntries {
			return fmt.Errorf("more than %d entries after a restart point, at %d of the block", maxIntervalEntries, c.at)
		}
		if err := v.verifyEntry(c.key, c.value, i); err != nil {
			return err
		}
	}
	if c.err == nil && restart != b.restartCount() {
		return fmt.Errorf("restart point %d is not where an entry starts", restart)
	}
	return c.err
}

func (v *verifier) verifyEntry(key base.InternalKey, value []byte, i int) error {
	shadowed := false
	if v.counted.Entries > 0 {
		if base.Compare(v.last, key) >= 0 {
			return fmt.Errorf("key %s follows %s", key, v.last)
		}
		shadowed = bytes.Equal(v.last.UserKey(), key.UserKey())
	}
	switch x := v.table.index; {
	case x.before(i, key):
		return fmt.Errorf("key %s is after its block's separator", key)
	case i > 0 && !x.before(i-1, key):
		return fmt.Errorf("key %s is not after the separator of the block before", key)
	case key.Kind() == base.KindDelete && len(value) > 0:
		return fmt.Errorf("tombstone %s has a value", key)
	case !v.table.filter.mayContain(base.Hash(key.UserKey())):
		return fmt.Errorf("key %s is missing from the filter", key)
	}
	v.counted.count(key, value, shadowed)
	v.last = append(v.last[:0], key...)
	return nil
}

func (v *verifier) verifyProperties() error {
	if v.counted.Entries > 0 {
		v.counted.Largest = v.last
	}
	if told := v.table.properties; !bytes.Equal(v.counted.appendTo(nil), told.appendTo(nil)) {
		return base.Corruptf(v.table.source.name, -1, "properties tell of %d entries from %s to %s, the blocks hold %d from %s to %s, or other figures differ",
			told.Entries, told.Smallest, told.Largest, v.counted.Entries, v.counted.Smallest, v.counted.Largest)
	}
	return nil
}

// BlockInfo describes a block of a table.
type BlockInfo struct {
	Type         BlockType
	Offset       int64 // in the file
	SizeBytes    int64 // as stored, trailer included
	Compression  Compression
	PayloadBytes int64            // decompressed
	Entries      int              // of a data block
	First, Last  base.InternalKey // of a data block
}

// Blocks describes every block in the order of the file, read from there. With a
// damaged one comes an error and what is known of it from elsewhere; the walk goes
// on after it.
func (t *Table) Blocks() iter.Seq2[BlockInfo, error] {
	return func(yield func(BlockInfo, error) bool) {
		defer runtime.KeepAlive(t)
		for i := range t.index.count() {
			if !yield(t.describe(BlockData, t.index.extent(i))) {
				return
			}
		}
		at := t.properties.SizeBytes - footerBytes
		var p [footerBytes]byte
		if err := t.source.readAt(p[:], at); err != nil {
			yield(BlockInfo{Type: BlockDirectory, Offset: -1}, err)
			return
		}
		f, err := decodeFooter(p[:], at)
		if err != nil {
			yield(BlockInfo{Type: BlockDirectory, Offset: -1}, base.DamageAt(t.source.name, at, err))
			return
		}
		t.describeListed(f.directory, yield)
	}
}

// describeListed describes the blocks that the directory lists, and the directory.
func (t *Table) describeListed(where extent, yield func(BlockInfo, error) bool) {
	payload, _, err := t.source.readBlock(BlockDirectory, where)
	for ; err == nil && len(payload) >= directoryEntryBytes; payload = payload[directoryEntryBytes:] {
		kind, e := decodeDirectoryEntry(payload)
		if !yield(t.describe(kind, e)) {
			return
		}
	}
	yield(t.describe(BlockDirectory, where))
}

func (t *Table) describe(kind BlockType, e extent) (BlockInfo, error) {
	info := BlockInfo{Type: kind, Offset: e.offset, SizeBytes: e.length}
	payload, c, err := t.source.readBlock(kind, e)
	if err != nil {
		return info, err
	}
	info.Compression, info.PayloadBytes = c, int64(len(payload))
	if kind != BlockData {
		return info, nil
	}
	var walk cursor
	b := new(block)
	if err := b.init(payload); err != nil {
		return info, base.DamageAt(t.source.name, e.offset, err)
	}
	walk.reset(b)
	for walk.step() {
		if info.Entries++; info.Entries == 1 {
			info.First = walk.key.Clone()
		}
	}
	if walk.err != nil {
		return info, base.DamageAt(t.source.name, e.offset, walk.err)
	}
	info.Last = walk.key.Clone()
	return info, nil
}
