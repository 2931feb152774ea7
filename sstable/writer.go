package sstable

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfs"
)

// Writer writes one table. It is used by one goroutine. The first error of the file
// is returned by every later call, with Aside maybe a few calls later; then the caller
// drops the Writer by Abort and removes the file.
type Writer struct {
	file    vfs.File
	name    string
	options WriterOptions

	block      blockBuilder    // its buffer holds the finished ones, too
	finished   []finishedBlock // not handed over yet
	largeBytes int             // values from this length on lie in a block of their own
	hashes     [][]uint64      // of the distinct user keys
	ranges     ranges.List
	properties Properties // Largest is the entry added last
	closed     bool
	err        error
	charged    int64 // what the account pays for

	// Blocks that were handed over are under way until settle.
	underWay    func() error // waits until they are stored
	handedBytes int64        // of all blocks that were handed over and the index
	spare       []byte       // the buffer of those under way

	// These are the job's that stores, while there is one.
	index     blockBuilder
	separator base.InternalKey // the index entry added last
	location  []byte           // scratch for the value of an index entry
	encoded   []byte           // scratch for compression
	unwritten []byte           // blocks on their way to the file
	offset    int64            // where the next block goes, unwritten ones counted
	writeback vfs.Writeback
	storeErr  error
}

// finishedBlock is a data block that is not stored yet.
type finishedBlock struct {
	payload   []byte
	separator base.InternalKey // of its index entry
	large     []byte           // the value in it, where that is large
}

// WriterOptions says how a table is built.
type WriterOptions struct {
	Identity         uint64      // what its blocks are bound to; not 0
	Compression      Compression // of data and index blocks; CompressionNone
	FilterBitsPerKey int         // 10 gives about 1 % false positives; 0 or less: no filter
	Placeholder      bool        // everything has number 1, in place of one that only the MANIFEST will know: see Summary
	BlockBytes       int         // payload at which a data block is finished; 0: 4096; at most 16 MiB

	// Aside runs a job beside its caller and returns how to wait for its outcome, any number
	// of times. It is given blocks to store while the next are made. Nil: they are stored in
	// between.
	Aside func(job func() error) (wait func() error)

	Account *budget.Account // pays for what is held until the table is complete; nil: nobody does
}

const (
	defaultBlockBytes = 4096
	maxBlockBytes     = 16 << 20
	minLargeBytes     = 2 << 10   // see Writer.largeBytes
	writeBytes        = 256 << 10 // blocks go to the file in pieces of about this size
	asideBytes        = 256 << 10 // blocks are handed over in pieces of about this size
	aheadBytes        = 1 << 20   // so much may be on its way to the disk
)

// NewWriter starts a table in the empty file f, which belongs to the Writer from now
// on. The name is for errors only.
func NewWriter(f vfs.File, name string, o WriterOptions) *Writer {
	if o.Identity == 0 || o.Compression > CompressionZstd || o.BlockBytes < 0 || o.BlockBytes > maxBlockBytes {
		panic(fmt.Sprintf("invariant: table writer options %+v", o))
	}
	o.BlockBytes = cmp.Or(o.BlockBytes, defaultBlockBytes)
	// Two values of half a block do not share one anyway: this way their index entries also
	// tell how long they are. In larger blocks values up to that length share the cost.
	largeBytes := max(minLargeBytes, o.BlockBytes/2)
	return &Writer{
		file: f, name: name, options: o, largeBytes: largeBytes, underWay: func() error { return nil },
		writeback: vfs.NewWriteback(f, aheadBytes),
	}
}

// Add appends an entry. Keys must ascend; one that does not is a bug of the caller
// and panics. Key and value may be reused after the call.
func (w *Writer) Add(key base.InternalKey, value []byte) error {
	if w.err != nil {
		return w.err
	}
	shared, shadowed := w.checkEntry(key, value)
	const lengthsAndRestartBytes = 3 + 3 + 5 + 4 // at most
	more := lengthsAndRestartBytes + int64(len(key)-shared) + int64(len(value))
	large := len(value) >= w.largeBytes
	if w.block.count > 0 && (large || w.block.sizeBytes()+more > int64(w.options.BlockBytes)) {
		w.finishBlock(appendSeparator(nil, w.properties.Largest, key), nil)
	}
	w.block.add(key, value, shared)
	if w.options.FilterBitsPerKey > 0 && !shadowed {
		w.hashes = appendHash(w.hashes, base.Hash(key.UserKey()))
	}
	w.properties.count(key, value, shadowed)
	if large {
		w.properties.LargeValues++
		w.finishBlock(key.Clone(), w.block.buffer[len(w.block.buffer)-len(value):])
	}
	return w.err
}

// AddRanges gives the table its range deletes, of which none has an open end. It is called
// once at most, at any time before Finish; a table may consist of them.
func (w *Writer) AddRanges(l ranges.List) {
	if w.ranges != nil {
		panic("invariant: a table gets range deletes twice")
	}
	w.ranges = l
}

// checkEntry asserts what Add demands. It returns the length of the user key's common
// prefix with the one before, and whether the two are equal.
func (w *Writer) checkEntry(key base.InternalKey, value []byte) (shared int, shadowed bool) {
	if err := base.CheckInternalKey(key); err != nil || len(value) > maxValueBytes {
		panic(fmt.Sprintf("invariant: table entry with key of %d bytes and value of %d bytes: %v", len(key), len(value), err))
	}
	switch kind := key.Kind(); {
	case kind == base.KindDelete && len(value) > 0:
		panic(fmt.Sprintf("invariant: tombstone %s has a value", key))
	case checkKind(kind, len(value)) != nil:
		panic(fmt.Sprintf("invariant: table entry %s: %v", key, checkKind(kind, len(value))))
	}
	if w.properties.Entries == 0 {
		return 0, false
	}
	before := w.properties.Largest
	last, user := before.UserKey(), key.UserKey()
	shared = base.CommonPrefix(last, user)
	c := bytes.Compare(last[shared:], user[shared:])
	if c > 0 || c == 0 && before.Trailer() <= key.Trailer() {
		panic(fmt.Sprintf("invariant: table entry %s after %s", key, before))
	}
	return shared, c == 0
}

// SizeBytes estimates the size of the file if it were finished now. Blocks that are not
// stored yet count as if they did not shrink.
func (w *Writer) SizeBytes() int64 {
	const fixedBytes = 512 // properties, footer
	size := w.handedBytes + int64(w.block.start) + fixedBytes
	size += int64(w.properties.Entries-w.properties.Shadowed) * int64(max(w.options.FilterBitsPerKey, 0)) / 8
	if w.block.count > 0 {
		size += w.block.sizeBytes()
	}
	return size
}

// Finish writes what is missing, syncs the file and closes it. The table is durable
// once its directory is synced too. After an error the caller removes the file.
func (w *Writer) Finish() (Properties, error) {
	if w.err == nil {
		w.writeTail()
	}
	if w.err == nil {
		w.fail("sync", w.file.Sync())
	}
	w.fail("close", w.close())
	err := w.err
	w.fail("use", errWriterDone)
	return w.properties, err
}

// Abort closes the file without finishing the table. It is idempotent and does
// nothing after Finish.
func (w *Writer) Abort() error {
	w.settle()
	err := w.close()
	w.fail("use", errWriterDone)
	return err
}

func (w *Writer) close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	w.charge(0)
	return w.file.Close()
}

// finishBlock ends the data block under construction. separator is the key of its index
// entry; large is the value in it, where that is large.
func (w *Writer) finishBlock(separator base.InternalKey, large []byte) {
	w.finished = append(w.finished, finishedBlock{w.block.finish(), separator, large})
	w.block = blockBuilder{buffer: w.block.buffer, start: len(w.block.buffer), restarts: w.block.restarts[:0]}
	w.properties.DataBlocks++
	if w.options.Aside == nil || w.block.start >= asideBytes {
		w.handOver()
	}
}

// handOver has the finished blocks stored, when those before are.
func (w *Writer) handOver() {
	w.settle()
	blocks := w.finished
	store := func() error { return w.store(blocks) }
	w.finished, w.handedBytes = nil, w.handedBytes+int64(w.block.start)
	w.block.buffer, w.spare, w.block.start = resize(w.spare, 0), w.block.buffer, 0
	if w.options.Aside != nil {
		w.underWay = w.options.Aside(store)
		return
	}
	_ = store() // an error shows in storeErr
	w.settle()
}

// settle waits until all that was handed over is stored.
func (w *Writer) settle() {
	w.fail("write", cmp.Or(w.underWay(), w.storeErr))
	w.handedBytes = w.offset + w.index.sizeBytes()
	buffers := cap(w.block.buffer) + cap(w.spare) + cap(w.index.buffer) + cap(w.encoded) + cap(w.unwritten)
	w.charge(int64(buffers + 8*pieceHashes*len(w.hashes)))
}

// charge has the account pay for so many bytes from now on.
func (w *Writer) charge(bytes int64) {
	if bytes != w.charged && (bytes == 0 || !w.closed) {
		w.options.Account.Add(budget.Writers, bytes-w.charged)
		w.charged = bytes
		w.options.Account.Settle()
	}
}

// store stores data blocks and adds their entries to the index.
func (w *Writer) store(blocks []finishedBlock) error {
	for _, b := range blocks {
		storedBytes, shared := w.writeBlock(BlockData, b.payload, w.options.Compression), 0
		w.encoded = resize(w.encoded, 0)
		if w.index.count > 0 {
			shared = base.CommonPrefix(w.separator.UserKey(), b.separator.UserKey())
		}
		w.location = appendLocation(w.location[:0], storedBytes, b.separator, b.large)
		w.index.add(b.separator, w.location, shared)
		w.separator = b.separator
	}
	return w.storeErr
}

// writeTail writes everything that follows the data blocks.
func (w *Writer) writeTail() {
	w.options.Aside = nil // nothing is left to be made meanwhile
	if w.block.count > 0 {
		w.finishBlock(base.AppendInternalKey(nil, w.properties.Largest.UserKey(), 0), nil)
	}
	w.handOver()
	p := &w.properties
	p.DataBytes = w.offset
	p.countExpiries()
	p.countRanges(w.ranges)
	if w.options.Placeholder && p.LargestSeq != 0 {
		p.Placeholder = placeholder
		if p.SmallestSeq != placeholder || p.LargestSeq != placeholder {
			panic(fmt.Sprintf("invariant: sequence numbers from %d to %d in place of number %d", p.SmallestSeq, p.LargestSeq, placeholder))
		}
	}
	if len(w.hashes) > 0 {
		p.FilterBytes = w.writeBlock(BlockFilter, buildFilter(w.hashes, w.options.FilterBitsPerKey), CompressionNone)
	}
	w.hashes = nil
	if p.RangeDeletes > 0 {
		p.RangeBytes = w.writeBlock(BlockRangeDelete, w.ranges.AppendTo(nil), w.options.Compression)
	}
	p.IndexBytes = w.writeBlock(BlockIndex, w.index.finish(), w.options.Compression)
	properties := extent{offset: w.offset}
	properties.length = w.writeBlock(BlockProperties, p.appendTo(nil), CompressionNone)
	w.unwritten = footer{properties, w.options.Identity}.appendTo(w.unwritten)
	w.offset += footerBytes
	p.SizeBytes, p.Identity = w.offset, w.options.Identity
	w.flush()
	w.settle()
}

// writeBlock stores a payload as the next block and returns the bytes that it takes.
// Compression is kept only where it saves enough to pay for undoing it at each read.
// An error shows in storeErr.
func (w *Writer) writeBlock(t BlockType, payload []byte, c Compression) (lengthBytes int64) {
	if len(payload) > maxPayloadBytes {
		w.storeErr = cmp.Or(w.storeErr, fmt.Errorf("%s block of %d bytes is too long", t, len(payload)))
		return 0
	}
	stored := payload
	if c != CompressionNone {
		w.encoded = c.compress(w.encoded, payload)
		stored = w.encoded
		const savesPercent = 12
		if int64(len(stored))*100 > int64(len(payload))*(100-savesPercent) {
			stored, c = payload, CompressionNone
		}
	}
	w.unwritten = appendBlock(w.unwritten, stored, t, c, w.options.Identity, w.offset)
	lengthBytes = int64(len(stored)) + blockTrailerBytes
	w.offset += lengthBytes
	if len(w.unwritten) >= writeBytes {
		w.flush()
	}
	return lengthBytes
}

// flush writes the waiting blocks to the file, unless something failed before.
func (w *Writer) flush() {
	if w.storeErr == nil {
		_, err := w.file.WriteAt(w.unwritten, w.offset-int64(len(w.unwritten)))
		if err == nil {
			err = w.writeback.Wrote(w.offset)
		}
		w.storeErr, w.unwritten = err, resize(w.unwritten, 0)
	}
}

// fail remembers the first error.
func (w *Writer) fail(operation string, err error) {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("%s table %s: %w", operation, w.name, err)
	}
}

var errWriterDone = errors.New("writer is finished or aborted")

// blockBuilder assembles the payload of one data or index block after the other.
type blockBuilder struct {
	buffer   []byte
	start    int // of the block in it
	restarts []uint32
	count    int
}

// sizeBytes returns the length of the payload so far.
func (b *blockBuilder) sizeBytes() int64 {
	return int64(len(b.buffer)-b.start) + 4*int64(len(b.restarts)+1)
}

// add appends an entry. shared is the length of the prefix that its user key has in
// common with the one added before.
func (b *blockBuilder) add(key base.InternalKey, value []byte, shared int) {
	if b.count%maxIntervalEntries == 0 {
		b.restarts = append(b.restarts, uint32(len(b.buffer)-b.start))
		shared = 0
	}
	b.count++
	b.buffer = binary.AppendUvarint(b.buffer, uint64(shared))
	b.buffer = binary.AppendUvarint(b.buffer, uint64(len(key)-base.TrailerBytes-shared))
	b.buffer = binary.AppendUvarint(b.buffer, uint64(len(value)))
	b.buffer = append(b.buffer, key[shared:]...)
	b.buffer = append(b.buffer, value...)
}

// finish returns the payload.
func (b *blockBuilder) finish() []byte {
	for _, at := range b.restarts {
		b.buffer = binary.LittleEndian.AppendUint32(b.buffer, at)
	}
	b.buffer = binary.LittleEndian.AppendUint32(b.buffer, uint32(len(b.restarts)))
	return b.buffer[b.start:]
}
