package sstable

import (
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfs"
)

// Table is a table file that is ready to be read. All methods may be called concurrently.
// Index and filter are held in memory, decoded; data blocks come and go with the
// cache.
type Table struct {
	source     *source
	index      *index
	filter     filter
	ranges     *ranges.List
	properties Properties
	tail       []BlockInfo // type and place of the blocks behind the data, in order
}

// ReaderOptions says what a table works with.
type ReaderOptions struct {
	SizeBytes int64  // of the file, where it is known; 0: the file is asked
	Identity  uint64 // what the table must be bound to; 0: whatever it says
	Cache     *Cache // nil: every read goes to the file
	Stats     *Stats // nil: nobody is interested

	// Seq is the number of all that is in a table whose Summary has a placeholder; 0: any
	// other table, or the placeholders are to be seen.
	Seq base.Seq
}

// Open opens a table by itself. Its file is open until Close.
func Open(fs vfs.Files, path string, o ReaderOptions) (*Table, error) {
	return NewHandle(fs, path, o, new(OpenFiles)).Table()
}

// loadTable reads from the file what stays in memory.
func loadTable(s *source, sizeBytes int64) (*Table, error) {
	if sizeBytes == 0 {
		var err error
		if sizeBytes, err = s.size(); err != nil {
			return nil, err
		}
	}
	t := &Table{source: s}
	if err := t.load(sizeBytes); err != nil {
		return nil, err
	}
	if s.cache != nil {
		s.cache.attach(s, t.index.count())
	}
	return t, nil
}

// load reads the parts behind the data.
func (t *Table) load(sizeBytes int64) error {
	f, err := t.loadFooter(sizeBytes)
	if err != nil {
		return err
	}
	s := t.source
	p, err := readPart(s, BlockProperties, f.properties, func(payload []byte) (Properties, error) {
		return decodeProperties(payload, f.properties.offset)
	})
	if err != nil {
		return err
	}
	p.SizeBytes, p.Identity = sizeBytes, f.identity
	t.properties = p
	filter := extent{p.DataBytes, p.FilterBytes}
	rangeDeletes := extent{filter.end(), p.RangeBytes}
	separators := extent{rangeDeletes.end(), p.IndexBytes}
	if filter.length > 0 {
		t.tail = append(t.tail, BlockInfo{Type: BlockFilter, Offset: filter.offset, SizeBytes: filter.length})
		if t.filter, err = readPart(s, BlockFilter, filter, decodeFilter); err != nil {
			return err
		}
	}
	if rangeDeletes.length > 0 {
		t.tail = append(t.tail, BlockInfo{Type: BlockRangeDelete, Offset: rangeDeletes.offset, SizeBytes: rangeDeletes.length})
		if t.ranges, err = readPart(s, BlockRangeDelete, rangeDeletes, p.decodeRanges); err != nil {
			return err
		}
	}
	t.tail = append(t.tail,
		BlockInfo{Type: BlockIndex, Offset: separators.offset, SizeBytes: separators.length},
		BlockInfo{Type: BlockProperties, Offset: f.properties.offset, SizeBytes: f.properties.length})
	t.index, err = readPart(s, BlockIndex, separators, func(payload []byte) (*index, error) {
		return decodeIndex(payload, p.DataBytes)
	})
	if err == nil && (p.DataBlocks != uint64(t.index.count()) || p.LargeValues != t.index.largeValues) {
		return base.Corruptf(s.name, separators.offset, "properties tell of %d data blocks, %d of them large values, the index of %d and %d",
			p.DataBlocks, p.LargeValues, t.index.count(), t.index.largeValues)
	}
	if err == nil && s.seq != 0 {
		err = t.renumber(separators.offset)
	}
	return err
}

// renumber puts the number that the MANIFEST knows in place of the placeholder.
func (t *Table) renumber(indexOffset int64) error {
	s := t.source
	if t.properties.Placeholder == 0 {
		return base.Corruptf(s.name, -1, "the table is said to have number %d, and has numbers of its own", s.seq)
	}
	if err := t.index.separators.renumber(s.seq); err != nil {
		return base.DamageAt(s.name, indexOffset, err)
	}
	t.ranges = t.ranges.Reduce(func(ranges.Span) []base.Seq { return []base.Seq{s.seq} })
	t.properties.Renumber(s.seq)
	return nil
}

// loadFooter reads the footer, and learns from it to what the table is bound.
func (t *Table) loadFooter(sizeBytes int64) (f footer, err error) {
	s, at := t.source, sizeBytes-footerBytes
	if at < 0 {
		return f, base.Corruptf(s.name, 0, "a file of %d bytes is too short for a table", sizeBytes)
	}
	var p [footerBytes]byte
	if err := s.readAt(p[:], at); err != nil {
		return f, err
	}
	if f, err = decodeFooter(p[:], at); err != nil {
		return f, base.DamageAt(s.name, at, err)
	}
	if s.identity == 0 {
		s.identity = f.identity
	}
	if s.identity != f.identity {
		return f, base.Corruptf(s.name, at, "the table has identity %016x where %016x is expected: it is another table's file", f.identity, s.identity)
	}
	return f, nil
}

// readPart reads a block and decodes it.
func readPart[T any](s *source, t BlockType, e extent, decode func([]byte) (T, error)) (part T, err error) {
	payload, _, err := s.readBlock(t, e)
	if err != nil {
		return part, err
	}
	if part, err = decode(payload); err != nil {
		return part, base.DamageAt(s.name, e.offset, err)
	}
	return part, nil
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
		b, err := t.block(i, nil, nil)
		if err != nil {
			return nil, 0, false, err
		}
		value, trailer, found = b.get(search)
	}
	if t.filter.count > 0 {
		t.count(found)
	}
	return value, trailer, found, nil
}

// Find finds what Get finds, and how long its value is. A large value, that is one in a
// block of its own, is not read: then value holds when it ends, if it does, and is empty
// otherwise.
func (t *Table) Find(search base.InternalKey, hash uint64) (value []byte, valueBytes int, trailer base.Trailer, found bool, err error) {
	if t.index.largeValues > 0 && !t.source.closed.Load() && t.filter.mayContain(hash) {
		if i := t.index.find(search); i < t.index.count() {
			if valueBytes, ok := t.index.large(i); ok {
				var stub block
				t.index.stub(i, &stub)
				if value, trailer, found = stub.get(search); !found {
					valueBytes = 0
				}
				t.count(found)
				return value, valueBytes, trailer, found, nil
			}
		}
	}
	value, trailer, found, err = t.Get(search, hash)
	return value, len(value), trailer, found, err
}

// count counts a search that the filter let pass.
func (t *Table) count(found bool) {
	if t.filter.count > 0 {
		t.source.stats.passes.add()
		if !found {
			t.source.stats.falsePositives.add()
		}
	}
}

// block returns data block i, the cached one or one that is read with r; without r a
// reader is borrowed. What is read is decoded into own if that is given, and is new
// and goes into the cache otherwise.
func (t *Table) block(i int, r *blockReader, own *block) (*block, error) {
	s := t.source
	if b := s.cached(i); b != nil {
		if own == nil {
			s.hit(b)
		}
		return b, nil
	}
	if r == nil {
		r = readers.Get().(*blockReader)
		defer r.release()
	}
	b := own
	if own == nil {
		b = new(block)
	}
	if err := r.read(t, i, b); err != nil {
		return nil, err
	}
	if own == nil && s.cache != nil {
		b = s.cache.insert(slot{s, i}, b)
	}
	return b, nil
}

// Ranges returns the range deletes of the table, nil if there are none. They are in memory
// as long as the table is.
func (t *Table) Ranges() *ranges.List { return t.ranges }

// Share estimates which part of the entries lies in [start, end); a nil end is open.
func (t *Table) Share(start, end []byte) float64 {
	blocks := t.index.count()
	if blocks == 0 {
		return 0
	}
	from, to := t.index.find(base.AppendSearchKey(nil, start, base.MaxSeq)), blocks
	if end != nil {
		to = t.index.find(base.AppendSearchKey(nil, end, base.MaxSeq))
	}
	return float64(to-from) / float64(blocks)
}

// Properties returns what the table holds.
func (t *Table) Properties() Properties { return t.properties }

// Close drops the table's cached blocks and closes its file; reads from then on fail
// with base.ErrClosed. It is idempotent. For the table of a Handle it is Handle.Close.
func (t *Table) Close() error { return t.source.close() }

// Stats counts what the tables of one database do. The zero value is ready; all
// methods may be called concurrently.
type Stats struct {
	negatives      counter
	passes         counter
	falsePositives counter
	blocksRead     atomic.Uint64 // beside these two a read from the file is dear
	bytesRead      atomic.Uint64
}

// ReadMetrics is what Stats has counted.
type ReadMetrics struct {
	FilterChecks         uint64 // filters asked
	FilterNegatives      uint64 // ... that spared the search
	FilterFalsePositives uint64 // ... that let pass a key of which no version was found
	BlocksRead           uint64 // data blocks read from files, not from the cache
	BytesRead            uint64 // bytes of data blocks read from files, read-ahead included
}

// Metrics returns the counts.
func (s *Stats) Metrics() ReadMetrics {
	m := ReadMetrics{
		FilterNegatives:      s.negatives.load(),
		FilterFalsePositives: s.falsePositives.load(),
		BlocksRead:           s.blocksRead.Load(),
		BytesRead:            s.bytesRead.Load(),
	}
	m.FilterChecks = m.FilterNegatives + s.passes.load()
	return m
}

// counter counts in paths so hot that processors must not share a cache line.
type counter struct {
	stripes [base.Stripes]struct {
		n atomic.Uint64
		_ [base.StripeBytes - 8]byte
	}
}

func (c *counter) add() { c.stripes[base.Stripe()].n.Add(1) }

func (c *counter) load() (sum uint64) {
	for i := range c.stripes {
		sum += c.stripes[i].n.Load()
	}
	return sum
}
