package memtable

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
)

// TestLevels checks the structure that makes searches fast, and that the finger
// could have damaged without a wrong answer: every level is sorted and holds
// exactly the nodes that are tall enough.
func TestLevels(t *testing.T) {
	const count = 3000
	r := rand.New(rand.NewPCG(9, 9))
	orders := map[string]func(i int) int{
		"ascending":         func(i int) int { return i },
		"descending":        func(i int) int { return count - i },
		"one key":           func(int) int { return 0 },
		"random":            func(int) int { return r.IntN(count) },
		"ascending pairs":   func(i int) int { return i/2 + i%2*count },
		"from the middle":   func(i int) int { return count + i*(1-i%2*2) },
		"runs up and down":  func(i int) int { return i/50%7*count + i%50*(1-i/50%2*2) },
		"repeats and jumps": func(i int) int { return i / 3 * 7919 % count },
	}
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			m := New(1 << 20)
			for i := range count {
				m.Insert(fmt.Appendf(nil, "%06d", order(i)+count), nil, base.Seq(i+1), base.KindSet)
			}
			l := &m.list
			for level := range maxHeight {
				tall := 0
				for n := l.arena.next(head, 0); n != none; n = l.arena.next(n, 0) {
					if headerHeight(l.arena.units[n-1]) > level {
						tall++
					}
				}
				linked, previous := 0, none
				for n := l.arena.next(head, level); n != none; n = l.arena.next(n, level) {
					if previous != none && !l.precedes(previous, l.searchForNode(n)) {
						t.Fatalf("level %d is not sorted", level)
					}
					linked, previous = linked+1, n
				}
				if linked != tall || level == 0 && linked != count || linked > 0 && level >= int(l.height.Load()) {
					t.Fatalf("level %d links %d nodes, %d are tall enough, height %d", level, linked, tall, l.height.Load())
				}
			}
		})
	}
}
