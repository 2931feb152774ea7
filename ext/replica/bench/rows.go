package main

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	raftbench "github.com/hashicorp/raft/bench"
)

// row is one thing that all stores do.
type row struct {
	name      string
	benchtime string            // how long, or "30x": how often; empty: as long as the command says
	prepare   func(store) error // what is done once, before all rounds; nil: each run has an empty store
	run       func(b *testing.B, s store)
}

// rows are first those of raft's package bench, as they are, then those that it lacks.
var rows = []row{
	{name: "StoreLog", run: logs(raftbench.StoreLog)},
	{name: "StoreLogs", run: logs(raftbench.StoreLogs)},
	{name: "GetLog", run: logs(raftbench.GetLog)},
	{name: "DeleteRange", run: logs(raftbench.DeleteRange)},
	{name: "FirstIndex", run: logs(raftbench.FirstIndex)},
	{name: "LastIndex", run: logs(raftbench.LastIndex)},
	{name: "Set", run: stable(raftbench.Set)},
	{name: "SetUint64", run: stable(raftbench.SetUint64)},
	{name: "Get", run: stable(raftbench.Get)},
	{name: "GetUint64", run: stable(raftbench.GetUint64)},
	{name: "StoreLog-128B", run: appendOne},
	{name: "StoreLogs-64x1KiB", run: appendMany},
	{name: "DeleteRange-8192", benchtime: "30x", run: trim},
	{name: "GetLog-in-order", prepare: fillMany, run: readInOrder},
	{name: "GetLog-random", prepare: fillMany, run: readAtRandom},
}

func logs(run func(*testing.B, raft.LogStore)) func(*testing.B, store) {
	return func(b *testing.B, s store) { run(b, s) }
}

func stable(run func(*testing.B, raft.StableStore)) func(*testing.B, store) {
	return func(b *testing.B, s store) { run(b, s) }
}

// Sizes of the rows that raft's package lacks. The amount of read entries is that of raft-wal's
// own benchmark; what is trimmed, and what stays, is what Raft trims and keeps by default.
const (
	entryBytes   = 128
	readEntries  = 1_000_000
	trimmed      = 8192
	trailing     = 10240
	largeEntries = 64
	largeBytes   = 1024
)

// fill appends entries from an index on, many at a time.
func fill(s store, from, count uint64, data []byte) error {
	const atOnce = 512
	batch := make([]*raft.Log, 0, atOnce)
	for index := from; index < from+count; index++ {
		batch = append(batch, &raft.Log{Index: index, Term: 3, Data: data})
		if len(batch) == atOnce || index == from+count-1 {
			if err := s.StoreLogs(batch); err != nil {
				return fmt.Errorf("store logs up to %d: %w", index, err)
			}
			batch = batch[:0]
		}
	}
	return nil
}

// noise returns bytes that cannot be compressed.
func noise(n int) []byte {
	rng := rand.NewChaCha8([32]byte{1})
	data := make([]byte, n)
	_, _ = rng.Read(data) // it never fails
	return data
}

// appendOne appends as raft's StoreLog does, but from 1 on, as Raft does, and not from 0.
func appendOne(b *testing.B, s store) {
	l := &raft.Log{Term: 3, Data: noise(entryBytes)}
	for b.Loop() {
		l.Index++
		if err := s.StoreLog(l); err != nil {
			b.Fatal(err)
		}
	}
}

// appendMany appends as a follower that is catching up does.
func appendMany(b *testing.B, s store) {
	batch := make([]*raft.Log, largeEntries)
	for i := range batch {
		batch[i] = &raft.Log{Index: uint64(i + 1), Term: 3, Data: noise(largeBytes)}
	}
	for b.Loop() {
		if err := s.StoreLogs(batch); err != nil {
			b.Fatal(err)
		}
		for _, l := range batch {
			l.Index += largeEntries
		}
	}
}

// trim deletes what Raft deletes after each snapshot.
func trim(b *testing.B, s store) {
	data := noise(entryBytes)
	if err := fill(s, 1, trailing, data); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for n := range uint64(b.N) {
		b.StopTimer()
		if err := fill(s, trailing+1+n*trimmed, trimmed, data); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := s.DeleteRange(1+n*trimmed, (n+1)*trimmed); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if first, err := s.FirstIndex(); err != nil || first != uint64(b.N)*trimmed+1 {
		b.Fatal(first, err)
	}
}

func fillMany(s store) error { return fill(s, 1, readEntries, noise(entryBytes)) }

// readInOrder reads as a leader does for a follower that is catching up.
func readInOrder(b *testing.B, s store) {
	index := uint64(0)
	read(b, s, func() uint64 {
		index = index%readEntries + 1
		return index
	})
}

func readAtRandom(b *testing.B, s store) {
	rng := rand.New(rand.NewPCG(1, 1))
	read(b, s, func() uint64 { return 1 + rng.Uint64N(readEntries) })
}

func read(b *testing.B, s store, next func() uint64) {
	for range b.N {
		index := next()
		var l raft.Log
		if err := s.GetLog(index, &l); err != nil || l.Index != index || len(l.Data) != entryBytes {
			b.Fatal(index, l.Index, len(l.Data), err)
		}
	}
}
