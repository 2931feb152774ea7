package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lsmdb/db/debug"
	"lsmdb/internal/beside"
)

// none is a question without anything to ask for.
type none struct{}

// routes says who answers what.
func (s *Server) routes() http.Handler {
	d := beside.Direct{DB: s.db}
	mux := http.NewServeMux()
	add := func(name string, h http.HandlerFunc) { mux.HandleFunc(beside.Root+name, s.forClients(h)) }
	add("hello", answer(func(context.Context, none) (beside.Hello, error) { return beside.Hello{PID: os.Getpid()}, nil }))
	add("get", stream(func(ctx context.Context, q beside.Key, show func(beside.Entry) error) error {
		e, err := d.Get(ctx, q.Key)
		if err == nil {
			err = show(e)
		}
		return err
	}))
	add("size", answer(func(ctx context.Context, q beside.Key) (int, error) { return d.GetSize(ctx, q.Key) }))
	add("scan", stream(func(ctx context.Context, q beside.Query, show func(beside.Entry) error) error {
		return d.Scan(ctx, aside(q), show)
	}))
	add("count", answer(func(ctx context.Context, q beside.Query) (beside.Counts, error) { return d.Count(ctx, aside(q)) }))
	add("metrics", answer(func(ctx context.Context, _ none) (any, error) { return d.Metrics(ctx) }))
	add("health", answer(func(ctx context.Context, _ none) (any, error) { return d.Health(ctx) }))
	add("pins", answer(func(ctx context.Context, _ none) (any, error) { return d.Pins(ctx) }))
	add("space", answer(func(ctx context.Context, q beside.Range) (any, error) { return d.SpaceOf(ctx, q.Start, q.End) }))
	add("explain", answer(func(ctx context.Context, q beside.Key) (any, error) { return d.Explain(ctx, q.Key) }))
	add("checkpoint", answer(func(ctx context.Context, q beside.Target) (beside.Copied, error) {
		if !filepath.IsAbs(q.Dir) { // from here it would lead elsewhere than from there
			return beside.Copied{}, fmt.Errorf("%q is no whole path", q.Dir)
		}
		return d.Checkpoint(ctx, q.Dir)
	}))
	mux.Handle("/", local(debug.Handler(s.db)))
	return mux
}

// aside leaves the cache to those for whom the database is open.
func aside(q beside.Query) beside.Query {
	q.NoCacheFill = true
	return q
}

// forClients keeps browsers out: whatever leads one to the socket, the host that it names is
// another one.
func (s *Server) forClients(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Host != beside.Host || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			http.Error(w, "the host must be "+beside.Host+", and no browser may ask", http.StatusForbidden)
			return
		}
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Now().Add(s.patience)) // for the question
		r.Body = http.MaxBytesReader(w, r.Body, maxQuestionBytes)
		h(w, r)
	}
}

// local shows the live page to a browser on the machine to which somebody has forwarded the
// socket. That a foreign site calls its own name that machine's opens nothing to its page.
func local(page http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Host == beside.Host { // a question that nobody knows
			http.NotFound(w, r)
			return
		}
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if !slices.Contains([]string{"localhost", "127.0.0.1", "::1", "[::1]"}, host) {
			http.Error(w, "the host must be localhost", http.StatusForbidden)
			return
		}
		page.ServeHTTP(w, r)
	}
}

// maxQuestionBytes is more than the longest bounds need.
const maxQuestionBytes = 1 << 20

// question reads what is asked for. An empty body asks for nothing special.
func question[Q any](w http.ResponseWriter, r *http.Request) (q Q, err error) {
	if err = json.NewDecoder(r.Body).Decode(&q); errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // from now on only its end is waited for
	if ended := r.Context().Err(); ended != nil {
		err = ended // that is why it could not be read
	}
	return q, err
}

// answer answers in JSON.
func answer[Q, A any](find func(context.Context, Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := question[Q](w, r)
		var found A
		if err == nil {
			found, err = find(r.Context(), q)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(beside.StatusFailed)
			_, _ = w.Write(beside.EncodeFailure(err))
			return
		}
		_ = json.NewEncoder(w).Encode(found)
	}
}

// stream answers with a stream of entries.
func stream[Q any](scan func(ctx context.Context, q Q, show func(beside.Entry) error) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		to := beside.NewStreamWriter(w)
		q, err := question[Q](w, r)
		if err == nil {
			err = scan(r.Context(), q, to.Entry)
		}
		_ = to.End(err) // whoever is not there any more needs no end
	}
}
