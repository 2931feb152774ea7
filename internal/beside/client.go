package beside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"lsmdb/db"
)

// SocketName is the name of the socket in the directory of a database.
const SocketName = "ATTACH"

// Host is what requests name as their host. A browser that was led to the socket cannot do
// that, so no web page can ask for anything.
const Host = "lsmdb"

// Hello is how a serving process introduces itself.
type Hello struct {
	PID int `json:"pid"`
}

// Client reads a database that another process serves.
type Client struct {
	Hello Hello // of that process

	dir       string
	transport *http.Transport
}

// patience is how long whoever listens may take to say hello. It is a stopped process that
// never does: others need no more than the time to look at a request.
const patience = 10 * time.Second

// Dial connects to the process that serves the database in dir. The error is
// fs.ErrNotExist if nothing listens there; a socket that a killed process left is as good
// as none.
func Dial(ctx context.Context, dir string) (*Client, error) {
	info, err := os.Lstat(filepath.Join(dir, SocketName))
	if err != nil {
		return nil, err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is no socket: %w", SocketName, fs.ErrNotExist)
	}
	c := &Client{dir: dir, transport: &http.Transport{DisableCompression: true}}
	c.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		address, done, err := Address(dir)
		if err != nil {
			return nil, err
		}
		defer done()
		return new(net.Dialer).DialContext(ctx, "unix", address)
	}
	brief, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c.Hello, err = ask[Hello](brief, c, "hello", nil)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() == nil && brief.Err() != nil:
		err = fmt.Errorf("a process listens there, but did not answer within %v", patience)
	case refused(err) || left(err):
		err = fmt.Errorf("nobody listens at %s (%v): %w", SocketName, err, fs.ErrNotExist)
	}
	return nil, errors.Join(err, c.Close())
}

// refused reports whether there was no connection at all.
func refused(err error) bool {
	operation, is := errors.AsType[*net.OpError](err)
	return is && operation.Op == "dial" && !errors.Is(err, fs.ErrPermission)
}

// left reports whether the process has closed the database meanwhile, or serves it no more.
func left(err error) bool {
	_, is := errors.AsType[leftError](err)
	return is
}

// Get implements Reader.
func (c *Client) Get(ctx context.Context, key []byte) (e Entry, err error) {
	err = c.stream(ctx, "get", Key{key}, func(came Entry) error { e = came; return nil })
	return e, err
}

// Key is the question about one key.
type Key struct {
	Key []byte `json:"key"`
}

// GetSize implements Reader.
func (c *Client) GetSize(ctx context.Context, key []byte) (int, error) {
	return ask[int](ctx, c, "size", Key{key})
}

// Scan implements Reader.
func (c *Client) Scan(ctx context.Context, q Query, visit func(Entry) error) error {
	return c.stream(ctx, "scan", q, visit)
}

// Count implements Reader.
func (c *Client) Count(ctx context.Context, q Query) (Counts, error) {
	return ask[Counts](ctx, c, "count", q)
}

// Metrics implements Reader.
func (c *Client) Metrics(ctx context.Context) (db.Metrics, error) {
	return ask[db.Metrics](ctx, c, "metrics", nil)
}

// Health implements Reader.
func (c *Client) Health(ctx context.Context) (string, error) {
	return ask[string](ctx, c, "health", nil)
}

// Pins implements Reader.
func (c *Client) Pins(ctx context.Context) ([]db.Pin, error) {
	return ask[[]db.Pin](ctx, c, "pins", nil)
}

// Range is the question about some keys; nil is no bound.
type Range struct {
	Start []byte `json:"start"`
	End   []byte `json:"end"`
}

// SpaceOf implements Reader.
func (c *Client) SpaceOf(ctx context.Context, start, end []byte) (db.Space, error) {
	return ask[db.Space](ctx, c, "space", Range{start, end})
}

// Explain implements Reader.
func (c *Client) Explain(ctx context.Context, key []byte) (db.Explanation, error) {
	return ask[db.Explanation](ctx, c, "explain", Key{key})
}

// Target is the question for a Checkpoint.
type Target struct {
	Dir string `json:"dir"`
}

// Checkpoint implements Reader. The other process makes the copy, with its rights and in
// the file system as it sees it.
func (c *Client) Checkpoint(ctx context.Context, dir string) (Copied, error) {
	return ask[Copied](ctx, c, "checkpoint", Target{dir})
}

// Close implements Reader. The database stays open where it is.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// stream asks for a stream of entries.
func (c *Client) stream(ctx context.Context, path string, question any, visit func(Entry) error) error {
	body, err := c.send(ctx, path, question)
	if err != nil {
		return err
	}
	defer body.Close() // ends the connection if there is more
	err = ReadStream(body, visit)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return c.lost(err)
}

// ask asks for an answer in JSON.
func ask[A any](ctx context.Context, c *Client, path string, question any) (answer A, err error) {
	body, err := c.send(ctx, path, question)
	if err != nil {
		return answer, err
	}
	defer body.Close()
	err = json.NewDecoder(body).Decode(&answer)
	return answer, c.lost(cutOff(err))
}

// send asks, and returns the answer if it is none that says why there is none.
func (c *Client) send(ctx context.Context, path string, question any) (io.ReadCloser, error) {
	encoded, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+Host+Root+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	if response.StatusCode != StatusFailed {
		return nil, fmt.Errorf("lsmdb: the process that has the database open does not know %q (%s): it may have another version of lsmdb", path, response.Status)
	}
	if encoded, err = io.ReadAll(response.Body); err != nil {
		return nil, c.explain(ctx, err)
	}
	return nil, decodeFailure(encoded)
}

// Root is where the questions stand, before their names; it grows with the protocol.
const Root = "/v1/"

// StatusFailed is the status of an answer that is a failure.
const StatusFailed = http.StatusUnprocessableEntity

// explain says what an error of the connection means.
func (c *Client) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.lost(fmt.Errorf("%w (%w)", ErrLost, err))
}

// lost is an error as it came, unless it says that the other process is lost, and that process
// has removed its socket: whoever closes the database, or serves it no more, does so before any
// connection ends. A process that was killed leaves it.
func (c *Client) lost(err error) error {
	if !errors.Is(err, ErrLost) {
		return err
	}
	if _, there := os.Lstat(filepath.Join(c.dir, SocketName)); errors.Is(there, fs.ErrNotExist) {
		return leftError{err}
	}
	return err
}
