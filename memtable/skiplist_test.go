package memtable

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
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
			for e := entry((1 + int64(len(m.list.filter)/8)) * cellBytes / unitBytes); int64(e)*unitBytes < m.list.entryEnd; {
				s := m.list.searchFor(e)
				if p := m.list.find(&s); m.list.at(p) != e {
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
	reserved, blocks := int64(0), []item{{entry: start, below: address(l.top.Load())}}
	for level := l.height(); level >= 0; level-- {
		c := &levelChecker{T: t, list: l, level: level, blocks: blocks}
		blocks = c.check()
		if level == l.height() {
			c.reserved = int64(len(blocks)-1) * sharesBytes[min(level, 1)]
		}
		reserved += c.reserved
	}
	if len(blocks) != 1+count {
		t.Fatalf("%d entries, want %d beside start", len(blocks), count)
	}
	if l.spare < 0 || l.used+l.spare+reserved > l.charged {
		t.Fatalf("%d used, %d to spare, %d reserved, %d charged", l.used, l.spare, reserved, l.charged)
	}
}

// item is what a slot holds; below only in an upper level.
type item struct {
	head  uint32
	entry entry
	below address
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
	if next := p.block.right(); next != noBlock {
		return l.first(next)
	}
	return start
}

type levelChecker struct {
	*testing.T
	list     *skiplist
	level    int
	blocks   []item // what the level above leads to
	reserved int64  // for splits
}

// check walks along a level and returns all its items. The level above leads to every
// block, and to nothing else.
func (c *levelChecker) check() (items []item) {
	l, previous := c.list, entry(0)
	for known, above := range c.blocks {
		at := above.below
		x := l.block(at)
		w := word(x.word.Load())
		if w.dead() {
			c.Fatalf("level %d: the way leads to a dead block", c.level)
		}
		if (above.entry == start) != (known == 0) || x.entries[0] != above.entry {
			c.Fatalf("level %d: block %d begins with another entry", c.level, known)
		}
		for pos := range w.count() {
			i := c.slot(x, w, pos)
			if s := l.searchFor(i.entry); previous != 0 && !l.precedes(previous, &s) {
				c.Fatalf("level %d: order", c.level)
			}
			previous, items = i.entry, append(items, i)
		}
		c.reserved += int64(max(0, w.count()-half)) * sharesBytes[min(c.level, 1)]
		next, want := l.alive(x.right()), noBlock
		if known+1 < len(c.blocks) {
			want = c.blocks[known+1].below
		}
		if next != want || c.level == 0 && next != x.right() {
			c.Fatalf("level %d: the link of block %d leads to %d, want %d", c.level, known, x.right(), want)
		}
		if x.skip > 0 && (next == noBlock || base.CommonPrefix(l.userKey(x.entries[0]), l.userKey(l.first(next))) < int(x.skip)) {
			c.Fatalf("level %d: %d bytes skipped", c.level, x.skip)
		}
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

// TestRunsLeaveFullBlocks: keys in ascending and descending order fill all slots of a block
// but one or two.
func TestRunsLeaveFullBlocks(t *testing.T) {
	const count = 5000
	for _, name := range []string{"ascending", "descending", "one key"} {
		key, m := insertOrders(count)[name], New(1<<20)
		for i := range count {
			m.Insert(key(i), nil, base.Seq(i+1), base.KindSet)
		}
		if blocks := len(m.list.blocksOf(0)); blocks > count/(slots-2) {
			t.Errorf("%s: %d blocks", name, blocks)
		}
	}
}

// TestCoins: the same inserts make the same list with the same coins, and another one with
// others.
func TestCoins(t *testing.T) {
	const count = 5000
	fill := func(seed uint64) []entry {
		key, m := insertOrders(count)["random"], New(1<<20)
		m.list.coins.Seed(seed, 0)
		for i := range count {
			m.Insert(key(i), nil, base.Seq(i+1), base.KindSet)
		}
		checkList(t, m, count)
		return m.list.blocksOf(0)
	}
	first := fill(1)
	if !slices.Equal(first, fill(1)) || slices.Equal(first, fill(2)) {
		t.Error("blocks do not begin where coins say")
	}
}

// blocksOf returns what the blocks of a level begin with.
func (l *skiplist) blocksOf(level int) (all []entry) {
	top := l.top.Load()
	at := address(top)
	for range int(top>>32) - level {
		at = address(l.block(at).below(0).Load())
	}
	for ; at != noBlock; at = l.alive(l.block(at).right()) {
		all = append(all, l.first(at))
	}
	return all
}

// TestReadersInTheMiddleOfASplit stops the writer at each step of a split: everything
// must be found all the same.
func TestReadersInTheMiddleOfASplit(t *testing.T) {
	for steps := range 4 {
		m := New(10_000)
		l := &m.list
		for i := range slots - 1 {
			m.Insert(fmt.Appendf(nil, "key %02d", i), nil, base.Seq(i+1), base.KindSet)
		}
		x := l.newest.block
		all := append([]entry(nil), x.entries[1:]...)
		right := l.build(0, &l.newest, 5, slots, noBlock)
		left := l.build(0, &l.newest, 0, 5, right)
		above := place{block: l.block(address(l.top.Load())), word: sortedWord(1), pos: 1}
		if steps > 0 {
			x.word.Store(uint64(wordDead) | uint64(left))
		}
		if steps > 1 {
			l.put(1, &above, x.entries[5], right)
		}
		if steps > 2 {
			above.block.below(0).Store(uint32(left))
		}
		checkWays(t, m, all)
	}
}

// TestReadersWhileALevelIsMade stops the writer where a new highest level leads to the
// one below as it was.
func TestReadersWhileALevelIsMade(t *testing.T) {
	m := New(100_000)
	l := &m.list
	var all []entry
	for i := 0; word(l.block(address(l.top.Load())).word.Load()).count() < slots; i++ {
		m.Insert(fmt.Appendf(nil, "key %03d", i), nil, base.Seq(i+1), base.KindSet)
		all = append(all, l.newest.entry())
	}
	l.raise(l.height()+1, address(l.top.Load()))
	checkWays(t, m, all)
}

// checkWays looks for all entries in every way.
func checkWays(t *testing.T, m *Memtable, all []entry) {
	t.Helper()
	it := m.NewIterator()
	ok := it.First()
	for _, e := range all {
		s := m.list.searchFor(e)
		if p := m.list.find(&s); m.list.at(p) != e {
			t.Fatalf("%q is not found", s.user)
		}
		if !ok || it.entry != e {
			t.Fatalf("the iterator does not come to %q", s.user)
		}
		ok = it.Next()
	}
	for ok, i := it.Last(), len(all)-1; ok || i >= 0; ok, i = it.Prev(), i-1 {
		if !ok || i < 0 || it.entry != all[i] {
			t.Fatalf("the iterator does not come back to %d", i)
		}
	}
}
