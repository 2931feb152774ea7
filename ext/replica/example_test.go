package replica_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/ext/replica"
)

// Three nodes in one process; programs have one each, on three machines.
func ExampleStart() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := temporary()
	defer os.RemoveAll(dir)
	members := []replica.Member{{ID: "a", Address: free()}, {ID: "b", Address: free()}, {ID: "c", Address: free()}}
	var nodes []*replica.Node
	for _, m := range members {
		n, err := replica.Start(ctx, replica.Config{ID: m.ID, Dir: filepath.Join(dir, m.ID), Listen: m.Address, Members: members})
		if err != nil {
			log.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	// Any of them takes a transaction, and passes it on to the one that leads.
	err := nodes[1].Update(ctx, func(tx *replica.Tx) error {
		return tx.Put([]byte("apple"), []byte("red"))
	})
	if err != nil {
		log.Fatal(err)
	}
	value, err := nodes[2].Get(ctx, []byte("apple"), replica.Forwarded)
	fmt.Printf("%s, %v\n", value, err)
	// Output: red, <nil>
}

// A counter that many nodes raise at once: what a transaction has read still holds where it is applied.
func ExampleNode_Update() {
	node, done := start()
	defer done()
	for range 3 {
		err := node.Update(context.Background(), func(tx *replica.Tx) error {
			value, err := tx.Get([]byte("visits"))
			if err != nil && !errors.Is(err, db.ErrNotFound) {
				return err
			}
			count, _ := strconv.Atoi(string(value))
			return tx.Put([]byte("visits"), strconv.AppendInt(nil, int64(count+1), 10))
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	value, err := node.Get(context.Background(), []byte("visits"))
	fmt.Printf("%s, %v\n", value, err)
	// Output: 3, <nil>
}

// A lock that ends by itself: whoever finds it free takes it.
func ExampleNode_Apply() {
	node, done := start()
	defer done()
	take := func(who string) error {
		return node.Apply(context.Background(), replica.NewCommand().
			Expect([]byte("lock"), nil).
			PutUntil([]byte("lock"), []byte(who), time.Now().Add(time.Minute)))
	}
	fmt.Println(take("first"))
	fmt.Println(errors.Is(take("second"), replica.ErrMismatch))
	// Output:
	// <nil>
	// true
}

// The state machine alone, for who has a Raft already. Here Raft is played by hand.
func ExampleOpen() {
	dir := temporary()
	defer os.RemoveAll(dir)
	fsm, err := replica.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer fsm.Close()
	command := replica.NewCommand().Put([]byte("apple"), []byte("red")).Encode()
	response := fsm.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: command})
	fmt.Println(response, fsm.Applied())
	err = fsm.View(func(s *db.Snapshot) error {
		value, err := s.Get([]byte("apple"))
		fmt.Printf("%s\n", value)
		return err
	})
	fmt.Println(err)
	// Output:
	// <nil> 1
	// red
	// <nil>
}

// start starts a cluster of one node.
func start() (*replica.Node, func()) {
	dir, address := temporary(), free()
	n, err := replica.Start(context.Background(), replica.Config{
		ID: "a", Dir: dir, Listen: address, Members: []replica.Member{{ID: "a", Address: address}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// A first write waits until it leads.
	if err := n.Apply(context.Background(), replica.NewCommand()); err != nil {
		log.Fatal(err)
	}
	return n, func() { n.Close(); os.RemoveAll(dir) }
}

func temporary() string {
	dir, err := os.MkdirTemp("", "replica")
	if err != nil {
		log.Fatal(err)
	}
	return dir
}

// free is an address that nobody listens on.
func free() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
