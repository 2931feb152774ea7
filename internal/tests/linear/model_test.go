package linear

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The sequential specification that concurrent histories are checked against: a small
// map, and what a crash may take of it.
//
// A crash is two operations. The crash itself stands where it happened and puts what
// was recovered in the place of what was there. Its cut floats: it stands anywhere
// before, at an instant when the map was exactly what was recovered. Writes behind the
// cut are those that got lost; one that was promised to survive must not be among them.
// So what is lost is always a suffix of the history, made of whole batches. A write
// without an answer when the crash came ends there, on either side of the cut.

// maxLinearKeys bounds the map, so that states are small and comparable.
const maxLinearKeys = 8

// image is what one instant looks like: by key the number of its value, 0 for none. No
// two writes of a history have the same number.
type image [maxLinearKeys]number

// keyRange are the keys from low up to, without it, high.
type keyRange struct{ low, high int }

// crashKind says how a process ends.
type crashKind uint8

const (
	noCrash       crashKind = iota // it closes the database
	processKilled                  // what was not acknowledged, or was Queued, may be lost
	powerLost                      // and what was written with NoSync
)

func (k crashKind) String() string { return [...]string{"close", "kill", "power failure"}[k] }

type callKind uint8

const (
	callWrite callKind = iota
	callRead
	callCut
	callCrash
)

// call is one operation of a history together with what came out.
type call struct {
	kind   callKind
	writes []keyValue // of a write: applied together; none: a barrier like DB.Sync
	keys   keyRange   // of a read
	images []image    // of a read: what it showed, each time; else what was recovered
	crash  crashKind  // of a write: the worst that it survives; of cut and crash: what happened
	queued bool       // of a write: it was answered when it was Queued
}

// keyValue puts a value, or deletes with value 0.
type keyValue struct {
	key   int
	value number
	merge bool // value is an operand
	to    int  // if there is one: all keys up to this one are deleted
}

// linearState is where the specification stands.
type linearState struct {
	now image
	cut [powerLost + 1]bool // the cut of the next crash of that kind is behind us
}

// step makes a call; it reports whether the call may come out as it did.
func (s linearState) step(c *call) (bool, linearState) {
	switch c.kind {
	case callWrite:
		for crash, cut := range s.cut {
			if cut && c.crash >= crashKind(crash) {
				return false, s
			}
		}
		for _, w := range c.writes {
			w.onto(&s.now)
		}
	case callRead:
		for _, found := range c.images {
			for key := c.keys.low; key < c.keys.high; key++ {
				if found[key] != s.now[key] {
					return false, s
				}
			}
		}
	case callCut:
		// A power failure may take also what a killed process had left unsynced, but
		// nothing of what was lost with that process can be part of what it leaves.
		if s.cut[c.crash] || s.cut[processKilled] || s.now != c.images[0] {
			return false, s
		}
		s.cut[c.crash] = true
	case callCrash:
		if !s.cut[c.crash] {
			return false, s
		}
		s.cut[c.crash], s.now = false, c.images[0]
	}
	return true, s
}

// linearModel is the specification as porcupine wants it.
var linearModel = porcupine.Model{
	Partition: independent,
	Init:      func() any { return linearState{} },
	Step: func(state, input, _ any) (bool, any) {
		ok, next := state.(linearState).step(input.(*call))
		return ok, next
	},
	Hash: func(state any) uint64 {
		hash := uint64(0)
		for _, value := range state.(linearState).now {
			hash = (hash ^ uint64(value)) * 0x9e3779b97f4a7c15
		}
		return hash
	},
	DescribeOperation: func(input, _ any) string { return input.(*call).String() },
	DescribeState:     func(state any) string { return fmt.Sprint(state.(linearState).now) },
}

// independent splits a history into parts that have no key in common. Crashes concern
// all keys at once.
func independent(operations []porcupine.Operation) [][]porcupine.Operation {
	var part [maxLinearKeys]int // by key; keys of one part have the same
	for key := range part {
		part[key] = key
	}
	join := func(a, b int) {
		for key, from := 0, part[a]; key < len(part); key++ {
			if part[key] == from {
				part[key] = part[b]
			}
		}
	}
	for _, o := range operations {
		c := o.Input.(*call)
		if c.kind == callCut {
			return [][]porcupine.Operation{operations}
		}
		for _, key := range c.touched() {
			join(key, c.touched()[0])
		}
	}
	parts := make([][]porcupine.Operation, maxLinearKeys)
	for _, o := range operations {
		if keys := o.Input.(*call).touched(); len(keys) > 0 {
			parts[part[keys[0]]] = append(parts[part[keys[0]]], o)
		}
	}
	return parts
}

func (c *call) touched() []int {
	var keys []int
	for _, w := range c.writes {
		for key := w.key; key < max(w.to, w.key+1); key++ {
			keys = append(keys, key)
		}
	}
	for key := c.keys.low; key < c.keys.high; key++ {
		keys = append(keys, key)
	}
	return keys
}

func (c *call) String() string {
	switch c.kind {
	case callRead:
		return fmt.Sprintf("read %d to %d: %v", c.keys.low, c.keys.high-1, c.images)
	case callCut:
		return fmt.Sprintf("cut of a %s", c.crash)
	case callCrash:
		return fmt.Sprintf("%s, recovered: %v", c.crash, c.images[0])
	}
	var b strings.Builder
	if c.queued {
		b.WriteString("Queued, at best ")
	}
	b.WriteString([...]string{"unanswered", "NoSync", "Sync"}[c.crash])
	for _, w := range c.writes {
		switch {
		case w.to > 0:
			fmt.Fprintf(&b, " %d to %d deleted", w.key, w.to-1)
		case w.merge:
			fmt.Fprintf(&b, " %d+=%v", w.key, w.value)
		default:
			fmt.Fprintf(&b, " %d=%v", w.key, w.value)
		}
	}
	return b.String()
}

func describe(o porcupine.Operation) string {
	return fmt.Sprintf("%5d to %5d: %v\n", o.Call, o.Return, o.Input)
}
