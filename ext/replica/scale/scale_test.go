package main

import (
	"math"
	"strconv"
	"strings"
	"testing"
)

// within fails unless two figures differ by no more than a share of the second.
func within(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > share*want {
		t.Errorf("%s: simulated %.4g, formula %.4g", what, got, want)
	}
}

// TestClusterFormula: where one thing bounds a cluster, formula and simulation agree.
func TestClusterFormula(t *testing.T) {
	c := Measured()
	for _, s := range []Setup{
		{Nodes: 3, Groups: 1, Clients: 1}, {Nodes: 3, Groups: 1, Clients: 8}, {Nodes: 3, Groups: 300, Clients: 4},
		{Nodes: 9, Groups: 9, Clients: 2}, {Nodes: 9, Groups: 900, Clients: 8},
	} {
		s.Replicas, s.EntryBytes = replicas, 150
		for _, s.Shared = range []bool{true, false} {
			formula, bound := c.Throughput(s)
			within(t, strings.Join([]string{strconv.Itoa(s.Nodes), "nodes,", strconv.Itoa(s.Groups), "groups, bound by", bound}, " "),
				Simulate(c, s, 5e5, 1).PerSecond, formula, 0.35)
		}
	}
}

// TestSharedLog: sharing a log pays where many groups have little to do each.
func TestSharedLog(t *testing.T) {
	c := Measured()
	s := Setup{Nodes: 3, Replicas: replicas, Groups: 192, Clients: 1, EntryBytes: 150, Shared: true}
	shared := Simulate(c, s, 1e6, 1)
	s.Shared = false
	each := Simulate(c, s, 1e6, 1)
	if shared.PerSecond < 5*each.PerSecond || shared.Syncs > each.Syncs/5 {
		t.Errorf("one log: %+v, a log each: %+v", shared, each)
	}
}

// TestLossFormula: so many nodes at once, and one after the other, lose as many groups as the formulas say.
func TestLossFormula(t *testing.T) {
	for _, r := range []Region{{Nodes: 30, Scatter: 10}, {Nodes: 300, Scatter: 2}, {Nodes: 300, Scatter: 20}} {
		for _, failed := range []int{3, r.Nodes / 10} {
			formula, simulated := r.LossAtOnce(failed), r.SimulateAtOnce(failed, 2000, 1)
			if math.Abs(formula-simulated) > 0.04 {
				t.Errorf("%+v, %d lost at once: formula %.3f, simulated %.3f", r, failed, formula, simulated)
			}
		}
	}
	// Nodes fail a thousand times as often as they do, so that there is something to count.
	r := Region{Nodes: 60, NodeBytes: 500e9, Scatter: 6, FailYears: 0.01, Bandwidth: 50e6}
	within(t, "losses per year", r.SimulateYears(1000, 1), r.LossesPerYear(), 0.25)
}
