package attach_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/db/attach"
	"lsmdb/internal/beside"
	"lsmdb/internal/tests/fixture"
)

// forever is more patience than any test has.
const forever = time.Hour

func open(t *testing.T, dir string, o *db.Options) *db.DB {
	t.Helper()
	d, err := db.Open(dir, o)
	fixture.Must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func serve(t *testing.T, d *db.DB, patience time.Duration) *attach.Server {
	t.Helper()
	s, err := attach.ServeWith(d, patience)
	fixture.Must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func dial(t *testing.T, dir string) *beside.Client {
	t.Helper()
	c, err := beside.Dial(t.Context(), dir)
	fixture.Must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// fill stores so much that no connection takes all of it at once.
func fill(t *testing.T, d *db.DB) {
	t.Helper()
	b := d.NewBatch()
	for i := range 20_000 {
		fixture.Must(t, b.Put(fmt.Appendf(nil, "key%06d", i), bytes.Repeat([]byte{byte(i)}, 1000)))
	}
	fixture.Must(t, d.Apply(t.Context(), b, db.NoSync))
}

// eventually waits until something is so, for as long as it takes on a slow machine.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("it never happened that %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func listens(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, beside.SocketName))
	return err == nil
}

// The socket is there while it is served and not longer, whichever is closed.
func TestLife(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	fixture.Must(t, d.Put([]byte("a"), []byte("1")))
	for range 3 {
		s := serve(t, d, forever)
		if again, err := attach.Serve(d); err == nil || !strings.Contains(err.Error(), "served already") {
			t.Fatalf("a second server: %v, %v", again, err)
		}
		c := dial(t, dir)
		if c.Hello.PID != os.Getpid() {
			t.Errorf("process %d answers", c.Hello.PID)
		}
		if e, err := c.Get(t.Context(), []byte("a")); err != nil || string(e.Value) != "1" {
			t.Errorf("got %q, %v", e.Value, err)
		}
		fixture.Must(t, s.Close())
		fixture.Must(t, s.Close())
		if listens(dir) {
			t.Error("the socket is still there")
		}
		if _, err := c.Get(t.Context(), []byte("a")); !errors.Is(err, beside.ErrLost) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := beside.Dial(t.Context(), dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("dialled after Close: %v", err)
		}
	}
	s := serve(t, d, forever)
	fixture.Must(t, d.Close())
	if listens(dir) {
		t.Error("the socket has outlived the database")
	}
	fixture.Must(t, s.Close())
	_, err := attach.Serve(d)
	fixture.WantErr(t, "served after Close", err, db.ErrClosed)
}

// One server at a time, whoever else tries and whenever it is closed; and nothing of it is
// left behind.
func TestTogether(t *testing.T) {
	dir := t.TempDir()
	fixture.Must(t, open(t, dir, nil).Close())
	runtime.GC()
	goroutines, descriptors := runtime.NumGoroutine(), fixture.OpenDescriptors()
	for range 10 {
		d := open(t, dir, nil)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for {
					s, err := attach.Serve(d)
					if errors.Is(err, db.ErrClosed) {
						return
					}
					if err == nil {
						if c, err := beside.Dial(t.Context(), dir); err == nil {
							_, _ = c.Metrics(t.Context())
							c.Close()
						}
						s.Close()
					}
				}
			})
		}
		eventually(t, "it was served", func() bool { return listens(dir) })
		fixture.Must(t, d.Close())
		all.Wait()
		if listens(dir) {
			t.Fatal("the socket is still there")
		}
	}
	eventually(t, "all goroutines ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(t, "all descriptors were closed", func() bool { return fixture.OpenDescriptors() <= descriptors })
}

// Databases that have no directory to write to, and a name that is taken.
func TestRefusals(t *testing.T) {
	if _, err := attach.Serve(open(t, "", &db.Options{InMemory: true})); err == nil || !strings.Contains(err.Error(), "no directory") {
		t.Errorf("in memory: %v", err)
	}
	dir := t.TempDir()
	fixture.Must(t, open(t, dir, nil).Close())
	reader := open(t, dir, &db.Options{ReadOnly: true})
	_, err := attach.Serve(reader)
	fixture.WantErr(t, "read-only", err, db.ErrReadOnly)
	fixture.Must(t, reader.Close())
	if listens(dir) {
		t.Error("something was written to the directory")
	}
	elsewhere := t.TempDir()
	serve(t, open(t, elsewhere, nil), forever)
	d, path := open(t, dir, nil), filepath.Join(dir, beside.SocketName)
	for _, inTheWay := range []func() error{
		func() error { return os.WriteFile(path, []byte("mine"), 0o600) },
		func() error { return os.WriteFile(path, nil, 0o600) },
		func() error { return os.Mkdir(path, 0o700) },
		func() error { return os.Symlink(filepath.Join(dir, "LOCK"), path) },
		func() error { return os.Symlink(filepath.Join(elsewhere, beside.SocketName), path) },
	} {
		fixture.Must(t, inTheWay())
		if _, err := attach.Serve(d); err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("served: %v", err)
		}
		if !listens(dir) {
			t.Error("somebody's file was removed")
		}
		if _, err := beside.Dial(t.Context(), dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("dialled: %v", err)
		}
		fixture.Must(t, os.Remove(path))
	}
	serve(t, d, forever)
}

// A socket that a process left is no obstacle: not to whoever opens the database, nor to
// whoever serves it next. One that somebody else put there meanwhile is not removed.
func TestStale(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, beside.SocketName)
	leave := func() {
		l, err := net.Listen("unix", path)
		fixture.Must(t, err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		fixture.Must(t, l.Close())
	}
	fixture.Must(t, open(t, dir, nil).Close())
	for range 2 {
		leave()
		if _, err := beside.Dial(t.Context(), dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("dialled a stale socket: %v", err)
		}
		fixture.Must(t, open(t, dir, &db.Options{ReadOnly: true}).Close())
		d := open(t, dir, nil)
		s := serve(t, d, forever)
		dial(t, dir)
		fixture.Must(t, s.Close())
		leave()
		fixture.Must(t, d.Compact(t.Context(), nil, nil))
		fixture.Must(t, d.Close())
		report, err := db.Verify(t.Context(), dir, nil)
		fixture.Must(t, err)
		if !report.OK() || !listens(dir) {
			t.Errorf("%v; there: %v", report.Problems, listens(dir))
		}
		fixture.Must(t, os.Remove(path))
	}
	d := open(t, dir, nil)
	s := serve(t, d, forever)
	fixture.Must(t, os.Remove(path))
	leave()
	fixture.Must(t, s.Close())
	if !listens(dir) {
		t.Error("the socket of somebody else was removed")
	}
}

// ask sends a request for a scan, and reads nothing.
func ask(t *testing.T, dir string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(dir, beside.SocketName))
	fixture.Must(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, "POST /v1/scan HTTP/1.1\r\nHost: lsmdb\r\nContent-Length: 2\r\n\r\n{}")
	fixture.Must(t, err)
	return conn
}

// Somebody who does not read on holds up neither writers nor Close.
func TestStalledReader(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	fill(t, d)
	serve(t, d, forever)
	for range 3 {
		ask(t, dir)
	}
	eventually(t, "three scans are under way", func() bool { return d.Metrics().Iterator.Open == 3 })
	fixture.Must(t, d.Put([]byte("more"), []byte("value")))
	fixture.Must(t, d.Flush(t.Context()))
	fixture.Must(t, d.Close())
	if open := d.Metrics().Iterator.Open; open != 0 {
		t.Errorf("behind Close, %d scans are under way", open)
	}
}

// Close waits until nothing of the server runs, but not with the lock of the database.
func TestCloseWaits(t *testing.T) {
	dir := t.TempDir()
	entered, release := make(chan struct{}), make(chan struct{})
	slow := &db.Merger{Name: "slow", Merge: func(dst, _, _, newer []byte) ([]byte, error) {
		close(entered)
		<-release
		return append(dst, newer...), nil
	}}
	d := open(t, dir, &db.Options{Merger: slow})
	fixture.Must(t, d.Merge([]byte("k"), []byte("v")))
	serve(t, d, forever)
	c := dial(t, dir)
	var all sync.WaitGroup
	all.Go(func() { _, _ = c.Get(t.Context(), []byte("k")) })
	<-entered
	var closed atomic.Bool
	all.Go(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		closed.Store(true)
	})
	eventually(t, "the lock is free", func() bool {
		next, err := db.Open(dir, &db.Options{Merger: slow, ReadOnly: true})
		if err == nil {
			next.Close()
		}
		return err == nil
	})
	if closed.Load() {
		t.Error("Close has returned while something of the server ran")
	}
	close(release)
	all.Wait()
}

// Somebody who does not read on is waited for for a while, and then pins nothing.
func TestPatienceEnds(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	fill(t, d)
	serve(t, d, 2*time.Second)
	conn := ask(t, dir)
	_, err := io.ReadFull(conn, make([]byte, 1000)) // it is under way
	fixture.Must(t, err)
	eventually(t, "nothing is pinned any more", func() bool { return d.Metrics().Iterator.Open == 0 })
	if answer, err := io.ReadAll(conn); err == nil && bytes.HasSuffix(answer, []byte("0\r\n\r\n")) {
		t.Error("the answer is whole")
	}
}

// Somebody who goes away pins nothing.
func TestGoneReader(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	fill(t, d)
	serve(t, d, forever)
	conn := ask(t, dir)
	eventually(t, "a scan is under way", func() bool { return d.Metrics().Iterator.Open == 1 })
	fixture.Must(t, conn.Close())
	eventually(t, "nothing is pinned any more", func() bool { return d.Metrics().Iterator.Open == 0 })
	c := dial(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := c.Scan(ctx, beside.Query{}, func(beside.Entry) error {
		if n++; n == 3 {
			cancel()
		}
		return nil
	})
	fixture.WantErr(t, "a canceled scan", err, context.Canceled)
	eventually(t, "nothing is pinned any more", func() bool { return d.Metrics().Iterator.Open == 0 })
	enough := errors.New("enough")
	if err := c.Scan(t.Context(), beside.Query{}, func(beside.Entry) error { return enough }); err != enough {
		t.Errorf("a scan that was left: %v", err)
	}
	eventually(t, "nothing is pinned any more", func() bool { return d.Metrics().Iterator.Open == 0 })
	if snapshots := d.Metrics().Snapshot.Open; snapshots != 0 {
		t.Errorf("%d snapshots are open", snapshots)
	}
}

// A scan shows one instant, whatever is written meanwhile.
func TestInstant(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, &db.Options{MemtableBytes: 1 << 20, Durability: db.NoSync})
	fill(t, d)
	serve(t, d, forever)
	c := dial(t, dir)
	n := 0
	err := c.Scan(t.Context(), beside.Query{}, func(e beside.Entry) error {
		if n == 0 {
			fixture.Must(t, d.DeleteRange(nil, nil))
			fixture.Must(t, d.Put([]byte("key9"), nil))
			fixture.Must(t, d.Compact(t.Context(), nil, nil))
		}
		if want := fmt.Sprintf("key%06d", n); string(e.Key) != want || len(e.Value) != 1000 {
			return fmt.Errorf("%q instead of %q", e.Key, want)
		}
		n++
		return nil
	})
	if err != nil || n != 20_000 {
		t.Errorf("%d entries, %v", n, err)
	}
	if count, err := c.Count(t.Context(), beside.Query{}); err != nil || count.Entries != 1 {
		t.Errorf("afterwards: %+v, %v", count, err)
	}
}

// Who watches the live page, and does not read what comes, holds up nobody.
func TestStalledViewer(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	serve(t, d, forever)
	conn, err := net.Dial("unix", filepath.Join(dir, beside.SocketName))
	fixture.Must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	fixture.Must(t, err)
	_, err = io.ReadFull(conn, make([]byte, 100)) // it is under way
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("more"), []byte("value")))
	fixture.Must(t, d.Close())
	_, err = io.Copy(io.Discard, conn) // what was sent before
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

// The cache stays as the program has filled it.
func TestCacheStays(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	fill(t, d)
	fixture.Must(t, d.Flush(t.Context()))
	serve(t, d, forever)
	c := dial(t, dir)
	before := d.Metrics()
	fixture.Must(t, c.Scan(t.Context(), beside.Query{}, func(beside.Entry) error { return nil }))
	_, err := c.Count(t.Context(), beside.Query{})
	fixture.Must(t, err)
	if m := d.Metrics(); m.Cache.Blocks != before.Cache.Blocks || m.Reads.BlocksRead == before.Reads.BlocksRead {
		t.Errorf("%d blocks in the cache, %d before", m.Cache.Blocks, before.Cache.Blocks)
	}
}

// Close in the middle of a scan is told to whoever reads.
func TestCloseDuringScan(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	fill(t, d)
	serve(t, d, forever)
	c, n := dial(t, dir), 0
	err := c.Scan(t.Context(), beside.Query{}, func(beside.Entry) error {
		if n++; n == 1 {
			fixture.Must(t, d.Close())
		}
		return nil
	})
	if !errors.Is(err, beside.ErrLost) || n == 20_000 {
		t.Errorf("%d entries, then %v", n, err)
	}
}

// A copy that the serving process makes is a database without a socket.
func TestCheckpoint(t *testing.T) {
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	d := open(t, dir, nil)
	fixture.Must(t, d.Put([]byte("a"), []byte("1")))
	serve(t, d, forever)
	c := dial(t, dir)
	made, err := c.Checkpoint(t.Context(), copied)
	if err != nil || made.Sequence != d.Metrics().Sequence || made.Files != 3 {
		t.Errorf("%+v, %v", made, err)
	}
	names, err := os.ReadDir(copied)
	fixture.Must(t, err)
	if len(names) != 3 || slices.ContainsFunc(names, func(e fs.DirEntry) bool { return e.Name() == beside.SocketName }) {
		t.Errorf("the copy holds %v", names)
	}
	if v, err := open(t, copied, nil).Get([]byte("a")); err != nil || string(v) != "1" {
		t.Errorf("the copy has %q, %v", v, err)
	}
	if _, err := c.Checkpoint(t.Context(), copied); !errors.Is(err, fs.ErrExist) && !errors.Is(err, db.ErrLocked) {
		t.Errorf("a second copy in the same place: %v", err)
	}
	if pinned := d.Metrics().Checkpoint.Open; pinned != 0 {
		t.Errorf("%d checkpoints are open", pinned)
	}
	var stream bytes.Buffer
	k, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	defer k.Close()
	_, err = k.WriteTo(&stream)
	fixture.Must(t, err)
	if bytes.Contains(stream.Bytes(), []byte(beside.SocketName)) {
		t.Error("the backup tells of the socket")
	}
}

// Only the command's own questions are answered: no page in a browser can ask them, and none
// is longer than needed. The live page is for browsers on this machine.
func TestQuestions(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	serve(t, d, forever)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, beside.SocketName))
	}}}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		url, body string
		status    int
		words     string
	}{
		{"http://lsmdb/v1/metrics", "", http.StatusOK, "uptime_ns"},
		{"http://lsmdb/v1/metrics", "null", http.StatusOK, "uptime_ns"},
		{"http://localhost/v1/metrics", "", http.StatusForbidden, "host"},
		{"http://evil.example/v1/checkpoint", `{"dir":"/tmp/x"}`, http.StatusForbidden, "host"},
		{"http://lsmdb/v1/size", "{", beside.StatusFailed, "unexpected EOF"},
		{"http://lsmdb/v1/size", `{"key":"` + strings.Repeat("YWFh", 1<<19) + `"}`, beside.StatusFailed, "too large"},
		{"http://lsmdb/v1/none", "page", http.StatusNotFound, ""},
		{"http://lsmdb/", "page", http.StatusNotFound, ""},
		{"http://lsmdb/v1/checkpoint", `{"dir":"copy"}`, beside.StatusFailed, "no whole path"},
		{"http://localhost:8080/", "page", http.StatusOK, "<html"},
		{"http://[::1]:8080/metrics", "page", http.StatusOK, "uptime_ns"},
		{"http://evil.example/", "page", http.StatusForbidden, "host"},
	} {
		ask := func() (*http.Response, error) {
			return client.Post(c.url, "application/json", strings.NewReader(c.body))
		}
		if c.body == "page" {
			ask = func() (*http.Response, error) { return client.Get(c.url) }
		}
		answer, err := ask()
		fixture.Must(t, err)
		said, err := io.ReadAll(answer.Body)
		fixture.Must(t, errors.Join(err, answer.Body.Close()))
		if answer.StatusCode != c.status || !strings.Contains(string(said), c.words) {
			t.Errorf("%s %.40s: %s, %.200s", c.url, c.body, answer.Status, said)
		}
	}
	for _, header := range []string{"Origin", "Sec-Fetch-Site"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://lsmdb/v1/metrics", nil)
		fixture.Must(t, err)
		request.Header.Set(header, "null")
		answer, err := client.Do(request)
		fixture.Must(t, err)
		fixture.Must(t, answer.Body.Close())
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("a browser that sends %s: %s", header, answer.Status)
		}
	}
}

// Who takes one long value slowly, but goes on, gets all of it.
func TestSlowReaderOfLongValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		value := bytes.Repeat([]byte("v"), 1<<20)
		written := make(chan error, 1)
		go func() {
			_, err := attach.PatientWrite(near, value, 15*time.Second)
			written <- err
		}()
		for taken := 0; taken < len(value); {
			n, err := far.Read(make([]byte, 32<<10))
			fixture.Must(t, err)
			taken += n
			time.Sleep(5 * time.Second)
		}
		fixture.Must(t, <-written)
	})
}
