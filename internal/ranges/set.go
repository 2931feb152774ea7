package ranges

import (
	"bytes"
	"slices"
	"sync/atomic"

	"lsmdb/internal/base"
)

// Set is a set of range deletes that grows. One goroutine at a time adds to it, and any
// number read it meanwhile. The zero value is empty.
//
// To keep one list, each addition would copy all of it. So there are several, of which
// each stands for twice as many additions as the next one, at least: an addition is
// copied once for each doubling, and a look-up asks few lists (J. Bentley and J. Saxe,
// "Decomposable Searching Problems", 1980).
//
// Range deletes that lie in each other make long lists, as each span has the numbers of
// all: n of them have n*n/2 (whoever trims a log deletes everything up to some key, again
// and again). Lists that would take much more together than each for itself stay apart.
type Set struct{ lists atomic.Pointer[lists] }

type lists struct {
	all   []List
	adds  []int    // how many additions each stands for
	below base.Seq // is missing in all numbers: see Follow
}

// maxNumbers is how many numbers a list may have for each addition, on average.
const maxNumbers = 160

// Add adds a range delete and copies the keys. A nil end is open. An empty range adds
// nothing. It returns by how many numbers the lists have grown.
func (s *Set) Add(start, end []byte, seq base.Seq) (grown int64) {
	added, adds := Of(bytes.Clone(start), bytes.Clone(end), seq), 1
	if added == nil {
		return 0
	}
	grown = 1
	var now lists
	if before := s.lists.Load(); before != nil {
		now = *before
	}
	n := len(now.all)
	for ; n > 0 && now.adds[n-1] <= adds; n-- {
		merged, both := merge(now.all[n-1], added), now.adds[n-1]+adds
		numbers := int64(merged.Count())
		if numbers > maxNumbers*int64(both) {
			break
		}
		grown += numbers - int64(now.all[n-1].Count()+added.Count())
		added, adds = merged, both
	}
	s.lists.Store(&lists{all: slices.Concat(now.all[:n], []List{added}), adds: slices.Concat(now.adds[:n], []int{adds})})
	return grown
}

// Follow makes all numbers larger by last. Nobody else knows the set yet, and nothing is
// added any more. Whoever is the first to need the numbers makes them, as that takes long
// where there are many.
func (s *Set) Follow(last base.Seq) {
	if now := s.lists.Load(); now != nil {
		s.lists.Store(&lists{now.all, now.adds, last})
	}
}

// load returns the lists with their whole numbers, nil if there are none.
func (s *Set) load() *lists {
	now := s.lists.Load()
	if now == nil || now.below == 0 {
		return now
	}
	whole := &lists{adds: now.adds}
	for _, l := range now.all {
		whole.all = append(whole.all, l.raised(now.below))
	}
	s.lists.Store(whole) // as good as what another one may have stored meanwhile
	return whole
}

// Empty reports whether nothing was added yet.
func (s *Set) Empty() bool { return s.lists.Load() == nil }

// Newest returns the number of the newest range delete that covers key and is not newer
// than seq, 0 if there is none.
func (s *Set) Newest(key []byte, seq base.Seq) (newest base.Seq) {
	for _, l := range s.Lists() {
		newest = max(newest, l.Newest(key, seq))
	}
	return newest
}

// Lists returns what was added so far, as lists that together are the set. The slice is
// not to be changed.
func (s *Set) Lists() []List {
	if now := s.load(); now != nil {
		return now.all
	}
	return nil
}
