package attach_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/db/attach"
	"lsmdb/internal/beside"
	"lsmdb/internal/inside"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// How what others ask for ends when they leave, or when the server or the database does.

// finishes fails the test if something does not come to its end.
func finishes(t *testing.T, what string, do func()) {
	t.Helper()
	var ended atomic.Bool
	go func() {
		do()
		ended.Store(true)
	}()
	eventually(t, what+" comes to its end", ended.Load)
}

// copying is a checkpoint to another file system, as a client asked for it: no table can be
// linked there. It stands still in the first piece that it writes.
type copying struct {
	ctx    context.Context // of the copy
	ended  chan error      // of it; one is sent
	writes atomic.Int32    // of pieces of tables
	goOn   chan struct{}   // to be closed
}

// startCopy begins it, and returns when it stands still.
func startCopy(t *testing.T, dir, copied string) (d *db.DB, s *attach.Server, k *copying, leave func()) {
	t.Helper()
	k = &copying{ended: make(chan error, 1), goOn: make(chan struct{})}
	stands := make(chan struct{})
	disk := vfstest.NewFault(vfs.OS, func(op vfstest.Op) error {
		switch {
		case op.Kind == vfstest.OpLink:
			return &fs.PathError{Op: "link", Path: op.NewName, Err: syscall.EXDEV}
		case op.Kind == vfstest.OpWrite && strings.HasPrefix(op.Name, copied) && strings.HasSuffix(op.Name, ".sst"):
			if k.writes.Add(1) == 1 {
				close(stands)
				<-k.goOn
			}
		}
		return nil
	})
	d = open(t, dir, fixture.On(disk, db.Options{Compression: db.NoCompression, Durability: db.NoSync}))
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 { // some pieces
		value := make([]byte, 2000)
		for i := range value {
			value[i] = byte(random.Uint32())
		}
		fixture.Must(t, d.Put(value[:20], value))
	}
	s = serve(t, d, forever)
	link := inside.Link
	t.Cleanup(func() { inside.Link = link })
	inside.Link = func(ctx context.Context, c any, dir string) error {
		k.ctx = ctx
		err := link(ctx, c, dir)
		k.ended <- err
		return err
	}
	client := dial(t, dir)
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if _, err := client.Checkpoint(ctx, copied); err == nil {
			t.Error("the client was told that there is a copy")
		}
	}()
	t.Cleanup(func() { leave(); <-answered })
	<-stands
	return d, s, k, leave
}

// A copy that takes long is given up, whoever ends it, and leaves nothing behind. Nobody waits
// for more than a piece of it.
func TestCopyIsGivenUp(t *testing.T) {
	for name, end := range map[string]func(leave func(), s *attach.Server, d *db.DB) error{
		"the client leaves":      func(leave func(), _ *attach.Server, _ *db.DB) error { leave(); return nil },
		"the server is closed":   func(_ func(), s *attach.Server, _ *db.DB) error { return s.Close() },
		"the database is closed": func(_ func(), _ *attach.Server, d *db.DB) error { return d.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
			d, s, k, leave := startCopy(t, dir, copied)
			ended := make(chan error, 1)
			go func() { ended <- end(leave, s, d) }()
			eventually(t, "the copy hears of it", func() bool { return k.ctx.Err() != nil })
			close(k.goOn)
			if err := <-k.ended; !errors.Is(err, context.Canceled) && !errors.Is(err, db.ErrClosed) {
				t.Errorf("the copy ended with %v", err)
			}
			fixture.Must(t, <-ended)
			if writes := k.writes.Load(); writes != 1 {
				t.Errorf("%d pieces were written", writes)
			}
			if left, err := os.ReadDir(copied); len(left) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the copy left %v, %v", left, err)
			}
			finishes(t, "closing", func() { s.Close(); d.Close() })
			if open := d.Metrics().Checkpoint.Open; open != 0 {
				t.Errorf("%d checkpoints are open", open)
			}
		})
	}
}

// browser asks for pages through the socket.
func browser(t *testing.T, dir string) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, beside.SocketName))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// On a full disk, reads wait for what was Queued, and whoever leaves ends his wait. A server
// that is closed ends all of them.
func TestReadsBehindAFullDisk(t *testing.T) {
	dir := t.TempDir()
	fixture.Must(t, open(t, dir, nil).Close())
	var full atomic.Bool
	disk := vfstest.NewFault(vfs.OS, func(op vfstest.Op) error {
		if full.Load() && op.Kind == vfstest.OpCreate {
			return &fs.PathError{Op: "create", Path: op.Name, Err: syscall.ENOSPC}
		}
		return nil
	})
	d := open(t, dir, fixture.On(disk, db.Options{}))
	full.Store(true)
	key := []byte("key")
	fixture.Must(t, d.Put(key, []byte("value"), db.Queued)) // nobody has written yet, so that there is no log
	t.Cleanup(func() { full.Store(false) })                 // before it is closed
	page := func(ctx context.Context, path string) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/"+path, nil)
		if err != nil {
			return err
		}
		response, err := browser(t, dir).Do(request)
		if err == nil {
			err = response.Body.Close()
		}
		return err
	}
	waits := map[string]func(ctx context.Context, c *beside.Client) error{
		"get":     func(ctx context.Context, c *beside.Client) error { _, err := c.Get(ctx, key); return err },
		"size":    func(ctx context.Context, c *beside.Client) error { _, err := c.GetSize(ctx, key); return err },
		"count":   func(ctx context.Context, c *beside.Client) error { _, err := c.Count(ctx, beside.Query{}); return err },
		"explain": func(ctx context.Context, c *beside.Client) error { _, err := c.Explain(ctx, key); return err },
		"scan": func(ctx context.Context, c *beside.Client) error {
			return c.Scan(ctx, beside.Query{}, func(beside.Entry) error { return nil })
		},
		"checkpoint": func(ctx context.Context, c *beside.Client) error {
			_, err := c.Checkpoint(ctx, filepath.Join(t.TempDir(), "copy"))
			return err
		},
		"the page's explain": func(ctx context.Context, _ *beside.Client) error { return page(ctx, "explain?key=key") },
		"the page's space":   func(ctx context.Context, _ *beside.Client) error { return page(ctx, "space?prefix=") },
	}
	eventually(t, "the Writer has met the shortage", func() bool { return errors.Is(d.Health(), db.ErrDiskFull) })
	queue := d.Metrics().Stages[0].Depth
	for _, byClient := range []bool{true, false} {
		s := serve(t, d, forever)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		var all sync.WaitGroup
		for name, wait := range waits {
			c := dial(t, dir)
			all.Go(func() {
				if err := wait(ctx, c); err == nil && !strings.Contains(name, "page") {
					t.Errorf("%s did not wait", name)
				}
			})
		}
		queue += len(waits)
		eventually(t, "all wait", func() bool { return d.Metrics().Stages[0].Depth == queue })
		if byClient {
			leave()
		}
		finishes(t, "the server", func() { s.Close() })
		finishes(t, "who asks", all.Wait)
	}
	full.Store(false)
	serve(t, d, forever)
	if e, err := dial(t, dir).Get(t.Context(), key); err != nil || string(e.Value) != "value" {
		t.Errorf("when there was room: %q, %v", e.Value, err)
	}
}

// Who watches the live page through the socket is told that the database was closed, by the
// event that says so and not by a connection that breaks. When only the server is closed, the
// stream ends without that event.
func TestViewersAreTold(t *testing.T) {
	for _, closes := range []bool{true, false} {
		dir := t.TempDir()
		d := open(t, dir, nil)
		s := serve(t, d, forever)
		var viewers []*bufio.Reader
		for range 5 {
			response, err := browser(t, dir).Get("http://localhost/events")
			fixture.Must(t, err)
			defer response.Body.Close()
			viewers = append(viewers, bufio.NewReader(response.Body))
			_, err = viewers[len(viewers)-1].ReadString('\n') // it is under way
			fixture.Must(t, err)
		}
		if closes {
			fixture.Must(t, d.Close())
		} else {
			fixture.Must(t, s.Close())
		}
		for i, v := range viewers {
			rest, err := io.ReadAll(v)
			if told := bytes.Contains(rest, []byte("event: closed")) && bytes.Contains(rest, []byte(`"closed":true`)); err != nil || told != closes {
				t.Errorf("viewer %d was told: %v; database closed: %v; the end of the stream: %v", i, told, closes, err)
			}
		}
	}
}

// Who asks again and again, as "lsmdb top" does, learns whether the other process has left or
// was killed.
func TestLeftOrKilled(t *testing.T) {
	const left = "serves it no more"
	for _, closes := range []bool{true, false} {
		dir := t.TempDir()
		d := open(t, dir, nil)
		s := serve(t, d, forever)
		c := dial(t, dir)
		if closes {
			fixture.Must(t, d.Close())
		} else {
			fixture.Must(t, s.Close())
		}
		if _, err := c.Metrics(t.Context()); !errors.Is(err, beside.ErrLost) || !strings.Contains(err.Error(), left) {
			t.Errorf("left: %v", err)
		}
	}
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, beside.SocketName))
	fixture.Must(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	process := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"pid":1}`) })}
	go func() { _ = process.Serve(l) }()
	c := dial(t, dir)
	fixture.Must(t, process.Close())
	if _, err := c.Metrics(t.Context()); !errors.Is(err, beside.ErrLost) || strings.Contains(err.Error(), left) {
		t.Errorf("killed: %v", err)
	}
}

// A question of which only a part has come holds up nobody who closes the server.
func TestHalfAQuestion(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	s := serve(t, d, forever)
	for _, said := range []string{"", "POST /v1/get HTTP/1.1\r\nHo", "POST /v1/get HTTP/1.1\r\nHost: lsmdb\r\nContent-Length: 20\r\n\r\n{\"key\""} {
		conn, err := net.Dial("unix", filepath.Join(dir, beside.SocketName))
		fixture.Must(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, said)
		fixture.Must(t, err)
	}
	dial(t, dir)
	finishes(t, "the server", func() { s.Close() })
}

// Somebody listens at the name that the socket should have, or it is one of another kind. He
// keeps it.
func TestSomebodyListens(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, beside.SocketName)
	d := open(t, dir, nil)
	l, err := net.Listen("unix", path)
	fixture.Must(t, err)
	if _, err := attach.Serve(d); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("served: %v", err)
	}
	conn, err := net.DialTimeout("unix", path, time.Minute)
	if err != nil {
		t.Fatalf("he is not reached any more: %v", err)
	}
	fixture.Must(t, errors.Join(conn.Close(), l.Close()))
	letters, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skipf("there are no such sockets here: %v", err)
	}
	defer letters.Close()
	if _, err := attach.Serve(d); err == nil || !strings.Contains(err.Error(), "in use") || !listens(dir) {
		t.Errorf("served: %v", err)
	}
}
