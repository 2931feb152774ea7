package main

import (
	"math"
	"math/rand/v2"
)

// Region is many nodes that hold the replicas of many groups, three each.
type Region struct {
	Nodes     int
	NodeBytes float64 // of replicas on each
	Scatter   int     // other nodes that share groups with one
	FailYears float64 // mean time until a node is lost with its data
	Bandwidth float64 // bytes per second that a node gives to repairs, in each direction
}

// replicas of a group.
const replicas = 3

// secondsPerYear is a year of 365 days.
const secondsPerYear = 365 * 24 * 3600

// Sets is how many different sets of three nodes hold all replicas of some group: Scatter over
// two permutations of the nodes give each node so many partners (Cidon and others, "Copysets",
// USENIX ATC 2013).
func (r Region) Sets() float64 {
	return float64(r.Nodes) * float64(r.Scatter) / (replicas * (replicas - 1))
}

// RepairSeconds is how long a lost node's data is on two nodes only: its partners copy it
// among themselves, each its share.
func (r Region) RepairSeconds() float64 {
	partners := min(r.Scatter, r.Nodes-1)
	return r.NodeBytes / (float64(partners) * r.Bandwidth)
}

// LossesPerYear is how often all three nodes of some set are lost, each before the data of the
// one before was copied, by formula: the chain of states with three, two and one replicas.
func (r Region) LossesPerYear() float64 {
	rate, repair := 1/(r.FailYears*secondsPerYear), 1/r.RepairSeconds()
	return r.Sets() * 3 * rate * 2 * rate * rate / (repair * 2 * repair) * secondsPerYear
}

// LossAtOnce is the probability that so many nodes, lost at once, take a whole set with them.
func (r Region) LossAtOnce(failed int) float64 {
	n, f := float64(r.Nodes), float64(failed)
	one := f * (f - 1) * (f - 2) / (n * (n - 1) * (n - 2))
	return 1 - math.Pow(1-one, r.Sets())
}

// FailuresPerDay is how many nodes are lost each day.
func (r Region) FailuresPerDay() float64 { return float64(r.Nodes) / (r.FailYears * 365) }

// place draws the sets: permutations of the nodes, cut into threes.
func (r Region) place(random *rand.Rand) [][replicas]int {
	var sets [][replicas]int
	for range r.Scatter / (replicas - 1) {
		order := random.Perm(r.Nodes)
		for ; len(order) >= replicas; order = order[replicas:] {
			sets = append(sets, [replicas]int(order))
		}
	}
	return sets
}

// SimulateAtOnce draws placements and failures, and returns the share of tries that lost a set.
func (r Region) SimulateAtOnce(failed, tries int, seed uint64) float64 {
	random := rand.New(rand.NewPCG(seed, 2))
	lost := 0
	for range tries {
		down := make([]bool, r.Nodes)
		for _, n := range random.Perm(r.Nodes)[:failed] {
			down[n] = true
		}
		for _, set := range r.place(random) {
			if down[set[0]] && down[set[1]] && down[set[2]] {
				lost++
				break
			}
		}
	}
	return float64(lost) / float64(tries)
}

// SimulateYears has nodes fail and their data copied, and returns how many sets were lost per
// year. A lost set is there again at once, so that its loss is counted once.
func (r Region) SimulateYears(years float64, seed uint64) float64 {
	random := rand.New(rand.NewPCG(seed, 3))
	of := make([][][replicas]int, r.Nodes)
	for _, set := range r.place(random) {
		for _, n := range set {
			of[n] = append(of[n], set)
		}
	}
	repairedAt := make([]float64, r.Nodes)
	now, end, lost := 0.0, years*secondsPerYear, 0
	for {
		now += random.ExpFloat64() * r.FailYears * secondsPerYear / float64(r.Nodes)
		if now > end {
			return float64(lost) / years
		}
		failed := random.IntN(r.Nodes)
		if repairedAt[failed] > now {
			continue // its successor has nothing yet that could be lost
		}
		repairedAt[failed] = now + random.ExpFloat64()*r.RepairSeconds()
		for _, set := range of[failed] {
			if repairedAt[set[0]] > now && repairedAt[set[1]] > now && repairedAt[set[2]] > now {
				lost++
			}
		}
	}
}
