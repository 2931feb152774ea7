package memtable

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"lsmdb/internal/base"
)

// TestFollow compares a memtable that got its place in the history in the end with one that
// knew it from the beginning.
func TestFollow(t *testing.T) {
	for name, shape := range keyShapes {
		for _, last := range []base.Seq{0, 1, 1000, base.MaxSeq - 5000} {
			t.Run(fmt.Sprint(name, " ", last), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, uint64(last)))
				const n = 600
				want, got := New(1<<20), New(1<<20)
				for i := base.Seq(1); i <= n; i++ {
					op := base.Op{Kind: base.KindSet, Key: shape(rng), Value: fmt.Append(nil, i)}
					switch rng.IntN(8) {
					case 0:
						op.Kind, op.Value = base.KindDelete, nil
					case 1:
						op.Kind, op.Value = base.KindRangeDelete, shape(rng)
					}
					want.Apply(op, last+i)
					got.Apply(op, i)
				}
				got.Follow(last)
				if got.Fits(1) || !want.Fits(1) || !got.Fits(0) {
					t.Error("something fits into what is whole")
				}
				if !reflect.DeepEqual(got.RangeDeletes.Lists(), want.RangeDeletes.Lists()) {
					t.Error("the range deletes have other numbers")
				}
				for range 2000 {
					key, seq := shape(rng), last+base.Seq(rng.IntN(n+2))
					if rng.IntN(4) == 0 {
						seq = base.Seq(rng.Uint64N(uint64(last) + n + 10))
					}
					hash := base.Hash(key)
					value, trailer, ok := got.Get(key, hash, seq)
					wantValue, wantTrailer, wantOK := want.Get(key, hash, seq)
					if ok != wantOK || trailer != wantTrailer || !bytes.Equal(value, wantValue) {
						t.Fatalf("%x at %d: %q %v %v, want %q %v %v", key, seq, value, trailer, ok, wantValue, wantTrailer, wantOK)
					}
					if g, w := got.RangeDeletes.Newest(key, seq), want.RangeDeletes.Newest(key, seq); g != w {
						t.Fatalf("the newest range delete of %x at %d is %d, want %d", key, seq, g, w)
					}
				}
				walkAlike(t, rng, got.NewIterator(), want.NewIterator(), func() base.InternalKey {
					seq := last + base.Seq(rng.IntN(n+2))
					if rng.IntN(4) == 0 {
						seq = base.Seq(rng.Uint64N(uint64(last) + n + 10))
					}
					return base.MakeInternalKey(shape(rng), seq, []base.Kind{base.KindSeek, base.KindSet, 0}[rng.IntN(3)])
				})
			})
		}
	}
}

// walkAlike moves two iterators, which must stand on the same. The key before stays readable.
func walkAlike(t *testing.T, rng *rand.Rand, got, want *Iterator, draw func() base.InternalKey) {
	t.Helper()
	var previous, copied base.InternalKey
	for range 5000 {
		var a, b bool
		switch move := rng.IntN(20); {
		case move == 0:
			a, b = got.First(), want.First()
		case move == 1:
			a, b = got.Last(), want.Last()
		case move == 2:
			key := draw()
			a, b = got.SeekGE(key), want.SeekGE(key)
		case move == 3:
			key := draw()
			a, b = got.SeekLT(key), want.SeekLT(key)
		case move < 12:
			a, b = got.Next(), want.Next()
		default:
			a, b = got.Prev(), want.Prev()
		}
		if !bytes.Equal(previous, copied) {
			t.Fatalf("the key before became %s, it was %s", previous, copied)
		}
		if a != b {
			t.Fatalf("stands: %v, want %v", a, b)
		}
		if !a {
			previous, copied = nil, nil
			continue
		}
		if base.Compare(got.Key(), want.Key()) != 0 || !bytes.Equal(got.Value(), want.Value()) {
			t.Fatalf("%s, want %s", got.Key(), want.Key())
		}
		previous = got.Key()
		copied = previous.Clone()
	}
}

// TestFollowLeavesNothing: a memtable that gets the memory of one which was whole is not.
func TestFollowLeavesNothing(t *testing.T) {
	m := New(1 << 10)
	m.Insert([]byte("a"), nil, 1, base.KindSet)
	m.Follow(100)
	m = m.Renew()
	m.Insert([]byte("a"), nil, 1, base.KindSet)
	if _, trailer, ok := m.Get([]byte("a"), base.Hash([]byte("a")), 1); !ok || trailer.Seq() != 1 || !m.Fits(1) {
		t.Error(trailer, ok)
	}
}
