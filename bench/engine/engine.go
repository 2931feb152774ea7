// Package engine puts lsmdb and its peers behind one small interface, so that the
// same workload runs on all of them. Each engine has a file of its own: how it is
// configured, with the settings as they are printed, and nothing but calls of its
// public API.
package engine

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// ErrNotFound is returned by Get for a key without a value, by every engine.
var ErrNotFound = errors.New("not found")

// Options are what all engines are given alike.
type Options struct {
	Dir           string // existing directory that belongs to the engine
	MemtableBytes int64
	CacheBytes    int64
	FilterBits    int  // of the Bloom filters, per key
	Sync          bool // every write is fsynced before it is acknowledged
	Queued        bool // a killed process may lose the newest writes, where the engine has a choice
	Clients       int  // goroutines that will write at the same time
	Small         bool // files of fixed size are to be small, where an engine has such
	Conflicts     bool // Transactor is used
	Zstd          bool // instead of Snappy, where the engine has it
}

// Engine is an open database. Its methods may be called by any number of
// goroutines, except Close.
type Engine interface {
	// Get appends the value of key to dst.
	Get(dst, key []byte) ([]byte, error)
	// Put stores one entry; with Options.Sync it is durable when Put returns.
	Put(key, value []byte) error
	// Delete removes one entry, as durably as Put stores one.
	Delete(key []byte) error
	// NewBatch returns an empty batch for one goroutine.
	NewBatch() Batch
	// NewIterator returns an iterator over the present state, for one goroutine.
	NewIterator(reverse bool) (Iterator, error)
	// Flush writes what is held in memory into tables, where the engine has a call
	// for that; it does nothing where it has none.
	Flush() error
	// Persist makes every acknowledged write survive a kill of this process. It does
	// nothing for engines with which that holds anyway.
	Persist() error
	// Close closes the database cleanly.
	Close() error
}

// Batch collects operations that are committed together.
type Batch interface {
	Put(key, value []byte) error
	Delete(key []byte) error
	// Commit applies the batch and empties it.
	Commit() error
}

// Iterator walks in the direction it was created for. Key and Value are valid
// until the next move.
type Iterator interface {
	First() bool
	// Seek moves to the first key at or after key; forward iterators only.
	Seek(key []byte) bool
	Next() bool
	Key() []byte
	Value() []byte
	// Close releases the iterator and returns the error that ended it, if any.
	Close() error
}

// Pipeliner is an engine that can keep many writes of one goroutine under way.
type Pipeliner interface {
	NewPipeline(depth int) Pipeline
}

// Pipeline sends writes without waiting for each; it belongs to one goroutine.
type Pipeline interface {
	// Put sends one entry. It waits only when depth writes are under way, and may
	// report the failure of an earlier one. When the entry is acknowledged, another
	// goroutine calls acknowledged, unless that is nil.
	Put(key, value []byte, acknowledged func()) error
	// Drain waits for everything that was sent.
	Drain() error
}

// Kind is an engine that can be opened.
type Kind struct {
	Name   string
	Module string // whose version is printed; empty when Version is set
	Fixed  string // version of an engine that is not a Go module
	Go     bool   // written in Go
	LSM    bool   // a log-structured merge tree
	// SortedLoad: preparations that are not measured load in key order, since random
	// order would take this engine hours.
	SortedLoad bool
	// Buffered: what is not synced is acknowledged from a buffer of the process.
	Buffered bool
	// Queues: it has a level for Options.Queued.
	Queues bool
	Can    []Ability
	Open   func(Options) (Engine, error)
	// Settings returns the configuration for printing, without what Options says.
	Settings func(Options) []string
}

// Survival is what the newest acknowledged writes survive.
type Survival string

// What there is to survive, the least first.
const (
	Nothing      Survival = "nothing"         // a killed process may lose the newest writes
	Kill         Survival = "a kill"          // the system has them
	PowerFailure Survival = "a power failure" // the disk has them
)

// Survives returns what the newest writes survive that such a database acknowledged.
func (k Kind) Survives(o Options) Survival {
	switch {
	case o.Sync:
		return PowerFailure
	case k.Buffered || o.Queued && k.Queues:
		return Nothing
	}
	return Kill
}

// All returns the engines of this build, lsmdb first.
func All() []Kind {
	return append([]Kind{lsmdbKind, pebbleKind, goleveldbKind, badgerKind, bboltKind}, optional()...)
}

// Find returns the engine of a name.
func Find(name string) (Kind, error) {
	for _, k := range All() {
		if k.Name == name {
			return k, nil
		}
	}
	return Kind{}, fmt.Errorf("no engine %q in this build, which has %s%s", name, strings.Join(Names(), ", "), missing)
}

// Names returns the names of All.
func Names() []string {
	var names []string
	for _, k := range All() {
		names = append(names, k.Name)
	}
	return names
}

// Version returns the version that is linked in.
func (k Kind) Version() string {
	if k.Fixed != "" {
		return k.Fixed
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, d := range info.Deps {
		if d.Path == k.Module {
			return d.Version
		}
	}
	return "unknown"
}
