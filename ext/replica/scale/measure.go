package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	"github.com/jedib0t/go-pretty/v6/table"

	"lsmdb/db"
	"lsmdb/ext/replica"
)

// measureTime is how long three nodes are measured with each number of clients.
const measureTime = 4 * time.Second

// valueBytes are those of an entry's value in the measurement.
const valueBytes = 100

// measured is what three nodes did.
type measured struct {
	clients   int
	perSecond float64
	processor float64 // microseconds of an entry, on all nodes together
}

// measure runs three nodes in this process, which talk over loopback and share its processors
// and its disk, and has clients update the leader: each sends its next entry when the last one
// is answered.
func measure(clientCounts []int) (list []measured, sync float64, err error) {
	dir, err := os.MkdirTemp("", "lsmdb-scale-")
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if sync, err = syncMicros(filepath.Join(dir, "alone")); err != nil {
		return nil, 0, err
	}
	nodes, err := startNodes(dir)
	defer func() {
		for _, n := range nodes {
			err = errors.Join(err, n.Close())
		}
	}()
	if err != nil {
		return nil, 0, err
	}
	leader, err := awaitLeader(nodes)
	if err != nil {
		return nil, 0, err
	}
	for _, clients := range clientCounts {
		m, err := drive(leader, clients)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, m)
	}
	return list, sync, nil
}

// syncMicros is the mean time of a synced put, of one client of one database.
func syncMicros(dir string) (micros float64, err error) {
	d, err := db.Open(dir, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	start, n := time.Now(), 0
	for ; time.Since(start) < measureTime/4; n++ {
		if err := d.Put(fmt.Appendf(nil, "key%d", n), make([]byte, valueBytes)); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(start).Microseconds()) / float64(n), nil
}

// startNodes starts three nodes on free ports of this machine.
func startNodes(dir string) (nodes []*replica.Node, err error) {
	var members []replica.Member
	for id := range replicas {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		members = append(members, replica.Member{ID: fmt.Sprint("node", id), Address: l.Addr().String()})
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	for _, m := range members {
		n, err := replica.Start(context.Background(), replica.Config{
			ID: m.ID, Dir: filepath.Join(dir, m.ID), Listen: m.Address, Members: members,
		})
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// awaitLeader waits until one of the nodes leads.
func awaitLeader(nodes []*replica.Node) (*replica.Node, error) {
	for range 600 {
		for _, n := range nodes {
			if n.Status().State == raft.Leader.String() {
				return n, nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, errors.New("no leader was elected in a minute")
}

// drive has so many clients put entries.
func drive(n *replica.Node, clients int) (measured, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), measureTime, nil)
	defer cancel()
	var done atomic.Int64
	failed := make([]error, clients)
	start, before := time.Now(), processorTime()
	var running sync.WaitGroup
	for c := range clients {
		running.Go(func() {
			for i := 0; ctx.Err() == nil && failed[c] == nil; i++ {
				failed[c] = n.Update(context.Background(), func(tx *replica.Tx) error {
					return tx.Put(fmt.Appendf(nil, "client%d key%d", c, i), make([]byte, valueBytes))
				})
				done.Add(1)
			}
		})
	}
	running.Wait()
	count, took := float64(done.Load()), time.Since(start)
	return measured{
		clients: clients, perSecond: count / took.Seconds(),
		processor: float64((processorTime() - before).Microseconds()) / count,
	}, errors.Join(failed...)
}

// processorTime is what this process has used, in the system too.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // there is no other way to fail than a wrong argument
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// measureTable puts what was measured beside formula and simulation, with the costs of this
// machine: its sync, and the processor time of an entry, of which the leader takes half.
func measureTable(w io.Writer, c Costs) error {
	list, micros, err := measure([]int{1, 8, 64})
	if err != nil {
		return err
	}
	c.Sync, c.RoundTrip, c.SlowShare = micros, 50, 0
	var rows []table.Row
	for _, m := range list {
		c.Lead, c.Follow = m.processor/2, m.processor/4
		s := Setup{Nodes: replicas, Replicas: replicas, Groups: 1, Clients: m.clients, EntryBytes: 150, OneMachine: true}
		formula, bound := c.Throughput(s)
		rows = append(rows, table.Row{m.clients, number(m.perSecond), number(formula), bound, number(Simulate(c, s, runMicros, 1).PerSecond), number(m.processor)})
	}
	printTable(w, fmt.Sprintf("Three nodes in one process on this machine, whose sync takes %.0f µs", micros),
		table.Row{"clients", "entries/s, measured", "formula", "bound by", "simulated", "processor time of an entry, µs"}, rows)
	return nil
}
