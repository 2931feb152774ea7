package view

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

var (
	generationKey  = []byte("key")
	generationHash = base.Hash(generationKey)
)

// generationValue fills most of an arena, so that no piece of a generation outlives
// the next one in its arena.
func generationValue(generation uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, generation), arenaBytes/10)
}

// generationOf reads which generation a memtable is of; 0: it is still empty.
func generationOf(m *memtable.Memtable) (uint64, error) {
	value, _, ok := m.Get(generationKey, generationHash, base.MaxSeq)
	if !ok {
		return 0, nil
	}
	generation := binary.LittleEndian.Uint64(value)
	if !bytes.Equal(value, generationValue(generation)) {
		return 0, fmt.Errorf("a value begins with generation %d, but not all of it is of that", generation)
	}
	return generation, nil
}

// TestNobodyMeetsAnotherMemtable has readers stay in memtables for a while, inside or
// by a hold, while their arenas are used again. Each memtable keeps its generation.
func TestNobodyMeetsAnotherMemtable(t *testing.T) {
	a := newArenas(t)
	var done atomic.Bool
	var wg sync.WaitGroup
	for seed := range uint64(3) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for !done.Load() {
				if err := a.readGenerations(rng); err != nil {
					t.Error(err)
					return
				}
				for range rng.IntN(8) {
					runtime.Gosched()
				}
			}
		})
	}
	rng, places := rand.New(rand.NewPCG(1, 2)), make(map[*byte]bool)
	const generations = 3000
	for generation := uint64(1); generation <= generations && !t.Failed(); generation++ {
		active := a.State().Active
		a.kept = append(a.kept, active)
		active.Insert(generationKey, generationValue(generation), base.Seq(generation), base.KindSet)
		value, _, _ := active.Get(generationKey, generationHash, base.MaxSeq)
		places[&value[0]] = true
		a.rotate()
		for len(a.State().Sealed) > rng.IntN(3) {
			a.flush()
		}
		runtime.Gosched()
	}
	done.Store(true)
	wg.Wait()
	if len(places) > generations-100 {
		t.Errorf("%d arenas for %d memtables", len(places), generations)
	}
}

// readGenerations enters once, reads again and again, and leaves.
func (a *arenas) readGenerations(rng *rand.Rand) error {
	var memtables []*memtable.Memtable
	if rng.IntN(2) == 0 {
		it := new(Iterator)
		a.Hold(it, 0, nil)
		it.Open(nil, &sstable.IteratorOptions{}, new(atomic.Bool))
		defer it.Close()
		memtables = it.state.Memtables()
	} else {
		reading := a.Enter()
		defer reading.Leave()
		memtables = reading.Memtables()
	}
	first := make([]uint64, len(memtables))
	for round := range 1 + rng.IntN(6) {
		for i, m := range memtables {
			generation, err := generationOf(m)
			switch {
			case err != nil:
				return err
			case generation == 0 && (i > 0 || first[i] > 0):
				return fmt.Errorf("round %d: memtable %d of %d is empty", round, i, len(memtables))
			case first[i] == 0:
				first[i] = generation
			case generation != first[i]:
				return fmt.Errorf("round %d: memtable %d of %d has turned from generation %d into %d", round, i, len(memtables), first[i], generation)
			}
			if i > 1 && first[i] != first[i-1]-1 {
				return fmt.Errorf("generation %d is sealed after %d", first[i-1], first[i])
			}
		}
		if rng.IntN(2) == 0 {
			runtime.Gosched()
		}
	}
	return nil
}
