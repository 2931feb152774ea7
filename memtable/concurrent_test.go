package memtable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"lsmdb/internal/base"
)

// history is a sequence of writes that everybody can compute: what is written at
// a sequence number follows from the number alone.
type history struct {
	table     *Memtable
	published atomic.Uint64 // every write up to it has returned
	count     base.Seq
	key       func(seq base.Seq) []byte
}

func historyValue(seq base.Seq) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, uint64(seq)), 1+int(seq%5))
}

func (h *history) write() {
	for seq := base.Seq(1); seq <= h.count; seq++ {
		h.table.Insert(h.key(seq), historyValue(seq), seq, base.KindSet)
		h.published.Store(uint64(seq))
	}
}

// readUntilDone calls read with a published sequence number until everything was
// written, and once after that.
func (h *history) readUntilDone(read func(seq base.Seq) error) error {
	for {
		seq := base.Seq(h.published.Load())
		if err := read(seq); err != nil || seq == h.count {
			return err
		}
	}
}

// checkGets looks up random writes of the past.
func (h *history) checkGets(seq base.Seq, r *rand.Rand) error {
	for range min(seq, 50) {
		written := 1 + base.Seq(r.Uint64N(uint64(seq)))
		value, trailer, ok := h.table.Get(h.key(written), base.Hash(h.key(written)), seq)
		if !ok || trailer.Seq() < written || trailer.Seq() > seq || !bytes.Equal(value, historyValue(trailer.Seq())) {
			return fmt.Errorf("at %d the write of %d reads as %d, %x, %v", seq, written, trailer.Seq(), value, ok)
		}
	}
	return nil
}

// checkScan walks the whole table one way. It must meet every write up to seq
// once, in order, and only true content beside.
func (h *history) checkScan(seq base.Seq, start, move func(*Iterator) bool, order int) error {
	it, met := h.table.NewIterator(), base.Seq(0)
	var previous base.InternalKey
	for ok := start(it); ok; ok = move(it) {
		key := it.Key()
		if previous != nil && base.Compare(previous, key) != order {
			return fmt.Errorf("%v met after %v", key, previous)
		}
		if !bytes.Equal(key.UserKey(), h.key(key.Seq())) || !bytes.Equal(it.Value(), historyValue(key.Seq())) {
			return fmt.Errorf("%v holds %x", key, it.Value())
		}
		if key.Seq() <= seq {
			met++
		}
		previous = key
	}
	if met != seq {
		return fmt.Errorf("met %d writes of %d", met, seq)
	}
	return nil
}

func TestReadersBesideTheWriter(t *testing.T) {
	shapes := map[string]func(seq base.Seq) []byte{
		"scattered": func(seq base.Seq) []byte {
			return binary.BigEndian.AppendUint64(nil, uint64(seq)*0x9e3779b97f4a7c15)
		},
		"few keys":   func(seq base.Seq) []byte { return fmt.Appendf(nil, "a common prefix %d", seq%16) },
		"ascending":  func(seq base.Seq) []byte { return fmt.Appendf(nil, "%08d", seq) },
		"descending": func(seq base.Seq) []byte { return fmt.Appendf(nil, "%08d", 1e6-seq) },
	}
	for name, key := range shapes {
		t.Run(name, func(t *testing.T) {
			h := &history{table: New(4 << 20), count: 6000, key: key}
			random := rand.New(rand.NewPCG(1, 2))
			readers := []func(seq base.Seq) error{
				func(seq base.Seq) error { return h.checkGets(seq, random) },
				func(seq base.Seq) error { return h.checkScan(seq, (*Iterator).First, (*Iterator).Next, -1) },
				func(seq base.Seq) error { return h.checkScan(seq, (*Iterator).Last, (*Iterator).Prev, +1) },
				func(seq base.Seq) error {
					if n := h.table.Len(); n < int64(seq) || h.table.UsedBytes() < n*fixedEntryBytes {
						return fmt.Errorf("%d entries in %d bytes after %d writes", n, h.table.UsedBytes(), seq)
					}
					return nil
				},
			}
			var running sync.WaitGroup
			for _, read := range readers {
				running.Go(func() {
					if err := h.readUntilDone(read); err != nil {
						t.Error(err)
					}
				})
			}
			h.write()
			running.Wait()
		})
	}
}

// TestGetsBesideManySplits: coins split blocks at every level for each entry, which happens
// seldom otherwise. So readers come by while a level learns of new blocks.
func TestGetsBesideManySplits(t *testing.T) {
	key := func(seq base.Seq) []byte { return fmt.Appendf(nil, "a common prefix %07d", seq*7919%100_003) }
	coins := rand.New(rand.NewPCG(3, 4))
	for round := range uint64(120) { // the fewer keys, the more of them are in what is split
		h := &history{table: New(1 << 20), count: 300, key: key}
		var running sync.WaitGroup
		for reader := range uint64(2) {
			running.Go(func() {
				random := rand.New(rand.NewPCG(round, reader))
				if err := h.readUntilDone(func(seq base.Seq) error { return h.checkGets(seq, random) }); err != nil {
					t.Error(err)
				}
			})
		}
		h.table.list.spare = 900_000 // as if all of that were paid for
		for seq := base.Seq(1); seq <= h.count; seq++ {
			h.table.list.fall(coins, int(seq%4))
			h.table.Insert(h.key(seq), historyValue(seq), seq, base.KindSet)
			h.published.Store(uint64(seq))
		}
		running.Wait()
	}
}

// fall makes the coins fall so that the next entry which they are asked for is at least that
// high.
func (l *skiplist) fall(r *rand.Rand, height int) {
	for seed := r.Uint64(); ; seed++ {
		l.coins.Seed(seed, seed)
		if next := l.coins; bits.TrailingZeros64(next.Uint64()) >= height*oddsBits {
			return
		}
	}
}

// TestAKeyIsFoundWhileItsBlockIsSplit looks for the last key all the time, while others come
// before it: every split moves it into the right one of two blocks, behind another key.
func TestAKeyIsFoundWhileItsBlockIsSplit(t *testing.T) {
	m, last := New(8<<20), []byte("z")
	m.Insert(last, nil, 1, base.KindSet)
	var running sync.WaitGroup
	var done atomic.Bool
	running.Go(func() {
		for !done.Load() {
			if _, _, ok := m.Get(last, base.Hash(last), base.MaxSeq); !ok {
				t.Error("a key is missing")
				return
			}
		}
	})
	for seq := base.Seq(2); seq < 50_000; seq++ {
		m.Insert(fmt.Appendf(nil, "%08d", seq), nil, seq, base.KindSet)
	}
	done.Store(true)
	running.Wait()
}

// TestSwitchingBesideTheWriter turns an iterator around at random while entries
// appear next to it. Entries older than its snapshot form a fixed sequence; the
// iterator must stay on it.
func TestSwitchingBesideTheWriter(t *testing.T) {
	key := func(seq base.Seq) []byte { return fmt.Appendf(nil, "%04d", seq*7919%5000) }
	h := &history{table: New(4 << 20), count: 5000, key: key}
	var running sync.WaitGroup
	running.Go(h.write)
	r := rand.New(rand.NewPCG(3, 4))
	err := h.readUntilDone(func(seq base.Seq) error {
		if seq == 0 {
			return nil
		}
		old := func(it *Iterator, ok bool, move func() bool) bool {
			for ; ok && it.Key().Seq() > seq; ok = move() {
			}
			return ok
		}
		it := h.table.NewIterator()
		it.SeekGE(base.AppendSearchKey(nil, key(1+base.Seq(r.Uint64N(uint64(seq)))), seq))
		var forward []base.InternalKey
		for ok := old(it, it.Valid(), it.Next); ok && len(forward) < 100; ok = old(it, it.Next(), it.Next) {
			forward = append(forward, it.Key())
		}
		if len(forward) == 0 || !it.SeekGE(forward[0]) {
			return fmt.Errorf("at %d an entry that exists is not found", seq)
		}
		at := 0
		for range 200 {
			if r.IntN(2) == 0 && at+1 < len(forward) {
				at++
				old(it, it.Next(), it.Next)
			} else if at > 0 {
				at--
				old(it, it.Prev(), it.Prev)
			}
			if !it.Valid() || !bytes.Equal(it.Key(), forward[at]) {
				return fmt.Errorf("at %d the iterator left its sequence at %d", seq, at)
			}
		}
		return nil
	})
	running.Wait()
	if err != nil {
		t.Fatal(err)
	}
}
