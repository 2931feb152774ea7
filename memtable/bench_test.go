package memtable

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
)

const (
	benchEntries    = 400_000
	benchKeyBytes   = 16
	benchValueBytes = 100
)

// benchKeys returns distinct 16-byte keys, the order of which is random in the
// first eight bytes or, with a shared prefix, in the last eight.
func benchKeys(order string) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	keys := make([][]byte, benchEntries)
	backing := make([]byte, benchEntries*benchKeyBytes)
	for i := range keys {
		keys[i] = backing[i*benchKeyBytes:][:benchKeyBytes:benchKeyBytes]
		switch order {
		case "random":
			binary.BigEndian.PutUint64(keys[i], random.Uint64())
			binary.BigEndian.PutUint64(keys[i][8:], uint64(i))
		case "prefixed":
			copy(keys[i], "customer")
			binary.BigEndian.PutUint64(keys[i][8:], random.Uint64())
		case "sequential":
			binary.BigEndian.PutUint64(keys[i], uint64(i))
		case "descending":
			binary.BigEndian.PutUint64(keys[i], uint64(benchEntries-i))
		case "counter": // as users write them, in random order
			copy(keys[i], fmt.Appendf(nil, "user:%011d", random.IntN(1e9)))
		case "one key":
		}
	}
	return keys
}

func benchTable(keys [][]byte) *Memtable {
	m := New(FootprintBytes(int64(len(keys)), int64(len(keys))*(benchKeyBytes+benchValueBytes)))
	value := make([]byte, benchValueBytes)
	for i, key := range keys {
		m.Insert(key, value, base.Seq(i+1), base.KindSet)
	}
	return m
}

func BenchmarkInsert(b *testing.B) {
	for _, order := range []string{"random", "prefixed", "sequential", "descending", "one key", "counter"} {
		b.Run(order, func(b *testing.B) {
			keys := benchKeys(order)
			value := make([]byte, benchValueBytes)
			var m *Memtable
			for i := 0; b.Loop(); i++ {
				if i%benchEntries == 0 {
					b.StopTimer()
					m = New(FootprintBytes(benchEntries, benchEntries*(benchKeyBytes+benchValueBytes)))
					b.StartTimer()
				}
				m.Insert(keys[i%benchEntries], value, base.Seq(i+1), base.KindSet)
			}
			m = benchTable(keys)
			b.ReportMetric(float64(m.UsedBytes())/benchEntries-benchKeyBytes-benchValueBytes, "overhead-B/entry")
			b.SetBytes(benchKeyBytes + benchValueBytes)
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, order := range []string{"random", "prefixed", "counter"} {
		keys := benchKeys(order)
		m := benchTable(keys)
		lookup := rand.New(rand.NewPCG(3, 4)).Perm(benchEntries)
		b.Run("hit "+order, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				key := keys[lookup[i%benchEntries]]
				if _, _, ok := m.Get(key, base.Hash(key), base.MaxSeq); !ok {
					b.Fatal("key lost")
				}
			}
		})
		b.Run("miss "+order, func(b *testing.B) {
			b.ReportAllocs()
			absent := make([]byte, benchKeyBytes)
			for i := 0; b.Loop(); i++ {
				copy(absent, keys[lookup[i%benchEntries]])
				absent[12] ^= 0x80
				if _, _, ok := m.Get(absent, base.Hash(absent), base.MaxSeq); ok {
					b.Fatal("key invented")
				}
			}
		})
	}
}

func BenchmarkIterate(b *testing.B) {
	it := benchTable(benchKeys("random")).NewIterator()
	b.Run("next", func(b *testing.B) {
		benchIterate(b, it, it.First, it.Next)
	})
	b.Run("prev", func(b *testing.B) {
		benchIterate(b, it, it.Last, it.Prev)
	})
}

func benchIterate(b *testing.B, it *Iterator, start, move func() bool) {
	b.ReportAllocs()
	var sum int
	for b.Loop() {
		if !move() {
			start()
		}
		sum += int(it.Key()[0]) + len(it.Value())
	}
	if sum == 0 {
		b.Fatal("nothing read")
	}
}

func BenchmarkSeek(b *testing.B) {
	keys := benchKeys("random")
	it := benchTable(keys).NewIterator()
	lookup := rand.New(rand.NewPCG(3, 4)).Perm(benchEntries)
	search := make(base.InternalKey, 0, benchKeyBytes+base.TrailerBytes)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		search = base.AppendSearchKey(search[:0], keys[lookup[i%benchEntries]], base.MaxSeq)
		if !it.SeekGE(search) {
			b.Fatal("key lost")
		}
	}
}
