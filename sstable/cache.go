package sstable

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Cache bounds the memory that the blocks of all tables take together. It may be used
// by any number of tables and goroutines.
//
// A cached block hangs in a slot of its table, so a hit asks nobody: it loads the slot
// and sets the block's reference bit. The cache itself sees only what comes and goes.
// It keeps blocks in the order of their coming and, where room is needed, drops the
// oldest one whose reference bit is clear; one whose bit is set goes back to the
// young end for it, with the bit taken back.
//
// Invariant, under the mutex: a block is in a slot exactly if it is in order, and
// usedBytes is the sum over these, never more than the capacity.
type Cache struct {
	capacityBytes int64
	hits          counter
	misses        atomic.Uint64

	// The mutex serializes misses, each of which has just read a block from a file and
	// takes far longer than what happens in here.
	mu        sync.Mutex
	order     *simplelru.LRU[slot, *block]
	usedBytes int64
	evictions uint64
}

// slot is where a block hangs: one for each data block of a table file.
type slot struct {
	source *source
	number int
}

// CacheMetrics is what a Cache holds and has done.
type CacheMetrics struct {
	Capacity, Used          int64 // bytes of blocks as they lie in memory
	Blocks                  int
	Hits, Misses, Evictions uint64
}

// secondChances bounds the blocks that one insertion spares, and so its time.
const secondChances = 32

// NewCache makes an empty cache. With a capacity of 0 it never holds anything.
func NewCache(capacityBytes int64) *Cache {
	order, err := simplelru.NewLRU[slot, *block](math.MaxInt, nil) // bounded by bytes, not by count
	if err != nil {
		panic("invariant: " + err.Error())
	}
	return &Cache{capacityBytes: capacityBytes, order: order}
}

// Metrics returns a consistent picture of the contents; hits and misses may be a
// moment behind.
func (c *Cache) Metrics() CacheMetrics {
	c.mu.Lock()
	defer c.mu.Unlock()
	return CacheMetrics{
		Capacity:  c.capacityBytes,
		Used:      c.usedBytes,
		Blocks:    c.order.Len(),
		Hits:      c.hits.load(),
		Misses:    c.misses.Load(),
		Evictions: c.evictions,
	}
}

// attach gives a table file that has just been opened its slots, unless it has been
// closed in the meantime.
func (c *Cache) attach(s *source, slots int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.closed.Load() {
		s.slots = make([]atomic.Pointer[block], slots)
	}
}

// insert puts b into its slot, unless the file was closed or b is larger than the whole
// cache. Where another goroutine was faster, its block stays, and is returned.
func (c *Cache) insert(at slot, b *block) *block {
	c.misses.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	size := b.memoryBytes()
	if size > c.capacityBytes || at.source.closed.Load() {
		return b
	}
	hook := &at.source.slots[at.number]
	if other := hook.Load(); other != nil {
		return other
	}
	c.makeRoom(size)
	c.usedBytes += size
	c.order.Add(at, b)
	hook.Store(b)
	return b
}

// makeRoom evicts until size more bytes fit. The caller holds the mutex.
func (c *Cache) makeRoom(size int64) {
	chances := secondChances
	for c.usedBytes+size > c.capacityBytes {
		at, b, ok := c.order.GetOldest()
		if !ok {
			panic("invariant: an empty block cache counts bytes")
		}
		if chances > 0 && b.referenced.Load() {
			chances--
			b.referenced.Store(false)
			c.order.Get(at) // to the young end
			continue
		}
		c.drop(at, b)
		c.evictions++
	}
}

// drop takes a block out. The caller holds the mutex.
func (c *Cache) drop(at slot, b *block) {
	c.order.Remove(at)
	at.source.slots[at.number].Store(nil)
	c.usedBytes -= b.memoryBytes()
}

// forget takes every block of a table file out. None comes in again if the file was
// closed before.
func (c *Cache) forget(s *source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range s.slots {
		if b := s.slots[i].Load(); b != nil {
			c.drop(slot{s, i}, b)
		}
	}
}
