//go:build unix

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/ext/replica"
	"lsmdb/ext/replica/internal/door"
	"lsmdb/ext/replica/internal/server"
)

// childVariable makes the test binary a node. It is the node's configuration, as JSON.
const childVariable = "LSMDB_SOAK_NODE"

// childConfig is what a node is told.
type childConfig struct {
	ID, Dir, Listen, HTTP string
	Members               []replica.Member
	Cables                map[string]string // for each address of another node, where to dial instead
}

func TestMain(m *testing.M) {
	if config := os.Getenv(childVariable); config != "" {
		if err := runChild(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runChild runs a node until its standard input ends, which it does when the test is gone.
func runChild(text string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	r := raft.DefaultConfig()
	r.HeartbeatTimeout, r.ElectionTimeout, r.LeaderLeaseTimeout = 500*time.Millisecond, 500*time.Millisecond, 400*time.Millisecond
	r.CommitTimeout = 10 * time.Millisecond
	r.SnapshotInterval, r.SnapshotThreshold, r.TrailingLogs = 200*time.Millisecond, 150, 20
	r.Logger = hclog.New(&hclog.LoggerOptions{Name: c.ID, Level: hclog.Info, Output: os.Stderr})
	config := replica.Config{
		ID: c.ID, Dir: c.Dir, Listen: c.Listen, Members: c.Members, Raft: r, DB: &db.Options{MemtableBytes: 64 << 10},
	}
	door.Dial(&config, func(ctx context.Context, address string) (net.Conn, error) {
		cable, ok := c.Cables[address]
		if !ok {
			return nil, fmt.Errorf("no cable leads to %s", address)
		}
		return new(net.Dialer).DialContext(ctx, "tcp", cable)
	})
	node, err := replica.Start(context.Background(), config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.HTTP)
	if err != nil {
		return errors.Join(err, node.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/", server.New(node))
	mux.HandleFunc("POST /swap/{key}", swap(node))
	go func() { _ = http.Serve(listener, mux) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// swap is a transaction: it stores the body and answers what was there before.
func swap(node *replica.Node) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		body, err := io.ReadAll(r.Body)
		var old []byte
		if err == nil {
			err = node.Update(ctx, func(tx *replica.Tx) (err error) {
				if old, err = tx.Get([]byte(r.PathValue("key"))); err != nil && !errors.Is(err, db.ErrNotFound) {
					return err
				}
				return tx.Put([]byte(r.PathValue("key")), body)
			})
		}
		switch {
		case err == nil:
			_, _ = w.Write(old)
		case errors.Is(err, replica.ErrUncertain):
			w.WriteHeader(http.StatusInternalServerError)
		case errors.Is(err, replica.ErrNotLeader), errors.Is(err, replica.ErrMismatch):
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(os.Stderr, "swap:", err)
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
}
