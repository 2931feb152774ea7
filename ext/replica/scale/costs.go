package main

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Costs are what one machine was measured to take, or what a network is assumed to. Times are
// in microseconds, of processor time where they say so.
type Costs struct {
	Sync      float64 // a sync of the log, mostly
	SlowSync  float64 // a sync that waits for something else on the disk
	SlowShare float64 // of all syncs
	Streams   int     // syncs of different logs that the disk does at a time

	Lead   float64 // processor time of an entry where it is proposed: request, log, sending, applying
	Follow float64 // the same where it is only received
	Cores  int

	RoundTrip   float64 // between two nodes, without what they do
	DiskBytes   float64 // bytes per microsecond that a disk takes in a lasting load
	NetBytes    float64 // bytes per microsecond between nodes, in each direction
	Written     float64 // bytes written per byte of payload, compaction included
	MaxAppended int     // entries that raft logs or sends at once
}

// Measured are the costs on two processors of a shared machine, and a network in one building.
// docs/scale.md says where each comes from.
func Measured() Costs {
	return Costs{
		Sync: 200, SlowSync: 8000, SlowShare: 0.002, Streams: 1,
		Lead: 30, Follow: 15, Cores: 2,
		RoundTrip: 200, DiskBytes: 400, NetBytes: 1000, Written: 4, MaxAppended: 64,
	}
}

// sync draws the time of one sync.
func (c *Costs) sync(random *rand.Rand) float64 {
	if random.Float64() < c.SlowShare {
		return c.SlowSync
	}
	return c.Sync * (0.8 + 0.4*random.Float64())
}

// meanSync is the mean of what sync draws.
func (c *Costs) meanSync() float64 {
	return c.SlowShare*c.SlowSync + (1-c.SlowShare)*c.Sync
}

// Latency is the time of one entry, by formula: two logs in turn, a round trip, and the
// processors. Who is not alone finds a sync under way at each log, half of it on average.
func (c *Costs) Latency(alone bool) float64 {
	syncs := 3.0
	if alone {
		syncs = 2
	}
	return syncs*c.meanSync() + c.RoundTrip + c.Lead + c.Follow
}

// bound is one thing that a cluster cannot pass, in entries per microsecond.
type bound struct {
	name      string
	perMicros float64
}

// Throughput is how many entries per second a cluster can commit, by formula, and what bounds
// it: its clients, who wait for their answers; its groups, each of which a leader serves by one
// batch after the other; the processors; the disks; and the syncs, where each group has a log of
// its own: then half of its clients share one, as the others wait for the answer to the last.
func (c *Costs) Throughput(s Setup) (perSecond float64, by string) {
	batch, machines := float64(c.MaxAppended), float64(s.Nodes)
	if s.OneMachine {
		machines = 1
	}
	bounds := []bound{
		{"clients", float64(s.Groups*s.Clients) / c.Latency(s.Groups*s.Clients == 1)},
		{"groups", float64(s.Groups) * batch / (batch*c.Lead + c.meanSync())},
		{"processors", machines * float64(c.Cores) / (c.Lead + float64(s.Replicas-1)*c.Follow)},
		{"disks", machines * c.DiskBytes / (float64(s.Replicas) * c.Written * s.EntryBytes)},
	}
	if !s.Shared {
		synced := machines * float64(c.Streams) / float64(s.Replicas) // groups that are synced at a time, on all of their replicas
		bounds = append(bounds, bound{"syncs", synced * min(batch, max(1, float64(s.Clients)/2)) / c.meanSync()})
	}
	least := slices.MinFunc(bounds, func(a, b bound) int { return cmp.Compare(a.perMicros, b.perMicros) })
	return least.perMicros * 1e6, least.name
}
