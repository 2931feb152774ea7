package sstable

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"lsmdb/internal/budget"
)

// Cache bounds the memory that the blocks of all tables take together. It may be used
// by any number of tables and goroutines.
//
// A cached block hangs in a slot of its table, so a hit asks nobody: it loads the slot
// and sets the block's reference bit. The cache itself sees only what comes and goes.
// An LRU list keeps blocks in the order of their coming and, where room is needed, drops the
// oldest one whose reference bit is clear; one whose bit is set goes back to the
// young end for it, with the bit taken back.
//
// Invariant, under the mutex: a block is in a slot exactly if it is in order, and
// usedBytes is the sum over these, never more than the capacity.
type Cache struct {
	Account *budget.Account // pays for the blocks; set before the first use; nil: nobody does

	capacityBytes int64
	hits          counter
	misses        atomic.Uint64
	unlooked      atomic.Int64 // bytes that have come in since the last look at the memory limit

	// The mutex serializes misses, each of which has just read a block from a file and
	// takes far longer than what happens in here.
	mu        sync.Mutex
	order     *simplelru.LRU[slot, *block]
	usedBytes int64
	evictions uint64
}

// slot is where a block hangs: one for each data block of a table.
type slot struct {
	table  *Table
	number int
}

func (s slot) hook() *atomic.Pointer[block] { return &s.table.slots[s.number] }

// CacheMetrics is what a Cache holds and has done.
type CacheMetrics struct {
	Capacity, Used          int64 // bytes of blocks as they lie in memory
	Blocks                  int
	Hits, Misses, Evictions uint64
}

// secondChances bounds the blocks that one insertion spares, and so its time.
const secondChances = 32

// noCache is for those who want none.
var noCache = NewCache(0)

// NewCache makes an empty cache. With a capacity of 0 it never holds anything.
func NewCache(capacityBytes int64) *Cache {
	order := sound(simplelru.NewLRU[slot, *block](math.MaxInt, nil)) // bounded by bytes, not by count
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

// hit notes that a cached block was of use.
func (c *Cache) hit(b *block) {
	c.hits.add()
	if !b.referenced.Load() {
		b.referenced.Store(true)
	}
}

// insert puts b into its slot, unless the file was closed or b is larger than the whole
// cache. Where another goroutine was faster, its block stays, and is returned.
func (c *Cache) insert(at slot, b *block) *block {
	c.misses.Add(1)
	size := b.memoryBytes()
	if size > c.capacityBytes {
		return b
	}
	defer c.settle(size)
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.table.unloaded {
		return b
	}
	if other := at.hook().Load(); other != nil {
		return other
	}
	c.makeRoom(c.capacityBytes - size)
	c.put(at, b, size)
	return b
}

// settle makes others give way, here or elsewhere, if memory is short. The caller holds no lock.
func (c *Cache) settle(cameBytes int64) {
	c.Account.Settle()
	if c.unlooked.Add(cameBytes) >= budget.LookBytes {
		c.unlooked.Store(0)
		budget.Look()
	}
}

// fill puts b, which nobody asked for yet, into its slot as insert does, but takes nothing
// out for it, here or elsewhere. It returns false if there is no room, or the file was closed.
func (c *Cache) fill(at slot, b *block) bool {
	size := b.memoryBytes()
	defer c.settle(size)
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.table.unloaded || c.usedBytes+size > c.capacityBytes || !c.Account.HasRoom(size) {
		return false
	}
	if at.hook().Load() == nil {
		c.put(at, b, size)
	}
	return true
}

// put hangs a block into its empty slot. The caller holds the mutex.
func (c *Cache) put(at slot, b *block, size int64) {
	c.usedBytes += size
	c.Account.Add(budget.Cache, size)
	c.order.Add(at, b)
	at.hook().Store(b)
}

// Give evicts so many bytes, or all that there are, and returns how many.
func (c *Cache) Give(bytes int64) (given int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.usedBytes
	c.makeRoom(max(0, before-bytes))
	return before - c.usedBytes
}

// makeRoom evicts until no more than so many bytes are used. The caller holds the mutex.
func (c *Cache) makeRoom(mostBytes int64) {
	for chances := secondChances; c.usedBytes > mostBytes; {
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
		c.drop(at)
		c.evictions++
	}
}

// drop takes a block out. The caller holds the mutex.
func (c *Cache) drop(at slot) {
	b := at.hook().Swap(nil)
	c.order.Remove(at)
	c.usedBytes -= b.memoryBytes()
	c.Account.Add(budget.Cache, -b.memoryBytes())
}

// forget takes every block of a table out. None comes in again if its file was closed
// before, or the table is unloaded: who has come to its blocks before reads them from the
// file.
func (c *Cache) forget(t *Table, unloaded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.unloaded = t.unloaded || unloaded
	for i := range t.slots {
		if t.slots[i].Load() != nil {
			c.drop(slot{t, i})
		}
	}
}
