package memtable

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"

	"lsmdb/internal/base"
)

// TestFootprintSuffices fills tables to the last byte that FootprintBytes
// promises, with towers as tall as they come and sizes of every alignment.
func TestFootprintSuffices(t *testing.T) {
	heights := map[string]func(i int) int{
		"lowest":       func(int) int { return 1 },
		"tallest":      func(int) int { return maxHeight },
		"tallest last": func(i int) int { return 1 + i/30*(maxHeight-1) },
		"alternating":  func(i int) int { return 1 + i%2*(maxHeight-1) },
		"each":         func(i int) int { return 1 + i%maxHeight },
	}
	for name, height := range heights {
		t.Run(name, func(t *testing.T) {
			for valueBytes := range 2 * unitBytes {
				for count := range 60 {
					fillExactly(t, count, valueBytes, height)
				}
			}
		})
	}
}

// fillExactly makes room for count entries and allocates them.
func fillExactly(t *testing.T, count, valueBytes int, height func(int) int) {
	key, value := []byte("key"), make([]byte, valueBytes)
	footprint := FootprintBytes(int64(count), int64(count*(len(key)+valueBytes)))
	var a arena
	a.initialize(footprint)
	for i := range count {
		remaining := FootprintBytes(int64(count-i), int64((count-i)*(len(key)+valueBytes)))
		if remaining > a.freeBytes() {
			t.Fatalf("%d of %d entries of %d bytes: %d bytes left, promised %d", i, count, valueBytes, a.freeBytes(), remaining)
		}
		a.allocate(key, value, base.MakeTrailer(1, base.KindSet), height(i)) // panics if it does not fit
	}
	if a.usedBytes.Load() > footprint || a.freeBytes() < 0 {
		t.Fatalf("%d bytes used of %d", a.usedBytes.Load(), footprint)
	}
}

// TestSavingsAreNotPromised asks for room when low towers have saved much of what
// they were charged, and then spends it all on tall ones.
func TestSavingsAreNotPromised(t *testing.T) {
	var a arena
	a.initialize(10_000)
	for range 50 {
		a.allocate([]byte("key"), nil, 1, 1)
	}
	for count := a.freeBytes() / FootprintBytes(1, 3); count > 0; count-- {
		a.allocate([]byte("key"), nil, 1, maxHeight) // panics if it does not fit
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

// TestTallTowersArePaidFor checks the other side of the accounting: over many
// entries of any one size, towers get the heights they draw.
func TestTallTowersArePaidFor(t *testing.T) {
	const count = 20_000
	for valueBytes := range unitBytes {
		var l skiplist
		l.initialize(FootprintBytes(count, int64(count*(8+valueBytes))))
		lowered := 0
		for range count {
			drawn := l.drawHeight()
			if _, height := l.arena.allocate(make([]byte, 8), make([]byte, valueBytes), 1, drawn); height < drawn {
				lowered++
			}
		}
		if lowered > count/100 {
			t.Errorf("values of %d bytes: %d of %d towers made lower", valueBytes, lowered, count)
		}
	}
}

func TestHeightDistribution(t *testing.T) {
	var l skiplist
	l.initialize(0)
	const count = 1 << 16
	var atLeast [maxHeight + 2]int
	for range count {
		for h := l.drawHeight(); h > 0; h-- {
			atLeast[h]++
		}
	}
	for h, expected := 2, count/2; expected > 500; h, expected = h+1, expected/2 {
		if atLeast[h] < expected*8/10 || atLeast[h] > expected*12/10 {
			t.Errorf("%d of %d towers have height %d or more, want about %d", atLeast[h], count, h, expected)
		}
	}
}

func TestArenaIsAligned(t *testing.T) {
	var a arena
	a.initialize(1001)
	if uintptr(unsafe.Pointer(&a.units[0]))%unitBytes != 0 || a.capacityBytes != 1008 {
		t.Fatalf("units at %p, capacity %d", &a.units[0], a.capacityBytes)
	}
	if maxArenaBytes%unitBytes != 0 || int64(headUnits)+maxArenaBytes/unitBytes > 1<<32-1 {
		t.Fatal("the largest arena has units that no link can name")
	}
}

func TestNodesDoNotOverlap(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	var a arena
	a.initialize(1 << 20)
	type stored struct {
		n          node
		key, value []byte
	}
	var all []stored
	for i := range 1000 {
		key, value := bytes.Repeat([]byte{byte(i)}, r.IntN(20)), bytes.Repeat([]byte{byte(i >> 2)}, r.IntN(50))
		n, height := a.allocate(key, value, base.Trailer(i), 1+r.IntN(maxHeight))
		for level := range height {
			a.setFreshNext(n, level, node(1<<32-1))
		}
		all = append(all, stored{n, key, value})
	}
	for i, s := range all {
		key, value := a.entry(s.n)
		if !bytes.Equal(key.UserKey(), s.key) || key.Trailer() != base.Trailer(i) || !bytes.Equal(value, s.value) ||
			!a.hasUserKey(s.n, s.key) || a.units[s.n] != prefixOf(s.key) {
			t.Fatalf("node %d changed: %v, %x", i, key, value)
		}
	}
}

// FuzzPrefixOrder checks that prefixes never contradict the order of keys.
func FuzzPrefixOrder(f *testing.F) {
	f.Add([]byte(""), []byte("\x00"))
	f.Add([]byte("12345678"), []byte("12345678\x00"))
	f.Add([]byte("a\x00"), []byte("a\x00\x01"))
	f.Add([]byte("ab"), []byte("a\xff"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		pa, pb := prefixOf(a), prefixOf(b)
		if c := bytes.Compare(a, b); pa < pb && c >= 0 || pa > pb && c <= 0 {
			t.Fatalf("%q %x, %q %x, order %d", a, pa, b, pb, c)
		}
	})
}
