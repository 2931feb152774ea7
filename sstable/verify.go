package sstable

import (
	"bytes"
	"fmt"
	"iter"

	"lsmdb/internal/base"
)

// verifier reads a whole table and checks everything that its parts say of each
// other.
type verifier struct {
	table   *Table
	filter  *filter
	counted Properties
}

// Verify reads every byte of the table from the file, whatever is cached, and checks
// all of it: checksums, order and form of entries, restart points, separators, that
// the filter knows every key, and the properties. progress, if not nil, is told after
// each part how many bytes that was.
func (t *Table) Verify(progress func(bytes int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	v := verifier{table: &Table{handle: t.handle}}
	err := v.table.load(0) // the size too: no other one has a footer that verifies
	if err == nil {
		v.filter, err = v.table.readFilter()
	}
	if err != nil {
		return err
	}
	progress(v.table.properties.SizeBytes - v.table.properties.DataBytes)
	var reader blockReader
	var b block
	for i := range v.table.index.count() {
		if err := reader.read(v.table, i, &b); err != nil {
			return err
		}
		e := v.table.index.extent(i, i)
		if err := v.verifyBlock(&b, i); err != nil {
			return base.DamageAt(t.handle.name, e.offset, err)
		}
		progress(e.length)
	}
	return v.verifyProperties()
}

func (v *verifier) verifyBlock(b *block, i int) error {
	var key base.InternalKey
	if valueBytes, large := v.table.index.large(i); large {
		var stub block
		v.table.index.stub(i, &stub)
		if b.count() != 1 || !bytes.Equal(b.appendKey(nil, 0), stub.appendKey(nil, 0)) || len(b.value(0)) != valueBytes || !bytes.HasPrefix(b.value(0), stub.value(0)) {
			return fmt.Errorf("the index tells of a value of %d bytes for %s alone, and not of this block", valueBytes, stub.appendKey(nil, 0))
		}
		v.counted.LargeValues++
	}
	for j := range b.count() {
		key = b.appendKey(key[:0], j)
		if err := v.verifyEntry(key, b.value(j), i); err != nil {
			return err
		}
	}
	v.counted.DataBlocks++
	return nil
}

func (v *verifier) verifyEntry(key base.InternalKey, value []byte, i int) error {
	shadowed := false
	if v.counted.Entries > 0 {
		last := v.counted.Largest
		if base.Compare(last, key) >= 0 {
			return fmt.Errorf("key %s follows %s", key, last)
		}
		shadowed = bytes.Equal(last.UserKey(), key.UserKey())
	}
	switch x := v.table.index; {
	case x.find(key) != i:
		return fmt.Errorf("key %s does not lie between the separators of its block", key)
	case key.Kind() == base.KindDelete && len(value) > 0:
		return fmt.Errorf("tombstone %s has a value", key)
	case !v.filter.mayContain(base.Hash(key.UserKey())):
		return fmt.Errorf("key %s is missing from the filter", key)
	}
	v.counted.count(key, value, shadowed)
	return nil
}

func (v *verifier) verifyProperties() error {
	told := v.table.properties
	v.counted.IndexBytes, v.counted.FilterBytes, v.counted.RangeBytes = told.IndexBytes, told.FilterBytes, told.RangeBytes
	v.counted.countExpiries()
	v.counted.countRanges(v.table.ranges)
	v.counted.Placeholder = told.Placeholder // with it all numbers are the same: see Summary.Check
	if !bytes.Equal(v.counted.appendTo(nil), told.appendTo(nil)) {
		return base.Corruptf(v.table.handle.name, -1, "properties tell of %d entries from %s to %s, the blocks hold %d from %s to %s, or other figures differ",
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
	Large        bool             // of a data block: it holds one large value and nothing else
	First, Last  base.InternalKey // of a data block
}

// Blocks describes every block in the order of the file, read from there. With a
// damaged one comes an error and what is known of it from elsewhere; the walk goes
// on after it.
func (t *Table) Blocks() iter.Seq2[BlockInfo, error] {
	return func(yield func(BlockInfo, error) bool) {
		for i := range t.index.count() {
			e := t.index.extent(i, i)
			_, large := t.index.large(i)
			if !yield(t.describe(BlockInfo{Type: BlockData, Offset: e.offset, SizeBytes: e.length, Large: large})) {
				return
			}
		}
		for _, info := range t.tail {
			if !yield(t.describe(info)) {
				return
			}
		}
	}
}

// describe completes what is known of a block by what it holds.
func (t *Table) describe(info BlockInfo) (BlockInfo, error) {
	payload, c, err := t.handle.readBlock(nil, info.Type, extent{info.Offset, info.SizeBytes})
	if err != nil {
		return info, err
	}
	info.Compression, info.PayloadBytes = c, int64(len(payload))
	if info.Type == BlockData {
		var b block
		if err := t.handle.decodeData(&b, payload, info.Offset); err != nil {
			return info, err
		}
		info.Entries = b.count()
		info.First, info.Last = b.appendKey(nil, 0), b.appendKey(nil, b.count()-1)
	}
	return info, nil
}
