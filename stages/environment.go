package stages

import (
	"cmp"
	"time"

	"lsmdb/compactor"
	"lsmdb/internal/output"
)

// Environment is what all stages of one database share. Nothing in it changes after
// the start.
type Environment struct {
	*output.Directory
	MemtableBytes int64 // a memtable is sealed when it holds about this much
	RecoveryBytes int64 // the same of those that recovery fills
	Policy        compactor.Policy
	Workers       int              // compactions at a time, at least 1
	Clock         func() time.Time // by which values end; nil: time.Now
	IdleDelay     time.Duration    // without a write, after which the house is idle; 0: a second
}

// idleDelay returns IdleDelay or its default.
func (e *Environment) idleDelay() time.Duration { return cmp.Or(e.IdleDelay, time.Second) }
