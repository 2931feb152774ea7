package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashClone returns the file system as a power failure at this instant could leave
// it. Certain are the contents of files as of their last Sync, and the entries of
// directories as of their last SyncDir. Of what came later, rng picks what survives: of
// a file any sectors and any size it had since, of the directories any of the
// changes; often all, nothing, or what came first, as ordered file systems do. With nil
// nothing but the certain survives. The clone holds no locks, all of it is durable,
// and it has the same limit; this Mem goes on unchanged. Equal histories and seeds give
// equal clones.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := cloning{clone: NewMem(), rng: rng, entries: make(map[*memNode]map[string]*memNode), files: make(map[*memNode]*memNode)}
	c.clone.SetLimit(m.limitBytes.Load())
	kept := survivors(rng, len(m.pending))
	for i, step := range m.pending {
		if !kept(i) {
			continue
		}
		for _, b := range step {
			b.applyTo(c.entriesOf(b.dir))
		}
	}
	c.clone.root = c.copyDir(m.root)
	return c.clone
}

// cloning is the state of one CrashClone.
type cloning struct {
	clone   *Mem
	rng     *rand.Rand
	entries map[*memNode]map[string]*memNode // directories of the original as they survive
	files   map[*memNode]*memNode            // original to copy: two names of a file stay one file
}

func (c *cloning) entriesOf(dir *memNode) map[string]*memNode {
	if c.entries[dir] == nil {
		c.entries[dir] = maps.Clone(dir.durable)
	}
	return c.entries[dir]
}

// copyDir goes by name, so that rng is asked in the same order each time.
func (c *cloning) copyDir(dir *memNode) *memNode {
	result := newMemDir()
	survived := c.entriesOf(dir)
	for _, name := range slices.Sorted(maps.Keys(survived)) {
		if node := survived[name]; node.entries != nil {
			result.entries[name] = c.copyDir(node)
		} else {
			result.entries[name] = c.copyFile(node)
		}
	}
	result.durable = maps.Clone(result.entries)
	return result
}

func (c *cloning) copyFile(file *memNode) *memNode {
	result := c.files[file]
	if result == nil {
		result = &memNode{}
		file.crashInto(&result.contents, c.rng)
		c.clone.usedBytes.Add(result.size)
		c.files[file] = result
	}
	result.names++
	return result
}

// crashInto makes result what survives of a file. The caller keeps writers away.
func (c *contents) crashInto(result *contents, rng *rand.Rand) {
	changed := c.changedSectors()
	kept := survivors(rng, len(changed))
	pages := int((max(c.size, c.durableSize) + pageBytes - 1) / pageBytes)
	for i := range pages {
		if old := c.durablePage(i); old != nil {
			*result.own(i) = *old
		}
	}
	for i, sector := range changed {
		if !kept(i) {
			continue
		}
		at := int(sector * sectorBytes % pageBytes)
		number := int(sector * sectorBytes / pageBytes)
		copy(result.own(number)[at:at+sectorBytes], orZeros(c.page(number))[at:])
	}
	result.size = int64(pages) * pageBytes
	result.truncate(c.crashSize(rng))
	result.sync()
}

// changedSectors lists the sectors that differ from what the last Sync made durable.
func (c *contents) changedSectors() []int64 {
	var changed []int64
	for i := range max(len(c.pages), int((c.durableSize+pageBytes-1)/pageBytes)) {
		now, old := c.page(i), c.durablePage(i)
		if now == old {
			continue
		}
		for at := 0; at < pageBytes; at += sectorBytes {
			if [sectorBytes]byte(orZeros(now)[at:]) != [sectorBytes]byte(orZeros(old)[at:]) {
				changed = append(changed, (int64(i)*pageBytes+int64(at))/sectorBytes)
			}
		}
	}
	return changed
}

// crashSize picks one of the sizes since the last Sync.
func (c *contents) crashSize(rng *rand.Rand) int64 {
	low, high := min(c.lowSize, c.size), max(c.size, c.durableSize)
	if rng == nil || low == high {
		return c.durableSize
	}
	switch rng.IntN(3) {
	case 0:
		return c.durableSize
	case 1:
		return c.size
	}
	return low + rng.Int64N(high-low+1)
}

// survivors picks from n changes in their order. The function it returns is to be
// called once for each of them, from 0 up.
func survivors(rng *rand.Rand, n int) func(i int) bool {
	if rng == nil {
		return func(int) bool { return false }
	}
	switch rng.IntN(4) {
	case 0:
		return func(int) bool { return false }
	case 1:
		return func(int) bool { return true }
	case 2:
		cut := rng.IntN(n + 1)
		return func(i int) bool { return i < cut }
	}
	return func(int) bool { return rng.IntN(2) == 0 }
}
