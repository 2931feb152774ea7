package memtable

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"unsafe"

	"lsmdb/internal/base"
)

// TestFootprintSuffices fills tables to the last byte that FootprintBytes promises,
// in every order, and asks on the way whether the rest still fits.
func TestFootprintSuffices(t *testing.T) {
	const most = 3000
	for name, key := range insertOrders(most) {
		t.Run(name, func(t *testing.T) {
			for _, count := range []int{1, 2, 15, 16, 100, most} {
				for valueBytes := range unitBytes {
					keys, payload := make([][]byte, count), 0
					for i := range keys {
						keys[i] = key(i)
						payload += len(keys[i]) + valueBytes
					}
					fillExactly(t, keys, payload, make([]byte, valueBytes))
				}
			}
		})
	}
}

// fillExactly inserts keys into a table that is made for them.
func fillExactly(t *testing.T, keys [][]byte, payload int, value []byte) {
	t.Helper()
	footprint := FootprintBytes(int64(len(keys)), int64(payload))
	m := New(footprint)
	for i, key := range keys {
		if !m.Fits(FootprintBytes(int64(len(keys)-i), int64(payload))) {
			t.Fatalf("%d of %d entries inserted, and the rest does not fit", i, len(keys))
		}
		m.Insert(key, value, base.Seq(i+1), base.KindSet) // panics if it does not fit
		payload -= len(key) + len(value)
		if m.list.used+m.list.spare > m.list.charged || m.list.spare < 0 || m.UsedBytes() > footprint {
			t.Fatalf("%d used, %d to spare, %d charged", m.list.used, m.list.spare, m.list.charged)
		}
	}
}

// TestFootprintAgainstAnAdversary always writes where it costs most: to full leaves,
// at their ends, in runs that make them full.
func TestFootprintAgainstAnAdversary(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		const count = 2000
		m := New(FootprintBytes(count, count*9))
		for i := range count {
			key := append(adversaryKey(r, m, i), make([]byte, 9)...)[:9]
			m.Insert(key, nil, base.Seq(i+1), base.KindSet)
			if m.list.used+m.list.spare > m.list.charged || m.list.spare < 0 {
				t.Fatalf("%d used, %d to spare, %d charged", m.list.used, m.list.spare, m.list.charged)
			}
		}
		checkList(t, m, count)
	}
}

// TestUnevenSplitsArePaidFor makes runs before a leaf's fence, which leave the
// leaf full after an uneven split, and then hits what they left.
func TestUnevenSplitsArePaidFor(t *testing.T) {
	const count = 6000
	r, seq := rand.New(rand.NewPCG(1, 8)), base.Seq(0)
	m := New(FootprintBytes(count, count*8))
	insert := func(number uint64) {
		if seq < count {
			seq++
			m.Insert(binary.BigEndian.AppendUint64(nil, number), nil, seq, base.KindSet)
		}
		if m.list.used+m.list.spare > m.list.charged || m.list.spare < 0 {
			t.Fatalf("%d used, %d to spare, %d charged", m.list.used, m.list.spare, m.list.charged)
		}
	}
	for range 200 {
		insert(r.Uint64())
	}
	for seq < count {
		s := search{binary.BigEndian.AppendUint64(nil, r.Uint64()), 0}
		p := m.list.find(&s)
		number := func(pos int) uint64 { return binary.BigEndian.Uint64(m.list.userKey(p.block.entryAt(p.word, pos))) }
		if p.word.count() < 3 || p.block.right() == noBlock || p.block.entries[0] == start {
			insert(r.Uint64())
			continue
		}
		last := p.word.count() - 1
		from, gap := number(last-1), (number(last)-number(last-1))/32
		low, lowGap := number(0), (number(1)-number(0))/4
		for i := range uint64(slots - last) {
			insert(from + (i+1)*gap)
		}
		insert(low + lowGap)
		insert(low + 2*lowGap)
	}
	checkList(t, m, count)
}

// adversaryKey prefers keys that split a full leaf, and otherwise goes on with the
// run of the newest entry.
func adversaryKey(r *rand.Rand, m *Memtable, i int) []byte {
	for n := range 40 {
		var s search
		if p := m.list.newest; p.block != nil && r.IntN(3) > 0 {
			s = m.list.searchFor(p.entry())
			s.user = bytes.Clone(s.user)
			s.user[r.IntN(8)] += byte(r.IntN(3) - 1)
		} else {
			s.user = []byte{byte(r.Uint32()), byte(r.Uint32()), byte(i), 0, 0, 0, 0, 0, 0}
		}
		s.trailer = base.MakeTrailer(base.Seq(i+1), base.KindSet)
		if m.list.find(&s).word.count() == slots || n == 39 {
			return s.user
		}
	}
	panic("unreachable")
}

// TestReserveIsNotPromised leaves many leaves full, which costs little, and then
// hits each of them.
func TestReserveIsNotPromised(t *testing.T) {
	m, seq := New(60_000), base.Seq(0)
	insert := func(key ...byte) {
		seq++
		m.Insert(key, nil, seq, base.KindSet)
	}
	for i := 0; i < 1000 && m.UsedBytes() < 30_000; i++ {
		insert(byte(i>>8), byte(i), 0)
	}
	for count, i := 0, 0; ; i++ { // groups of ten, as long as they fit
		if i == 10*count {
			if !m.Fits(FootprintBytes(10, 30)) {
				break
			}
			count++
		}
		hit := i * 13 % 1000
		insert(byte(hit>>8), byte(hit), byte(1+i/1000))
	}
	if m.UsedBytes() > m.CapacityBytes() || m.UsedBytes() < m.CapacityBytes()*8/10 {
		t.Fatalf("%d of %d bytes used when nothing fits any more", m.UsedBytes(), m.CapacityBytes())
	}
}

// TestFitsInGroups writes groups as the engine does, until the table is full.
func TestFitsInGroups(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		m, seq := New(20_000), base.Seq(0)
		for {
			sizes := make([]int, 1+r.IntN(20))
			payload := 0
			for i := range sizes {
				sizes[i] = r.IntN(1 << r.IntN(9))
				payload += sizes[i] + 4
			}
			if !m.Fits(FootprintBytes(int64(len(sizes)), int64(payload))) {
				break
			}
			for _, size := range sizes {
				seq++
				m.Insert([]byte{byte(r.Uint32()), byte(seq), 2, 3}, make([]byte, size), seq, base.KindSet)
			}
		}
		if m.UsedBytes() > m.CapacityBytes() || m.Len() != int64(seq) {
			t.Fatalf("%d of %d bytes used, %d of %d entries", m.UsedBytes(), m.CapacityBytes(), m.Len(), seq)
		}
	}
}

func TestLayout(t *testing.T) {
	if blockBytes%cellBytes != 0 || upperBytes%cellBytes != 0 || unsafe.Offsetof(upper{}.below) != uintptr(blockBytes) {
		t.Fatalf("blocks of %d and %d bytes are not whole cells", blockBytes, upperBytes)
	}
	total := maxArenaBytes + maxArenaBytes/filterShare + headBytes + 2*cellBytes
	if total > maxTotalBytes || total/unitBytes > 1<<32 {
		t.Fatal("the largest arena has entries that no slot can name")
	}
	m := New(1001)
	if uintptr(unsafe.Pointer(&m.list.cells[0]))%8 != 0 || m.CapacityBytes() != 1001 {
		t.Fatalf("cells at %p, capacity %d", &m.list.cells[0], m.CapacityBytes())
	}
}

func TestEntriesDoNotOverlap(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	var a arena
	a.initialize(1<<20, func(count int64) []cell { return make([]cell, count) }, false)
	type stored struct {
		e          entry
		key, value []byte
	}
	var all []stored
	for i := range 1000 {
		key, value := bytes.Repeat([]byte{byte(i)}, r.IntN(20)), bytes.Repeat([]byte{byte(i >> 2)}, r.IntN(50))
		all = append(all, stored{a.addEntry(key, value, base.Trailer(i)), key, value})
		if at := a.addBlock(0); i%2 == 0 {
			*a.block(at) = block{}
		}
	}
	for i, s := range all {
		key, value := a.entry(s.e)
		if !bytes.Equal(key.UserKey(), s.key) || key.Trailer() != base.Trailer(i) || !bytes.Equal(value, s.value) ||
			!bytes.Equal(a.userKey(s.e), s.key) {
			t.Fatalf("entry %d changed: %v, %x", i, key, value)
		}
	}
}

// TestWord compares words with slices.
func TestWord(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for range 100 {
		var w word
		var want []int
		for slot := range slots {
			pos := r.IntN(slot + 1)
			w, want = w.insert(pos), append(want[:pos:pos], append([]int{slot}, want[pos:]...)...)
			for pos, slot := range want {
				if w.at(pos) != slot || w.count() != len(want) || w.dead() {
					t.Fatalf("%x is not %v", uint64(w), want)
				}
			}
		}
	}
	for count := range slots + 1 {
		var w word
		for pos := range count {
			w = w.insert(pos)
		}
		if w != sortedWord(count) {
			t.Fatalf("%d sorted slots are %x, not %x", count, uint64(sortedWord(count)), uint64(w))
		}
	}
}

// TestFilter checks that nothing is missing, and how much is there in vain.
func TestFilter(t *testing.T) {
	const count = 100_000
	m := New(FootprintBytes(count, count*100))
	key := func(i int) []byte { return []byte{byte(i), byte(i >> 8), byte(i >> 16)} }
	for i := range count {
		m.Insert(key(i), nil, 1, base.KindSet)
	}
	wrong := 0
	for i := range 2 * count {
		switch there := m.list.filter.mayContain(base.Hash(key(i))); {
		case i < count && !there:
			t.Fatalf("key %d is not in the filter", i)
		case i >= count && there:
			wrong++
		}
	}
	if wrong > count/50 {
		t.Fatalf("%d of %d absent keys pass the filter", wrong, count)
	}
}

// FuzzHeadOrder checks that heads never contradict the order of keys.
func FuzzHeadOrder(f *testing.F) {
	f.Add([]byte(""), []byte("\x00"), byte(0))
	f.Add([]byte("1234"), []byte("1234\x00"), byte(4))
	f.Add([]byte("a\x00"), []byte("a\x00\x01"), byte(1))
	f.Add([]byte("ab"), []byte("a\xff"), byte(1))
	f.Fuzz(func(t *testing.T, a, b []byte, skip byte) {
		if len(a) < int(skip) || len(b) < int(skip) || !bytes.Equal(a[:skip], b[:skip]) {
			return
		}
		ha, hb := headOf(a, uint32(skip)), headOf(b, uint32(skip))
		if c := bytes.Compare(a, b); ha < hb && c >= 0 || ha > hb && c <= 0 {
			t.Fatalf("%q %x, %q %x, order %d", a, ha, b, hb, c)
		}
	})
}
