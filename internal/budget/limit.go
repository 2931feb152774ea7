package budget

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// process is what the caches of the process may take below its memory limit. Go's collector
// runs the more often, the less of the limit is left for garbage. So when it would run more
// often than by default where there is no limit, the fullest cache gives way.
var process struct {
	looking    sync.Mutex // one at a time looks, and the others go on
	cycle      uint64     // of the collector, after which the allowance was reckoned
	allowance  int64      // of all caches
	limitBytes int64      // that it was reckoned for
}

// roomPercent is for how much garbage there is to be room below the limit, for 100 that are
// live: then the collector runs no more often than with that GOGC and no limit.
const roomPercent = 100

// LookBytes is how much comes into a cache between two looks at the memory limit.
const LookBytes = 1 << 20

// Look makes the fullest caches of the process give way if it nears its memory limit. The
// caller holds no lock. Without a limit it is nearly free.
func Look() {
	limit := debug.SetMemoryLimit(-1) // which leaves it as it is
	if limit == math.MaxInt64 || !process.looking.TryLock() {
		return
	}
	defer process.looking.Unlock()
	_, cached := accounts.fullest(nil, Cache)
	reckon(limit, cached)
	for over := cached - process.allowance; over > 0; {
		given := accounts.give(nil, Cache, min(over, LookBytes))
		if given == 0 {
			return
		}
		over -= given
	}
}

// reckon sets the allowance after each cycle of the collector, which has just counted what
// is live. What caches have given since the last one is still among that.
func reckon(limit, cached int64) {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	value := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
	if cycle := samples[0].Value.Uint64(); cycle == process.cycle && limit == process.limitBytes {
		return
	}
	process.cycle, process.limitBytes = samples[0].Value.Uint64(), limit
	beside := value(2) - value(3) - value(4) - value(5) - value(6) // stacks, and the runtime's own
	process.allowance = allowance(limit-beside, value(1), cached)
}

// allowance returns what caches may take of a heap, of which so much is live and cached.
func allowance(heap, live, cached int64) int64 {
	const least = 64 // one part in so many is left in any case: what is read again and again
	others := max(0, live-cached)
	return max(heap*100/(100+roomPercent)-others, heap/least, 0)
}
