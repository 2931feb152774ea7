package sstable

import (
	"fmt"
	"slices"

	"lsmdb/internal/base"
)

// cursor walks the entries of one block. Forward it rebuilds each key in a buffer of
// its own. Backward, where a key depends on those before it, it decodes the run from
// a restart point once and then takes entries off that stack.
//
// A move that returns false leaves the cursor where it was; err tells whether the
// block turned out to be malformed.
type cursor struct {
	block *block
	at    int // the entry it stands on is entries[at:end]
	end   int
	key   base.InternalKey
	value []byte
	err   error

	buffer   []byte      // key lies here, unless reversed
	reversed bool        // key lies in backKeys
	back     []backEntry // entries of the current run that come before the current one
	backKeys []byte
}

// backEntry is a decoded entry on the stack; its key is backKeys[keyStart:keyEnd].
type backEntry struct {
	at, value, end   int
	keyStart, keyEnd int
}

// reset puts the cursor on no entry of b. Buffers are kept for reuse.
func (c *cursor) reset(b *block) {
	c.block, c.key, c.value, c.err = b, nil, nil, nil
	c.rewind(0)
}

// rewind lets the next step decode the entry at the restart point at.
func (c *cursor) rewind(at int) {
	c.at, c.end = at, at
	c.buffer, c.back, c.reversed = c.buffer[:0], c.back[:0], false
}

func (c *cursor) first() bool {
	c.rewind(0)
	return c.step()
}

func (c *cursor) last() bool {
	return c.decodeRun(c.block.restartCount()-1, len(c.block.entries), nil) && c.pop()
}

// seekGE moves to the first entry at or after search.
func (c *cursor) seekGE(search base.InternalKey) bool {
	restart, err := c.block.seekRestart(search)
	if err != nil {
		c.err = err
		return false
	}
	c.rewind(c.block.restart(max(restart, 0)))
	for c.step() {
		if base.Compare(c.key, search) >= 0 {
			return true
		}
	}
	return false
}

// seekLT moves to the last entry before search.
func (c *cursor) seekLT(search base.InternalKey) bool {
	restart, err := c.block.seekRestart(search)
	if err != nil {
		c.err = err
		return false
	}
	return restart >= 0 && c.decodeRun(restart, len(c.block.entries), search) && c.pop()
}

func (c *cursor) next() bool {
	if c.reversed {
		c.buffer = append(c.buffer[:0], c.key...)
		c.reversed = false
	}
	c.back = c.back[:0]
	return c.step()
}

func (c *cursor) prev() bool {
	if len(c.back) == 0 {
		if c.at == 0 {
			return false
		}
		low, high := 0, c.block.restartCount()
		for low < high { // the first restart point at or after the current entry
			middle := int(uint(low+high) / 2)
			if c.block.restart(middle) < c.at {
				low = middle + 1
			} else {
				high = middle
			}
		}
		if !c.decodeRun(low-1, c.at, nil) {
			return false
		}
	}
	return c.pop()
}

// step decodes the entry at end, after the one whose key lies in buffer.
func (c *cursor) step() bool {
	if c.end >= len(c.block.entries) {
		return false
	}
	e, ok := c.block.parse(c.end)
	if !ok || e.shared != 0 && e.shared+base.TrailerBytes > len(c.buffer) {
		c.err = malformedEntry(c.end)
		return false
	}
	c.buffer = append(c.buffer[:e.shared], c.block.entries[e.body:e.value]...)
	c.at, c.end = c.end, e.end
	c.key = c.buffer
	c.value = c.block.entries[e.value:e.end:e.end]
	return c.checkKey(c.buffer, c.at)
}

func (c *cursor) checkKey(key base.InternalKey, at int) bool {
	if kind := key.Kind(); !kind.Known() {
		c.err = unknownKind(kind, at)
		return false
	}
	if len(key) > base.MaxKeyBytes+base.TrailerBytes {
		c.err = malformedEntry(at)
		return false
	}
	return true
}

// decodeRun fills the stack with the entries from a restart point on that lie before
// the offset limit, before the next restart point and before the key search, if that
// is not nil.
func (c *cursor) decodeRun(restart, limit int, search base.InternalKey) bool {
	if restart+1 < c.block.restartCount() {
		limit = min(limit, c.block.restart(restart+1))
	}
	c.back, c.backKeys = c.back[:0], c.backKeys[:0]
	before := base.InternalKey(nil)
	for at := c.block.restart(restart); at < limit; {
		e, ok := c.block.parse(at)
		if !ok || e.shared != 0 && e.shared+base.TrailerBytes > len(before) {
			c.err = malformedEntry(at)
			return false
		}
		start := len(c.backKeys)
		c.backKeys = slices.Grow(c.backKeys, e.shared+e.value-e.body)
		c.backKeys = append(c.backKeys, before[:e.shared]...)
		c.backKeys = append(c.backKeys, c.block.entries[e.body:e.value]...)
		before = c.backKeys[start:]
		if search != nil && base.Compare(before, search) >= 0 {
			break
		}
		if !c.checkKey(before, at) {
			return false
		}
		if len(c.back) == maxIntervalEntries {
			c.err = fmt.Errorf("more than %d entries after a restart point, at %d of the block", maxIntervalEntries, at)
			return false
		}
		c.back = append(c.back, backEntry{at, e.value, e.end, start, len(c.backKeys)})
		at = e.end
	}
	return true
}

// pop moves to the entry on top of the stack.
func (c *cursor) pop() bool {
	if len(c.back) == 0 {
		return false
	}
	top := c.back[len(c.back)-1]
	c.back = c.back[:len(c.back)-1]
	c.at, c.end, c.reversed = top.at, top.end, true
	c.key = c.backKeys[top.keyStart:top.keyEnd:top.keyEnd]
	c.value = c.block.entries[top.value:top.end:top.end]
	return true
}
