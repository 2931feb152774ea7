package replica

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

// Nodes ask each other by HTTP, on connections that begin with forPeer.
const (
	pathTerm   = "/term"   // what the node's term is
	pathApply  = "/apply"  // a command, for the leader
	pathGet    = "/get"    // a linearizable read
	pathJoin   = "/join"   // a member to add
	pathRemove = "/remove" // a member to remove
)

// maxMemberBytes bounds the description of a member.
const maxMemberBytes = 64 << 10

// What an answer with another status than 200 says of a command or a change of members.
const (
	statusMismatch  = http.StatusPreconditionFailed
	statusRefused   = http.StatusUnprocessableEntity
	statusNotLeader = http.StatusMisdirectedRequest // and nothing was stored
	statusUncertain = http.StatusInternalServerError
)

// indexHeader has the index of the entry of a command.
const indexHeader = "Raft-Index"

// termAnswer is what pathTerm answers.
type termAnswer struct {
	ID   string `json:"id"`
	Term uint64 `json:"term"`
}

// serve begins to answer other nodes, and makes the node able to ask them.
func (n *Node) serve() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathTerm, n.answerTerm)
	mux.HandleFunc("POST "+pathApply, n.answerApply)
	mux.HandleFunc("GET "+pathGet, n.answerGet)
	mux.HandleFunc("POST "+pathJoin, n.answerChange(n.join))
	mux.HandleFunc("POST "+pathRemove, n.answerChange(n.remove))
	n.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: greetingTimeout, IdleTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0), BaseContext: func(net.Listener) context.Context { return n.ctx },
	}
	n.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := n.wire.dial(ctx, address, forPeer)
			if err != nil {
				return nil, &unreached{err}
			}
			return conn, nil
		},
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}}
	n.running.Add(1)
	go func() {
		defer n.running.Done()
		_ = n.server.Serve(n.wire.peer) // until Close
	}()
}

// unreached is an error of a request that was never sent.
type unreached struct{ cause error }

func (u *unreached) Error() string { return u.cause.Error() }
func (u *unreached) Unwrap() error { return u.cause }

// ask sends a request to another node. The caller closes the body of the answer.
func (n *Node) ask(ctx context.Context, method, address, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		return nil, &unreached{err}
	}
	return n.client.Do(request)
}

// askTerm asks a voter for the latest term that it has seen.
func (n *Node) askTerm(ctx context.Context, voter Member) (uint64, error) {
	response, err := n.ask(ctx, http.MethodGet, voter.Address, pathTerm, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer termAnswer
	if err := json.NewDecoder(io.LimitReader(response.Body, maxMemberBytes)).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.ID != voter.ID {
		return 0, fmt.Errorf("replica: %s is %q instead of %q", voter.Address, answer.ID, voter.ID)
	}
	return answer.Term, nil
}

func (n *Node) answerTerm(w http.ResponseWriter, _ *http.Request) {
	// A node votes in a term only after it has taken that for its own.
	_ = json.NewEncoder(w).Encode(termAnswer{n.id, n.raft.CurrentTerm()})
}

// toLeader sends a request to the node that leads. An error that Is ErrNotLeader means that
// it was not carried out, another one that this is not known.
func (n *Node) toLeader(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	leader, ok := n.Leader()
	if !ok || leader.ID == n.id {
		return nil, ErrNotLeader
	}
	response, err := n.ask(ctx, method, leader.Address, path, body)
	switch {
	case errors.As(err, new(*unreached)):
		return nil, fmt.Errorf("%w: %w", ErrNotLeader, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return response, nil
}

// outcome reads what an answer says.
func outcome(response *http.Response) error {
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxMemberBytes))
	err := remote(bytes.TrimSpace(text))
	switch response.StatusCode {
	case statusMismatch:
		return fmt.Errorf("%w (%w)", ErrMismatch, err)
	case statusRefused:
		return &refusal{err}
	case statusNotLeader:
		return fmt.Errorf("%w (%w)", ErrNotLeader, err)
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

// remote is the text of an error on another node.
type remote string

func (r remote) Error() string { return string(r) }

// answerOutcome writes what outcome reads.
func answerOutcome(w http.ResponseWriter, err error) {
	status := statusUncertain
	switch {
	case err == nil:
		return
	case errors.Is(err, ErrMismatch):
		status = statusMismatch
	case errors.As(err, new(*refusal)):
		status = statusRefused
	case errors.Is(err, ErrNotLeader):
		status = statusNotLeader
	}
	http.Error(w, err.Error(), status)
}

// proposeElsewhere is propose on the node that leads.
func (n *Node) proposeElsewhere(ctx context.Context, data []byte) (index uint64, err error) {
	response, err := n.toLeader(ctx, http.MethodPost, pathApply, data)
	if err != nil {
		return 0, err
	}
	index, _ = strconv.ParseUint(response.Header.Get(indexHeader), 10, 64) // 0: it got none
	return index, outcome(response)
}

func (n *Node) answerApply(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCommandBytes))
	if err == nil {
		_, err = decode(data)
	}
	if err != nil {
		answerOutcome(w, &refusal{err})
		return
	}
	index, err := n.propose(r.Context(), data)
	w.Header().Set(indexHeader, strconv.FormatUint(index, 10))
	answerOutcome(w, err)
}

// getElsewhere is a linearizable Get on the node that leads.
func (n *Node) getElsewhere(ctx context.Context, key []byte) ([]byte, error) {
	response, err := n.toLeader(ctx, http.MethodGet, pathGet+"?key="+url.QueryEscape(base64.RawURLEncoding.EncodeToString(key)), nil)
	if err != nil {
		return nil, unanswered(err)
	}
	switch response.StatusCode {
	case http.StatusOK:
		defer response.Body.Close()
		value, err := io.ReadAll(io.LimitReader(response.Body, db.MaxValueBytes))
		if err == nil && int64(len(value)) != response.ContentLength {
			err = io.ErrUnexpectedEOF
		}
		return value, err
	case http.StatusNotFound:
		return nil, errors.Join(response.Body.Close(), db.ErrNotFound)
	}
	return nil, unanswered(outcome(response))
}

// unanswered is the error of a read that the leader did not answer. Whether it was carried out
// does not matter.
func unanswered(err error) error { return fmt.Errorf("%w: %v", ErrNotLeader, err) }

func (n *Node) answerGet(w http.ResponseWriter, r *http.Request) {
	key, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("key"))
	if err != nil {
		answerOutcome(w, &refusal{err})
		return
	}
	value, err := n.Get(r.Context(), key)
	switch {
	case errors.Is(err, db.ErrNotFound):
		w.WriteHeader(http.StatusNotFound)
	case err != nil:
		answerOutcome(w, err)
	default:
		w.Header().Set("Content-Length", strconv.Itoa(len(value)))
		_, _ = w.Write(value)
	}
}

// Join adds a member, whose node has been started without Members and waits at its address, or
// gives one that there is another address. Any node can be asked. When it returns nil, the member
// counts for majorities; it catches up on its own.
func (n *Node) Join(ctx context.Context, m Member) error {
	return n.change(ctx, m, pathJoin, n.join)
}

// Remove takes a member out. Any node can be asked. The node itself should be closed then, and
// its directory removed.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.change(ctx, Member{ID: id}, pathRemove, n.remove)
}

// Leave takes this node out; close it then.
func (n *Node) Leave(ctx context.Context) error { return n.Remove(ctx, n.id) }

func (n *Node) join(m Member) raft.Future {
	return n.raft.AddVoter(raft.ServerID(m.ID), raft.ServerAddress(m.Address), 0, 0)
}

func (n *Node) remove(m Member) raft.Future {
	return n.raft.RemoveServer(raft.ServerID(m.ID), 0, 0)
}

// change brings a change of the members to the leader, until it is made or ctx ends. It may be
// made twice, which is the same as once.
func (n *Node) change(ctx context.Context, m Member, path string, change func(Member) raft.Future) error {
	if m.ID == "" || path == pathJoin && m.Address == "" {
		return errors.New("replica: a member has an ID and an address")
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	for {
		err := n.changeHere(ctx, m, change)
		if errors.Is(err, ErrNotLeader) {
			var response *http.Response
			if response, err = n.toLeader(ctx, http.MethodPost, path, body); err == nil {
				err = outcome(response)
			}
		}
		if !errors.Is(err, ErrNotLeader) {
			return err
		}
		if err := n.again(ctx); err != nil {
			return err
		}
	}
}

func (n *Node) changeHere(ctx context.Context, m Member, change func(Member) raft.Future) error {
	if n.raft.State() != raft.Leader {
		return ErrNotLeader
	}
	switch _, err := await(ctx, n, func() raft.Future { return change(m) }); {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	default:
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
}

func (n *Node) answerChange(change func(Member) raft.Future) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var m Member
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMemberBytes)).Decode(&m); err != nil {
			answerOutcome(w, &refusal{err})
			return
		}
		answerOutcome(w, n.changeHere(r.Context(), m, change))
	}
}
