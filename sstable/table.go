package sstable

import (
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfs"
)

// Table is a table file that is ready to be read. All methods may be called concurrently.
// The index is held in memory, decoded, and so is the filter once a search without it was in
// vain; data blocks come and go with the cache.
type Table struct {
	handle     *Handle
	index      *index
	filter     atomic.Pointer[filter] // one of those of filter.go until it is loaded
	ranges     ranges.List
	properties Properties
	slots      []atomic.Pointer[block] // one for each data block; empty where nothing is cached
	tail       []BlockInfo             // type and place of the blocks behind the data, in order
	unloaded   bool                    // no block comes into the cache any more; under its mutex
}

// memoryBytes is what stays in memory as long as the table is loaded, without the filter.
func (t *Table) memoryBytes() int64 {
	const overheadBytes, spanBytes = 1 << 10, 96
	slots := 8 * int64(len(t.slots))
	return overheadBytes + slots + t.index.memoryBytes() + spanBytes*int64(len(t.ranges)) + t.properties.RangeBytes
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

// load reads from the file what stays in memory. A size of 0 is asked for.
func (t *Table) load(sizeBytes int64) (err error) {
	h := t.handle
	if sizeBytes == 0 {
		if sizeBytes, err = h.size(); err != nil {
			return err
		}
	}
	end := newTail(h, sizeBytes)
	defer end.release()
	f, err := t.loadFooter(end, sizeBytes)
	if err != nil {
		return err
	}
	p := &t.properties
	*p, err = readPart(h, end, BlockProperties, f.properties, func(payload []byte) (Properties, error) {
		return decodeProperties(payload, f.properties.offset)
	})
	if err != nil {
		return err
	}
	p.SizeBytes, p.Identity = sizeBytes, f.identity
	t.tail = p.tail(f.properties.length)
	for _, info := range t.tail {
		e := extent{info.Offset, info.SizeBytes}
		switch info.Type {
		case BlockRangeDelete:
			t.ranges, err = readPart(h, end, BlockRangeDelete, e, p.decodeRanges)
		case BlockIndex:
			t.index, err = readPart(h, end, BlockIndex, e, p.decodeIndex)
		}
		if err != nil {
			return err
		}
	}
	t.filter.Store(later)
	t.slots = make([]atomic.Pointer[block], t.index.count())
	if h.options.Seq != 0 {
		return t.renumber(h.options.Seq)
	}
	return nil
}

// renumber puts the number that the MANIFEST knows in place of the placeholder.
func (t *Table) renumber(seq base.Seq) error {
	if t.properties.Placeholder == 0 {
		return base.Corruptf(t.handle.name, -1, "the table is said to have number %d, and has numbers of its own", seq)
	}
	if err := t.index.separators.renumber(seq); err != nil {
		return base.DamageAt(t.handle.name, t.properties.DataBytes+t.properties.FilterBytes+t.properties.RangeBytes, err)
	}
	t.ranges = t.ranges.Reduce(func(ranges.Span) []base.Seq { return []base.Seq{seq} })
	t.properties.Renumber(seq)
	return nil
}

// loadFooter reads the footer, and learns from it to what the table is bound.
func (t *Table) loadFooter(end *blockReader, sizeBytes int64) (f footer, err error) {
	h, at := t.handle, sizeBytes-footerBytes
	if at < 0 {
		return f, base.Corruptf(h.name, 0, "a file of %d bytes is too short for a table", sizeBytes)
	}
	p, err := end.piece(h, extent{at, footerBytes})
	if err != nil {
		return f, err
	}
	if f, err = decodeFooter(p, at); err != nil {
		return f, base.DamageAt(h.name, at, err)
	}
	if h.options.Identity == 0 {
		h.options.Identity = f.identity
	}
	if h.options.Identity != f.identity {
		return f, base.Corruptf(h.name, at, "the table has identity %016x where %016x is expected: it is another table's file", f.identity, h.options.Identity)
	}
	return f, nil
}

// newTail returns a reader that holds as much of the end of a file as what stays in memory
// is likely to take: who opens a table then waits for one read.
func newTail(h *Handle, sizeBytes int64) *blockReader {
	const indexShare, leastBytes = 128, 4 << 10
	r := readers.Get().(*blockReader)
	r.stored = resize(r.stored, min(sizeBytes/indexShare+leastBytes, sizeBytes, maxReusedBytes))
	if r.offset = sizeBytes - int64(len(r.stored)); h.ReadAt(r.stored, r.offset) != nil {
		r.stored, r.offset = r.stored[:0], sizeBytes // what is needed of it is read by itself
	}
	return r
}

// readFilter reads the filter from the file.
func (t *Table) readFilter() (*filter, error) {
	p := &t.properties
	if p.FilterBytes == 0 {
		return none, nil
	}
	f, err := readPart(t.handle, nil, BlockFilter, extent{p.DataBytes, p.FilterBytes}, decodeFilter)
	return &f, err
}

// readPart reads a block and decodes it.
func readPart[T any](h *Handle, end *blockReader, t BlockType, e extent, decode func([]byte) (T, error)) (part T, err error) {
	payload, _, err := h.readBlock(end, t, e)
	if err != nil {
		return part, err
	}
	if part, err = decode(payload); err != nil {
		return part, base.DamageAt(h.name, e.offset, err)
	}
	return part, nil
}

// Find finds the newest version of search's user key that is not newer than search, and how
// long its value is; a tombstone is found too. hash is base.Hash of the user key. The value
// shares an immutable block and stays valid as long as it is held. When the block is
// cached, nothing is allocated.
//
// A large value, that is one in a block of its own, is read only if the whole value is
// wanted. If not, value holds when it ends, if it does, and is empty otherwise.
func (t *Table) Find(search base.InternalKey, hash uint64, whole bool) (value []byte, valueBytes int, trailer base.Trailer, found bool, err error) {
	if t.handle.closed.Load() {
		return nil, 0, 0, false, base.ErrClosed
	}
	f := t.filter.Load()
	if f == due {
		if f, err = t.handle.loadFilter(t); err != nil {
			return nil, 0, 0, false, err
		}
	}
	if !f.mayContain(hash) {
		t.handle.options.Stats.negatives.add()
		return nil, 0, 0, false, nil
	}
	if i := t.index.find(search); i < t.index.count() {
		largeBytes, large := t.index.large(i)
		if large = large && !whole; large {
			var stub block
			t.index.stub(i, &stub)
			value, trailer, found = stub.get(search)
		} else {
			b, err := t.block(i, nil, nil)
			if err != nil {
				return nil, 0, 0, false, err
			}
			value, trailer, found = b.get(search)
		}
		if valueBytes = len(value); large && found {
			valueBytes = largeBytes
		}
	}
	switch {
	case f.count > 0:
		t.handle.options.Stats.passed(found)
	case f == later && !found:
		t.filter.CompareAndSwap(later, due)
	}
	return value, valueBytes, trailer, found, nil
}

// block returns data block i, the cached one or one that is read with r; without r a
// reader is borrowed. What is read is decoded into own if that is given, and is new
// and goes into the cache otherwise.
func (t *Table) block(i int, r *blockReader, own *block) (*block, error) {
	cache := t.handle.options.Cache
	if b := t.slots[i].Load(); b != nil {
		if own == nil {
			cache.hit(b)
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
	if own == nil {
		b = cache.insert(slot{t, i}, b)
	}
	return b, nil
}

// Ranges returns the range deletes of the table, nil if there are none. They are in memory
// as long as the table is.
func (t *Table) Ranges() ranges.List { return t.ranges }

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
func (t *Table) Close() error { return t.handle.Close() }

// Stats counts what the tables of one database do. The zero value is ready; all
// methods may be called concurrently.
type Stats struct {
	negatives      counter
	passes         counter
	falsePositives counter
	blocksRead     atomic.Uint64 // beside these two a read from the file is dear
	bytesRead      atomic.Uint64
}

// passed counts a search that a filter let pass.
func (s *Stats) passed(found bool) {
	s.passes.add()
	if !found {
		s.falsePositives.add()
	}
}

// noStats is for those who are not interested.
var noStats Stats

// ReadMetrics counts data blocks that were read from files and not from the cache.
type ReadMetrics struct {
	BlocksRead, BytesRead uint64 // read-ahead included in the bytes
}

// Reads returns what was read from files.
func (s *Stats) Reads() ReadMetrics { return ReadMetrics{s.blocksRead.Load(), s.bytesRead.Load()} }

// FilterMetrics counts filters that were asked, those that spared the search, and those that
// let pass a key of which no version was found.
type FilterMetrics struct {
	Checks, Negatives, FalsePositives uint64
}

// Filters returns what filters were worth.
func (s *Stats) Filters() FilterMetrics {
	negatives := s.negatives.load()
	return FilterMetrics{negatives + s.passes.load(), negatives, s.falsePositives.load()}
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
