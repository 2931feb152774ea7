package sstable

import (
	"sync"

	"lsmdb/internal/budget"
)

// blockReader reads data blocks into buffers that it uses again and again. It may read
// ahead: the blocks after the one that was asked for come along. Such reads start
// short and double, so that a seek followed by a few steps does not pay for a scan.
type blockReader struct {
	stored  []byte // part of the file, from offset
	offset  int64
	decoded []byte // payload of a block that was compressed

	next          int  // the block that a sequential reader asks for next
	keysOnly      bool // blocks with large values are not asked for
	aheadBytes    int64
	maxAheadBytes int64

	account      *budget.Account // pays for the buffers; nil: nobody does
	chargedBytes int64
}

const (
	firstReadAheadBytes = 16 << 10
	maxReusedBytes      = 1 << 20
)

// resize returns p, or new memory, with the given length. Its bytes are arbitrary.
// Buffers longer than maxReusedBytes are not used again: they would be held for
// nothing, and the block that was decoded from one may have kept it.
func resize(p []byte, length int64) []byte {
	if int64(cap(p)) < length || cap(p) > maxReusedBytes {
		return make([]byte, length)
	}
	return p[:length]
}

// read reads data block i of an open table and decodes it into b. After an error it
// goes to the file again.
func (r *blockReader) read(t *Table, i int, b *block) error {
	err := r.fetch(t, i)
	if err == nil {
		err = r.decode(t.handle, t.index.extent(i, i), b)
	}
	if err != nil {
		r.stored = r.stored[:0]
	}
	if r.account != nil {
		r.charge(int64(cap(r.stored) + cap(r.decoded)))
	}
	return err
}

// charge has the account pay for so many bytes from now on.
func (r *blockReader) charge(bytes int64) {
	if bytes != r.chargedBytes {
		r.account.Add(budget.Readers, bytes-r.chargedBytes)
		r.chargedBytes = bytes
		r.account.Settle()
	}
}

// decode decodes a block that lies in stored.
func (r *blockReader) decode(h *Handle, e extent, b *block) error {
	start := e.offset - r.offset
	payload, _, err := h.openBlock(&r.decoded, r.stored[start:start+e.length], BlockData, e.offset)
	if err != nil {
		return err
	}
	if err := h.decodeData(b, payload, e.offset); err != nil {
		return err
	}
	if h.options.Seq != 0 && len(payload) > maxReusedBytes {
		r.stored = r.stored[:0] // the block may have kept it, and changed the number there
	}
	h.options.Stats.blocksRead.Add(1)
	return nil
}

// fetch makes block i lie in stored.
func (r *blockReader) fetch(t *Table, i int) error {
	x := t.index
	e := x.extent(i, i)
	sequential := i == r.next && i > 0
	r.next = i + 1
	if r.holds(e) {
		return nil
	}
	r.aheadBytes = min(max(2*r.aheadBytes, firstReadAheadBytes), r.maxAheadBytes)
	if !sequential || !r.account.MayReadAhead() {
		r.aheadBytes = 0
	}
	last := i
	for last+1 < x.count() && x.extent(i, last+1).length <= r.aheadBytes {
		if _, large := x.large(last + 1); large && r.keysOnly {
			break
		}
		last++
	}
	err := r.fill(t.handle, x.extent(i, last))
	if err != nil && last > i {
		err = r.fill(t.handle, e) // what lies behind the block does not matter to its reader
	}
	return err
}

// pass is told that the reader's user needed nothing of block i: what follows is as if it
// had been read.
func (r *blockReader) pass(i int) {
	if i == r.next {
		r.next++
	}
}

// piece returns a piece of the file in memory of its own. It is read only where r, which may
// be nil, does not hold it.
func (r *blockReader) piece(h *Handle, e extent) ([]byte, error) {
	p := make([]byte, e.length)
	if r.holds(e) {
		copy(p, r.stored[e.offset-r.offset:])
		return p, nil
	}
	return p, h.ReadAt(p, e.offset)
}

// holds reports whether a piece of the file lies in stored.
func (r *blockReader) holds(e extent) bool {
	return r != nil && e.offset >= r.offset && e.end() <= r.offset+int64(len(r.stored))
}

func (r *blockReader) fill(h *Handle, e extent) error {
	r.stored, r.offset = resize(r.stored, e.length), e.offset
	err := h.ReadAt(r.stored, e.offset)
	if err == nil {
		h.options.Stats.bytesRead.Add(uint64(e.length))
	}
	return err
}

// readers holds blockReaders for reads of a single block.
var readers = sync.Pool{New: func() any { return new(blockReader) }}

// restart forgets what was read, and gives up long buffers.
func (r *blockReader) restart(maxAheadBytes int64, account *budget.Account) {
	*r = blockReader{stored: resize(r.stored, 0), decoded: resize(r.decoded, 0), maxAheadBytes: maxAheadBytes, account: account}
}

// rest tells that the buffers are nobody's for now.
func (r *blockReader) rest() {
	if r != nil && r.account != nil {
		r.charge(0)
	}
}

// release gives a reader back.
func (r *blockReader) release() {
	r.restart(0, nil)
	readers.Put(r)
}
