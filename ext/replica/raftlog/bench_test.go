package raftlog_test

import (
	"testing"

	"github.com/hashicorp/raft"
	raftbench "github.com/hashicorp/raft/bench"

	"lsmdb/ext/replica/raftlog"
	"lsmdb/internal/tests/fixture"
)

// Raft's own benchmarks; those beside other stores are in ext/replica/bench.

func BenchmarkStoreLog(b *testing.B)    { ofLog(b, raftbench.StoreLog) }
func BenchmarkStoreLogs(b *testing.B)   { ofLog(b, raftbench.StoreLogs) }
func BenchmarkGetLog(b *testing.B)      { ofLog(b, raftbench.GetLog) }
func BenchmarkDeleteRange(b *testing.B) { ofLog(b, raftbench.DeleteRange) }
func BenchmarkFirstIndex(b *testing.B)  { ofLog(b, raftbench.FirstIndex) }
func BenchmarkLastIndex(b *testing.B)   { ofLog(b, raftbench.LastIndex) }
func BenchmarkSet(b *testing.B)         { ofValues(b, raftbench.Set) }
func BenchmarkGet(b *testing.B)         { ofValues(b, raftbench.Get) }
func BenchmarkSetUint64(b *testing.B)   { ofValues(b, raftbench.SetUint64) }
func BenchmarkGetUint64(b *testing.B)   { ofValues(b, raftbench.GetUint64) }

func ofLog(b *testing.B, run func(*testing.B, raft.LogStore)) {
	ofStore(b, func(s *raftlog.Store) { run(b, s) })
}

func ofValues(b *testing.B, run func(*testing.B, raft.StableStore)) {
	ofStore(b, func(s *raftlog.Store) { run(b, s) })
}

func ofStore(b *testing.B, run func(s *raftlog.Store)) {
	b.ReportAllocs()
	s, err := raftlog.Open(b.TempDir(), nil)
	fixture.Must(b, err)
	defer func() {
		b.StopTimer()
		fixture.Must(b, s.Close())
	}()
	b.ResetTimer()
	run(s)
}
