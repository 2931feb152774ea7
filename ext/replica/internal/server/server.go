// Package server is the HTTP interface of a node, for programs and for curl.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"lsmdb/db"
	"lsmdb/ext/replica"
)

const (
	// MaxBodyBytes bounds a value, and a request of changes.
	MaxBodyBytes = 64 << 20

	// patience bounds a request that says nothing else.
	patience = 10 * time.Second

	defaultScan, maxScan = 100, 10_000
)

// New returns the handler of a node. It answers requests that name this machine, or one of the
// hosts (without port), so that no web page can make a browser read or write here.
//
//	GET    /kv/KEY             the value, raw; ?stale: what this node holds
//	PUT    /kv/KEY             stores the body; ?ttl=10m: until then
//	DELETE /kv/KEY             removes the key
//	GET    /kv?prefix=P        entries of this node, as JSON; start, end, limit
//	POST   /kv                 changes, as JSON, all or none
//	GET    /status             what the node knows
//	POST   /members            adds a member: {"id": ..., "address": ...}
//	DELETE /members/ID         takes one out
//	POST   /snapshot           takes a snapshot
func New(n *replica.Node, hosts ...string) http.Handler {
	s := &server{n}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /kv/{key...}", s.get)
	mux.HandleFunc("PUT /kv/{key...}", s.put)
	mux.HandleFunc("DELETE /kv/{key...}", s.delete)
	mux.HandleFunc("GET /kv", s.scan)
	mux.HandleFunc("POST /kv", s.change)
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("POST /members", s.join)
	mux.HandleFunc("DELETE /members/{id}", s.remove)
	mux.HandleFunc("POST /snapshot", s.snapshot)
	return guard(http.NewCrossOriginProtection().Handler(mux), hosts)
}

// guard refuses requests that name a host which is not this one.
func guard(next http.Handler, hosts []string) http.Handler {
	known := map[string]bool{"localhost": true}
	for _, h := range hosts {
		known[h] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); ip == nil && !known[host] || ip != nil && !ip.IsLoopback() && !known[host] {
			fail(w, http.StatusForbidden, fmt.Errorf("the request names the host %q, which this node does not answer for", host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

type server struct{ node *replica.Node }

// within bounds the time of a request: by ?timeout, or else by patience.
func within(r *http.Request) (context.Context, context.CancelFunc, error) {
	timeout := patience
	if given := r.URL.Query().Get("timeout"); given != "" {
		d, err := time.ParseDuration(given)
		if err != nil || d <= 0 {
			return nil, nil, fmt.Errorf("timeout is %q, and should be a duration like 5s", given)
		}
		timeout = d
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return ctx, cancel, nil
}

func (s *server) get(w http.ResponseWriter, r *http.Request) {
	ctx, cancel, err := within(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	defer cancel()
	how := replica.Forwarded
	if r.URL.Query().Has("stale") {
		how = replica.Stale
	}
	value, err := s.node.Get(ctx, []byte(r.PathValue("key")), how)
	if err != nil {
		fail(w, status(err), err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(value)))
	_, _ = w.Write(value)
}

func (s *server) put(w http.ResponseWriter, r *http.Request) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, err)
		return
	}
	c := replica.NewCommand()
	if ttl := r.URL.Query().Get("ttl"); ttl != "" {
		d, err := time.ParseDuration(ttl)
		if err != nil || d <= 0 {
			fail(w, http.StatusBadRequest, fmt.Errorf("ttl is %q, and should be a duration like 10m", ttl))
			return
		}
		c.PutUntil([]byte(r.PathValue("key")), value, time.Now().Add(d))
	} else {
		c.Put([]byte(r.PathValue("key")), value)
	}
	s.apply(w, r, c)
}

func (s *server) delete(w http.ResponseWriter, r *http.Request) {
	s.apply(w, r, replica.NewCommand().Delete([]byte(r.PathValue("key"))))
}

// apply applies a command and answers 204, or why not.
func (s *server) apply(w http.ResponseWriter, r *http.Request, c *replica.Command) {
	ctx, cancel, err := within(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	defer cancel()
	if err := s.node.Apply(ctx, c); err != nil {
		fail(w, status(err), err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Changes is the body of POST /kv: what is expected, and what is done if all of that holds.
type Changes struct {
	Expect      []Entry `json:"expect,omitempty"`
	Put         []Entry `json:"put,omitempty"`
	Delete      []Entry `json:"delete,omitempty"`
	DeleteRange []Range `json:"delete_range,omitempty"` // before Delete and Put
}

// Entry is a key and what it has. Bytes that are not UTF-8 stand in base64.
type Entry struct {
	Key         *string `json:"key,omitempty"`
	KeyBase64   []byte  `json:"key_base64,omitempty"`
	Value       *string `json:"value,omitempty"` // of expect: absent, if there is none
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

// Range is the keys in [Start, End); without an End it is open.
type Range struct {
	Start string  `json:"start"`
	End   *string `json:"end,omitempty"`
}

func (e *Entry) key() ([]byte, error) {
	switch {
	case e.Key != nil:
		return []byte(*e.Key), nil
	case e.KeyBase64 != nil:
		return e.KeyBase64, nil
	}
	return nil, errors.New("an entry has no key")
}

// value is nil if there is none.
func (e *Entry) value() []byte {
	if e.Value != nil {
		return []byte(*e.Value)
	}
	return e.ValueBase64
}

// command makes a command of the changes.
func (c *Changes) command() (*replica.Command, error) {
	command := replica.NewCommand()
	for _, r := range c.DeleteRange {
		var end []byte
		if r.End != nil {
			end = []byte(*r.End)
		}
		command.DeleteRange([]byte(r.Start), end)
	}
	each := func(entries []Entry, add func(key, value []byte)) error {
		for i := range entries {
			key, err := entries[i].key()
			if err != nil {
				return err
			}
			add(key, entries[i].value())
		}
		return nil
	}
	err := errors.Join(
		each(c.Expect, func(key, value []byte) { command.Expect(key, value) }),
		each(c.Delete, func(key, _ []byte) { command.Delete(key) }),
		each(c.Put, func(key, value []byte) { command.Put(key, value) }))
	return command, err
}

func (s *server) change(w http.ResponseWriter, r *http.Request) {
	var changes Changes
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&changes)
	var command *replica.Command
	if err == nil {
		command, err = changes.command()
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	s.apply(w, r, command)
}

// EntryOf is an entry as JSON has it.
func EntryOf(key, value []byte) (e Entry) {
	if utf8.Valid(key) {
		text := string(key)
		e.Key = &text
	} else {
		e.KeyBase64 = key
	}
	if utf8.Valid(value) {
		text := string(value)
		e.Value = &text
	} else {
		e.ValueBase64 = value
	}
	return e
}

func (s *server) scan(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := defaultScan
	if given := q.Get("limit"); given != "" {
		var err error
		if limit, err = strconv.Atoi(given); err != nil || limit < 1 || limit > maxScan {
			fail(w, http.StatusBadRequest, fmt.Errorf("limit is %q, and should be a number from 1 to %d", given, maxScan))
			return
		}
	}
	options := &db.IterOptions{Prefix: []byte(q.Get("prefix"))}
	if q.Has("start") {
		options.Lower = []byte(q.Get("start"))
	}
	if q.Has("end") {
		options.Upper = []byte(q.Get("end"))
	}
	entries := []Entry{}
	err := s.node.View(r.Context(), func(snapshot *db.Snapshot) error {
		it, err := snapshot.NewIterator(options)
		if err != nil {
			return err
		}
		defer it.Close()
		total := 0
		for key, value := range it.All() {
			if len(entries) == limit || total > MaxBodyBytes {
				break
			}
			total += len(key) + len(value)
			entries = append(entries, EntryOf(append([]byte(nil), key...), append([]byte(nil), value...)))
		}
		return it.Err()
	}, replica.Stale)
	if err != nil {
		fail(w, status(err), err)
		return
	}
	answer(w, entries)
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) { answer(w, s.node.Status()) }

func (s *server) join(w http.ResponseWriter, r *http.Request) {
	var m replica.Member
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&m); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	s.members(w, r, func(ctx context.Context) error { return s.node.Join(ctx, m) })
}

func (s *server) remove(w http.ResponseWriter, r *http.Request) {
	s.members(w, r, func(ctx context.Context) error { return s.node.Remove(ctx, r.PathValue("id")) })
}

func (s *server) members(w http.ResponseWriter, r *http.Request, change func(context.Context) error) {
	ctx, cancel, err := within(r)
	if err == nil {
		defer cancel()
		err = change(ctx)
	}
	if err != nil {
		fail(w, status(err), err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) snapshot(w http.ResponseWriter, _ *http.Request) {
	if err := s.node.Snapshot(); err != nil {
		fail(w, status(err), err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// status is what an error of the node is in HTTP. 503: not carried out, and worth another try.
// 500: of a write, it is not known whether it was.
func status(err error) int {
	switch {
	case errors.Is(err, db.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, replica.ErrUncertain):
		return http.StatusInternalServerError
	case errors.Is(err, replica.ErrMismatch):
		return http.StatusPreconditionFailed
	case errors.Is(err, replica.ErrNotLeader), errors.Is(err, db.ErrClosed), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	case errors.Is(err, db.ErrKeyTooLarge), errors.Is(err, db.ErrValueTooLarge), errors.Is(err, db.ErrBatchTooLarge):
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusInternalServerError
}

// fail answers with an error as JSON.
func fail(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v)
}
