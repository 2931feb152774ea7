package memtable

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"lsmdb/internal/base"
)

// TestRenewed fills tables in one arena after another's entries, which are overwritten
// with garbage. Each holds what it was given, and nothing of those before.
func TestRenewed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	m := New(FootprintBytes(2000, 2000*24))
	first := &m.list.cells[0]
	for round := range 20 {
		for i := range m.list.bytes {
			if round > 0 {
				m.list.bytes[i] = byte(0x11 * round)
			}
		}
		if round > 0 {
			m = m.Renew()
		}
		if &m.list.cells[0] != first || !m.Empty() || m.UsedBytes() != 0 {
			t.Fatalf("round %d: another arena, or %d entries in %d bytes", round, m.Len(), m.UsedBytes())
		}
		for i := range m.list.filter {
			if m.list.filter[i].Load() != 0 {
				t.Fatalf("round %d: the filter knows something", round)
			}
		}
		want := make(map[string]string)
		count := 1 + rng.IntN(2000)
		for i := range count {
			key := fmt.Appendf(nil, "%02d-%05d", round-rng.IntN(2), rng.IntN(3000))
			value := fmt.Appendf(nil, "%d of %d", i, round)
			m.Insert(key, value, base.Seq(i+1), base.KindSet)
			want[string(key)] = string(value)
		}
		checkList(t, m, count)
		for r := range round + 1 {
			for i := range 3000 {
				key := fmt.Appendf(nil, "%02d-%05d", r, i)
				value, _, ok := m.Get(key, base.Hash(key), base.MaxSeq)
				if v, exists := want[string(key)]; exists != ok || v != string(value) {
					t.Fatalf("round %d: %s reads as %q, %v; want %q", round, key, value, ok, v)
				}
			}
		}
	}
}
