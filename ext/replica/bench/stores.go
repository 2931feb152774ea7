package main

import (
	"path/filepath"
	"runtime/debug"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"

	"lsmdb/ext/replica/raftlog"
)

// store is what all of them are.
type store interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// kind is a way to store a Raft log.
type kind struct {
	name     string
	module   string // whose version is shown; empty: this checkout
	settings string
	open     func(dir string) (store, error) // in an empty directory
}

// kinds are compared; the first one with each of the others.
var kinds = []kind{
	{"lsmdb", "", "defaults", func(dir string) (store, error) { return raftlog.Open(dir, nil) }},
	{"raft-boltdb", "github.com/hashicorp/raft-boltdb/v2", "defaults", func(dir string) (store, error) {
		return raftboltdb.NewBoltStore(filepath.Join(dir, "raft.db"))
	}},
	{"raft-wal", "github.com/hashicorp/raft-wal", "defaults", func(dir string) (store, error) {
		return wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()))
	}},
	{"pebble", "github.com/cockroachdb/pebble/v2", "memtable 64 MiB, cache 64 MiB; entries as raft-wal encodes them; synced batches, DeleteRange", openPebble},
}

// version returns that of the module that was built in.
func (k kind) version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == k.module {
				return m.Version
			}
		}
	}
	return "this checkout"
}
