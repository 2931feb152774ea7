package memtable

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
)

// insertOrders are sequences of keys that are hard in different ways.
func insertOrders(count int) map[string]func(i int) []byte {
	r := rand.New(rand.NewPCG(9, 9))
	number := func(order func(i int) int) func(i int) []byte {
		return func(i int) []byte { return fmt.Appendf(nil, "key %07d", order(i)+count) }
	}
	return map[string]func(i int) []byte{
		"ascending":         number(func(i int) int { return i }),
		"descending":        number(func(i int) int { return count - i }),
		"one key":           number(func(int) int { return 0 }),
		"random":            number(func(int) int { return r.IntN(count) }),
		"ascending pairs":   number(func(i int) int { return i/2 + i%2*count }),
		"from both ends":    number(func(i int) int { return i%2*count + i/2*(1-i%2*2) }),
		"from the middle":   number(func(i int) int { return count + i*(1-i%2*2) }),
		"runs up and down":  number(func(i int) int { return i/50%7*count + i%50*(1-i/50%2*2) }),
		"runs and a hit":    number(func(i int) int { return i/15*15*10 + min(i%15, 13)*10 - i%15/14*5 }),
		"repeats and jumps": number(func(i int) int { return i / 3 * 7919 % count }),
		"versions between":  number(func(i int) int { return i % 2 * (i % 64) }),
		"longer and longer": func(i int) []byte { return bytes.Repeat([]byte{'a'}, i%300) },
		"shorter":           func(i int) []byte { return bytes.Repeat([]byte{'a'}, 300-i%300) },
		"empty and short":   func(i int) []byte { return make([]byte, i*7%3) },
		"zeros and ones":    func(i int) []byte { return fmt.Appendf(nil, "%0*b", i%20, i*i%977) },
		"changing prefixes": func(i int) []byte {
			return fmt.Appendf(nil, "%s%d", bytes.Repeat([]byte{'b' - byte(i/100%2)}, i/40%9), i)
		},
		"binary": func(i int) []byte { return []byte{0, 0, 0, byte(i >> 16), byte(i >> 8), byte(i), 0, 0} },
	}
}

// TestOrders checks after each of many orders of inserts that everything is there,
// and that the structure is as it should be.
func TestOrders(t *testing.T) {
	const count = 5000
	for name, key := range insertOrders(count) {
		t.Run(name, func(t *testing.T) {
			m := New(1 << 20)
			for i := range count {
				m.Insert(key(i), nil, base.Seq(i+1), base.KindSet)
				if i < 100 || i%500 == 0 {
					checkList(t, m, i+1)
				}
			}
			checkList(t, m, count)
			for e := entry(m.list.filterEnd()); int64(e)*unitBytes < m.list.entryEnd; {
				s := m.list.searchFor(e)
				if p := m.list.find(&s, nil); m.list.at(p) != e {
					t.Fatalf("%q at %d is not found", s.user, s.trailer.Seq())
				}
				_, value, ok := m.Get(s.user, base.Hash(s.user), s.trailer.Seq())
				if !ok || value != s.trailer {
					t.Fatalf("Get(%q, %d) = %x, %v", s.user, s.trailer.Seq(), value, ok)
				}
				e += entry((fixedEntryBytes + len(s.user) + unitBytes - 1) / unitBytes)
			}
		})
	}
}

func (a *arena) filterEnd() int { return len(a.filter) * 8 / unitBytes }

// searchFor returns the position of e itself.
func (a *arena) searchFor(e entry) search {
	key, _ := a.entry(e)
	return search{key.UserKey(), key.Trailer()}
}

// checkList verifies every block of every level: order, heads, what is skipped, links
// to the right and down, and that all that is needed for even splits is put by.
func checkList(t *testing.T, m *Memtable, count int) {
	t.Helper()
	l := &m.list
	var above []item // what the level above leads to
	for level := maxHeight; level >= 0; level-- {
		above = (&levelChecker{T: t, list: l, level: level, above: above}).check(address(l.heads[level].Load()))
		if level > l.top() && len(above) > 0 {
			t.Fatalf("level %d is above the highest", level)
		}
	}
	if len(above) != count {
		t.Fatalf("%d entries, want %d", len(above), count)
	}
	reserved := int64(0)
	for at := address(l.heads[0].Load()); at != noBlock; at = l.block(at).link().to() {
		n := word(l.block(at).word.Load()).count()
		reserved += int64(max(0, n-evenEntries)) * blockShareBytes
	}
	if l.spare < 0 || l.used+l.spare+reserved > l.charged {
		t.Fatalf("%d used, %d to spare, %d reserved, %d charged", l.used, l.spare, reserved, l.charged)
	}
}

// alive returns the block that took the place of another one, or that itself.
func (l *skiplist) alive(at address) address {
	for at != noBlock && word(l.block(at).word.Load()).dead() {
		at = word(l.block(at).word.Load()).heir()
	}
	return at
}

// at returns the entry of a place, or the first one of the next block.
func (l *skiplist) at(p place) entry {
	if p.pos < p.word.count() {
		return p.block.entryAt(p.word, p.pos)
	}
	if next := p.block.link().to(); next != noBlock {
		return l.first(next)
	}
	return noEntry
}

type levelChecker struct {
	*testing.T
	list  *skiplist
	level int
	above []item
}

// check walks along a level and returns all its items. Every block but those that are
// low has a place above.
func (c *levelChecker) check(at address) (items []item) {
	previous, known, isHead := noEntry, 0, true
	for isLow := false; at != noBlock; isHead = false {
		x := c.list.block(at)
		w := word(x.word.Load())
		if w.dead() {
			c.Fatalf("level %d: the way leads to a dead block", c.level)
		}
		if !isHead && !isLow {
			if known == len(c.above) || c.above[known].below != at || c.above[known].entry != x.entries[0] {
				c.Fatalf("level %d: the level above does not lead to block %d", c.level, known)
			}
			known++
		}
		for pos := range w.count() {
			i := c.slot(x, w, pos)
			if s := c.list.searchFor(i.entry); previous != noEntry && !c.list.precedes(previous, &s) {
				c.Fatalf("level %d: order", c.level)
			}
			previous, items = i.entry, append(items, i)
		}
		next := x.link()
		to := c.list.alive(next.to())
		if x.skip > 0 && (isHead || to == noBlock || c.list.shared(x.entries[0], c.list.first(to)) < x.skip) {
			c.Fatalf("level %d: %d bytes skipped", c.level, x.skip)
		}
		if c.level == 0 && to != next.to() {
			c.Fatalf("the link of a block of entries leads to a dead one")
		}
		at, isLow = to, next.isLow()
	}
	if known != len(c.above) {
		c.Fatalf("level %d: %d blocks are met, %d known", c.level, known, len(c.above))
	}
	return items
}

// slot returns the item of one.
func (c *levelChecker) slot(x *block, w word, pos int) item {
	slot := w.at(pos)
	i := item{head: x.heads[slot], entry: x.entries[slot]}
	if c.level > 0 {
		i.below = address(x.below(slot).Load())
	}
	if i.head != headOf(c.list.userKey(i.entry), x.skip) {
		c.Fatalf("level %d: head %x of %q; skip %d", c.level, i.head, c.list.userKey(i.entry), x.skip)
	}
	return i
}

// TestReadersInTheMiddleOfASplit stops the writer where the new blocks are linked
// and the level above does not know of them: everything must be found all the same.
func TestReadersInTheMiddleOfASplit(t *testing.T) {
	for _, known := range []link{0, low} {
		m := New(10_000)
		for i := range slots {
			m.Insert(fmt.Appendf(nil, "key %02d", i), nil, base.Seq(i+1), base.KindSet)
		}
		x := m.list.path[0].block
		var all []item
		for slot, e := range x.entries {
			all = append(all, item{entry: e, head: x.heads[slot]})
		}
		right := m.list.build(0, all[5:], x, 0, false)
		left := m.list.build(0, all[:5], x, known|link(right), true)
		x.word.Store(uint64(wordDead) | uint64(left))
		checkWays(t, m, all)
	}
}

// checkWays looks for all entries in every way.
func checkWays(t *testing.T, m *Memtable, all []item) {
	t.Helper()
	it := m.NewIterator()
	ok := it.First()
	for _, i := range all {
		s := m.list.searchFor(i.entry)
		if p := m.list.find(&s, nil); m.list.at(p) != i.entry {
			t.Fatalf("%q is not found", s.user)
		}
		if !ok || it.entry != i.entry {
			t.Fatalf("the iterator does not come to %q", s.user)
		}
		ok = it.Next()
	}
	for ok, i := it.Last(), len(all)-1; ok || i >= 0; ok, i = it.Prev(), i-1 {
		if !ok || i < 0 || it.entry != all[i].entry {
			t.Fatalf("the iterator does not come back to %d", i)
		}
	}
}
