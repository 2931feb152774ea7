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
					checkTree(t, m, i+1)
				}
			}
			checkTree(t, m, count)
			for e := entry(m.tree.filterEnd()); int64(e)*unitBytes < m.tree.entryEnd; {
				s := m.tree.searchFor(e)
				if p := m.tree.find(&s, nil); p.pos == p.word.count() || p.leaf.entryAt(p.word, p.pos) != e {
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

// checkTree verifies every node: fences, order, heads, links.
func checkTree(t *testing.T, m *Memtable, count int) {
	t.Helper()
	c := &treeChecker{T: t, tree: &m.tree, next: map[int]node{}}
	c.check(node(m.tree.root.Load()), m.tree.height(), noEntry, noEntry)
	if c.entries != count {
		t.Fatalf("%d entries, want %d", c.entries, count)
	}
	if m.tree.spare < 0 || m.tree.used+m.tree.spare+c.reserved > m.tree.charged {
		t.Fatalf("%d used, %d to spare, %d reserved, %d charged", m.tree.used, m.tree.spare, c.reserved, m.tree.charged)
	}
}

type treeChecker struct {
	*testing.T
	tree     *tree
	entries  int
	reserved int64        // for splits of nodes as full as they are
	next     map[int]node // per level, what the node before links to
}

func (c *treeChecker) check(n node, level int, low, high entry) {
	x := c.tree.leaf(n)
	w := word(x.word.Load())
	if w.dead() {
		c.Fatalf("level %d: dead node in the tree", level)
	}
	if next, ok := c.next[level]; ok {
		for level > 0 && next != n && word(c.tree.leaf(next).word.Load()).dead() {
			next = word(c.tree.leaf(next).word.Load()).heir()
		}
		if next != n {
			c.Fatalf("level %d: the node before leads to %d, not %d", level, next, n)
		}
	}
	c.next[level] = node(x.next.Load())
	if (x.next.Load() == 0) != (high == noEntry) {
		c.Fatalf("level %d: next is %d, fence %d", level, x.next.Load(), high)
	}
	c.reserved += int64(max(0, w.count()-evenEntries)) * []int64{leafShareBytes, indexShareBytes}[min(level, 1)]
	previous := low
	for pos := range w.count() {
		e := x.entryAt(w, pos)
		if e == noEntry {
			if pos+1 < w.count() || high != noEntry || level == 0 {
				c.Fatalf("level %d: an open fence at %d of %d", level, pos, w.count())
			}
		} else {
			s := c.tree.searchFor(e)
			if previous != noEntry && !c.tree.precedes(previous, &s) {
				c.Fatalf("level %d: order", level)
			}
			if head := headOf(s.user, x.skip); x.heads[w.at(pos)] != head {
				for i := range w.count() {
					c.Logf("%d: %q %x (slot 0 %q)", i, c.tree.userKey(x.entryAt(w, i)), x.heads[w.at(i)], c.tree.userKey(x.entries[0]))
				}
				c.Fatalf("level %d: head %x of %q, want %x; skip %d", level, x.heads[w.at(pos)], s.user, head, x.skip)
			}
		}
		if level > 0 {
			c.check(node(x.child(w.at(pos)).Load()), level-1, previous, e)
		}
		previous = e
	}
	if high != noEntry && previous != high {
		c.Fatalf("level %d: the last entry is not the fence", level)
	}
	if x.skip > 0 && (low == noEntry || high == noEntry || c.tree.shared(low, high) < x.skip) {
		c.Fatalf("level %d: %d bytes skipped between %d and %d", level, x.skip, low, high)
	}
	if level == 0 {
		c.entries += w.count()
	}
}

// TestReadersInTheMiddleOfASplit stops the writer where the new nodes are linked
// and the parent does not know of them: everything must be found all the same.
func TestReadersInTheMiddleOfASplit(t *testing.T) {
	prepare := func() (m *Memtable, all []item) {
		m = New(10_000)
		for i := range slots {
			m.Insert(fmt.Appendf(nil, "key %02d", i), nil, base.Seq(i+1), base.KindSet)
		}
		x := m.tree.path[0].leaf
		for slot, e := range x.entries {
			all = append(all, item{entry: e, head: x.heads[slot]})
		}
		return m, all
	}
	check := func(m *Memtable, all []item) {
		t.Helper()
		it := m.NewIterator()
		ok := it.First()
		for _, i := range all {
			s := m.tree.searchFor(i.entry)
			if p := m.tree.find(&s, nil); p.pos == p.word.count() || p.leaf.entryAt(p.word, p.pos) != i.entry {
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
	t.Run("split", func(t *testing.T) {
		m, all := prepare()
		old := m.tree.path[0].leaf
		right := m.tree.build(0, all[5:], 0, noEntry, noNode)
		left := m.tree.build(0, all[:5], 0, noEntry, right)
		old.word.Store(uint64(wordDead) | uint64(left))
		check(m, all)
	})
}
