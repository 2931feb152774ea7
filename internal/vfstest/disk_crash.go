package vfstest

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"
)

// CrashClone returns the file system as a power failure at this instant could leave
// it. Certain are the contents of files as of their last Sync, and the entries of
// directories as of their last SyncDir. Of what came later, rng picks what survives: of
// a file any sectors and any size it had since or between, of the tree any of the
// changes; often all, nothing, or what came first, as ordered file systems do. With nil
// nothing but the certain survives. The clone holds no locks, all of it is durable,
// and it has the same limit; this Disk goes on unchanged. Equal histories and seeds give
// equal clones.
func (d *Disk) CrashClone(rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	survived := maps.Clone(d.durable)
	for i, kept := range survivors(rng, len(d.pending)) {
		if kept {
			d.pending[i].applyTo(survived)
		}
	}
	clone := NewDisk()
	clone.SetLimit(d.limitBytes.Load())
	copies := make(map[*diskNode]*diskNode) // two names of a file stay one file
	// By name, so that directories come first and rng is asked in the same order each time.
	for _, name := range slices.Sorted(maps.Keys(survived)) {
		node := survived[name]
		if parent := clone.entries[path.Dir(name)]; parent == nil || !parent.isDir {
			continue // lost with its directory
		}
		if copies[node] == nil {
			copies[node] = &diskNode{isDir: node.isDir, contents: node.crash(rng)}
			clone.usedBytes.Add(copies[node].size)
		}
		copies[node].uses++
		clone.entries[name] = copies[node]
	}
	clone.durable = maps.Clone(clone.entries)
	return clone
}

// survivors picks from n changes in their order: none, all, the first, or any.
func survivors(rng *rand.Rand, n int) []bool {
	kept := make([]bool, n)
	if rng == nil {
		return kept
	}
	way := rng.IntN(4)
	first := [...]int{0, n, rng.IntN(n + 1), 0}[way]
	for i := range kept {
		kept[i] = i < first || way == 3 && rng.IntN(2) == 0
	}
	return kept
}

// crash returns what survives of a file. The caller keeps writers away.
func (c *contents) crash(rng *rand.Rand) *contents {
	const perPage = pageBytes / sectorBytes
	c.cloned = true
	result := &contents{pages: maps.Clone(c.durable), durable: maps.Clone(c.durable), cloned: true}
	changed := slices.Compact(slices.Sorted(slices.Values(c.changed)))
	for i, kept := range survivors(rng, len(changed)*perPage) {
		if kept {
			at := changed[i/perPage]*pageBytes + int64(i%perPage*sectorBytes)
			var sector [sectorBytes]byte
			c.read(sector[:], at)
			result.write(sector[:], at)
		}
	}
	result.size = max(c.size, c.durableSize) // the sectors may have gone beyond
	size := c.durableSize
	if rng != nil {
		between := c.lowSize + rng.Int64N(result.size-c.lowSize+1)
		size = [...]int64{c.size, c.durableSize, between}[rng.IntN(3)]
	}
	result.truncate(size)
	result.sync()
	return result
}
