package main

import (
	"container/heap"
	"math/rand/v2"
	"slices"
)

// Setup is a cluster and its load: each group has Clients, who send their next entry when the
// last one is answered.
type Setup struct {
	Nodes, Replicas int
	Groups, Clients int
	EntryBytes      float64
	Shared          bool // all groups of a node share one database, and so one log
	OneMachine      bool // all nodes share the processors and the disk of one, each with its log
}

// Outcome is what a simulation found. Times are in microseconds.
type Outcome struct {
	PerSecond         float64
	Median, P99, P999 float64
	Syncs             float64 // per entry, in the whole cluster
}

// Simulate runs a cluster for so many microseconds, event by event. Group g is led by node g
// modulo Nodes, and the nodes after that follow it.
//
// As in hashicorp/raft, a leader first makes its own log durable and then sends; it logs the
// entries that have gathered meanwhile at once, up to a limit; so does who follows. An entry
// is committed when most of the replicas have it, and answered when the leader has applied it.
func Simulate(c Costs, s Setup, micros float64, seed uint64) Outcome {
	m := &simulation{costs: c, setup: s, random: rand.New(rand.NewPCG(seed, 1))}
	for i := range s.Nodes {
		if i > 0 && s.OneMachine {
			m.nodes = append(m.nodes, m.nodes[0])
			continue
		}
		m.nodes = append(m.nodes, &node{free: make([]float64, c.Cores)})
	}
	for g := range s.Groups {
		group := &group{}
		for r := range s.Replicas {
			group.members = append(group.members, &member{node: m.nodes[(g+r)%s.Nodes], group: group})
		}
		for range s.Clients {
			group.members[0].propose(m, m.random.Float64()*c.Latency(false))
		}
	}
	for len(m.events) > 0 && m.now < micros {
		e := heap.Pop(&m.events).(event)
		m.now = e.at
		e.do()
	}
	return m.outcome()
}

// event is something that happens at a time.
type event struct {
	at float64
	do func()
}

// events is a heap by time.
type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

type simulation struct {
	costs     Costs
	setup     Setup
	random    *rand.Rand
	now       float64
	events    events
	nodes     []*node
	latencies []float64
	syncs     int
}

// after has something happen later.
func (m *simulation) after(micros float64, do func()) {
	heap.Push(&m.events, event{m.now + micros, do})
}

// node is a machine: processors that take one job after the other, and a disk.
type node struct {
	free    []float64 // when each processor is
	waiting []*write
	syncing int // logs
}

// compute has the processor that is free first do a job.
func (n *node) compute(m *simulation, micros float64, then func()) {
	i := 0
	for j := range n.free {
		if n.free[j] < n.free[i] {
			i = j
		}
	}
	n.free[i] = max(n.free[i], m.now) + micros
	heap.Push(&m.events, event{n.free[i], then})
}

// write is what one group wants to be durable on a node.
type write struct {
	entries int
	then    func()
}

// store makes entries durable: together with all that waits, where there is one log.
func (n *node) store(m *simulation, a *write) {
	n.waiting = append(n.waiting, a)
	n.sync(m)
}

func (n *node) sync(m *simulation) {
	streams, taken := m.costs.Streams, 1
	if m.setup.Shared {
		streams, taken = 1, len(n.waiting)
	}
	if n.syncing >= streams || len(n.waiting) == 0 {
		return
	}
	batch := n.waiting[:taken:taken]
	n.waiting = n.waiting[taken:]
	n.syncing++
	m.syncs++
	bytes := 0.0
	for _, a := range batch {
		bytes += float64(a.entries) * m.setup.EntryBytes * m.costs.Written
	}
	m.after(max(m.costs.sync(m.random), bytes/m.costs.DiskBytes), func() {
		n.syncing--
		for _, a := range batch {
			a.then()
		}
		n.sync(m)
	})
}

// group is a raft group, whose first replica leads.
type group struct {
	members []*member
}

// member is a group's part on one node. It makes one batch durable at a time.
type member struct {
	node  *node
	group *group
	queue []*entry
	busy  bool
}

// entry is one command.
type entry struct {
	sent      float64
	copies    int // replicas that have it
	committed bool
}

// propose has a client send an entry after a time.
func (r *member) propose(m *simulation, micros float64) {
	m.after(micros, func() {
		r.queue = append(r.queue, &entry{sent: m.now})
		r.work(m)
	})
}

func (r *member) leads() bool { return r.group.members[0] == r }

// work makes what has gathered durable, and then passes it on.
func (r *member) work(m *simulation) {
	if r.busy || len(r.queue) == 0 {
		return
	}
	r.busy = true
	count := min(len(r.queue), m.costs.MaxAppended)
	batch := r.queue[:count:count]
	r.queue = r.queue[count:]
	each := m.costs.Follow
	if r.leads() {
		each = m.costs.Lead
	}
	r.node.compute(m, each*float64(count), func() {
		r.node.store(m, &write{entries: count, then: func() {
			r.busy = false
			r.durable(m, batch)
			r.work(m)
		}})
	})
}

// durable tells the others: the leader sends the entries, the followers acknowledge them.
func (r *member) durable(m *simulation, batch []*entry) {
	transfer := m.costs.RoundTrip/2 + float64(len(batch))*m.setup.EntryBytes/m.costs.NetBytes
	if !r.leads() {
		m.after(m.costs.RoundTrip/2, func() { r.group.acknowledge(m, batch) })
		return
	}
	r.group.acknowledge(m, batch)
	for _, follower := range r.group.members[1:] {
		m.after(transfer, func() {
			follower.queue = append(follower.queue, batch...)
			follower.work(m)
		})
	}
}

// acknowledge counts a replica, and answers clients when there are enough of them.
func (g *group) acknowledge(m *simulation, batch []*entry) {
	for _, e := range batch {
		e.copies++
		if !e.committed && e.copies > len(g.members)/2 {
			e.committed = true
			m.latencies = append(m.latencies, m.now-e.sent)
			g.members[0].propose(m, 0)
		}
	}
}

func (m *simulation) outcome() Outcome {
	count := len(m.latencies)
	if count == 0 {
		return Outcome{}
	}
	slices.Sort(m.latencies)
	at := func(share float64) float64 { return m.latencies[min(int(share*float64(count)), count-1)] }
	return Outcome{
		PerSecond: float64(count) / m.now * 1e6,
		Median:    at(0.5), P99: at(0.99), P999: at(0.999),
		Syncs: float64(m.syncs) / float64(count),
	}
}
