package raftlog_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/ext/replica/raftlog"
)

// A node keeps its log and its stable values in a directory of its own.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "raft-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := raftlog.Open(filepath.Join(dir, "log"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	config := raft.DefaultConfig()
	config.LocalID, config.LogOutput = "one", os.Stdout
	config.LogLevel = "off"
	address, transport := raft.NewInmemTransport("")
	snapshots := raft.NewInmemSnapshotStore()
	founders := raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: address}}}
	if err := raft.BootstrapCluster(config, store, store, snapshots, transport, founders); err != nil {
		log.Fatal(err)
	}
	node, err := raft.NewRaft(config, &raft.MockFSM{}, store, store, snapshots, transport)
	if err != nil {
		log.Fatal(err)
	}
	<-node.LeaderCh()
	if err := node.Apply([]byte("a command"), 0).Error(); err != nil {
		log.Fatal(err)
	}
	if err := node.Shutdown().Error(); err != nil {
		log.Fatal(err)
	}

	last, err := store.LastIndex()
	if err != nil {
		log.Fatal(err)
	}
	var entry raft.Log
	if err := store.GetLog(last, &entry); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, %q\n", entry.Type, entry.Data)
	// Output: LogCommand, "a command"
}

// The groups of a process share one database. What they write at the same time shares a sync.
func ExampleStoreIn() {
	d, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	for group := range 3 {
		store, err := raftlog.StoreIn(d, fmt.Appendf(nil, "raft/%04d/", group))
		if err != nil {
			log.Fatal(err)
		}
		defer store.Close()
		if err := store.StoreLog(&raft.Log{Index: 1, Term: 1, Data: fmt.Append(nil, "of group ", group)}); err != nil {
			log.Fatal(err)
		}
		var entry raft.Log
		if err := store.GetLog(1, &entry); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", entry.Data)
	}
	// Output:
	// of group 0
	// of group 1
	// of group 2
}
