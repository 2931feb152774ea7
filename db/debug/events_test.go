package debug

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// On the clock of a bubble, viewers whose connections are fakes.

// connection is a ResponseWriter that collects events, and can stall.
type connection struct {
	header http.Header
	gate   chan struct{} // if not nil, Write waits until it is closed
	ended  chan struct{} // is closed when the handler has returned

	mu   sync.Mutex // the handler writes, the test reads
	text bytes.Buffer
}

func (c *connection) Header() http.Header { return c.header }
func (c *connection) WriteHeader(int)     {}
func (c *connection) FlushError() error   { return nil }
func (c *connection) Write(p []byte) (int, error) {
	if c.gate != nil {
		<-c.gate
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

// told is what an event says.
type told struct {
	Kind    string `json:"-"`
	ID      string `json:"-"`
	Epoch   string
	Columns []string
	First   int64
	Rows    [][]int64
	State   *state
	Tree    *picture
	Closed  bool
}

// parse reads a stream of events.
func parse(t *testing.T, r io.Reader) (list []told) {
	t.Helper()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	var e told
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			e.Kind = value
		case "id":
			e.ID = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				t.Fatalf("%.200s: %v", value, err)
			}
		case "":
			list = append(list, e)
			e = told{}
		}
	}
	return list
}

func (c *connection) events(t *testing.T) []told {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	return parse(t, bytes.NewReader(c.text.Bytes()))
}

// visit looks at the stream until leave is called.
func visit(t *testing.T, h http.Handler, c *connection, lastID string) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil)
	r.Header.Set("Last-Event-ID", lastID)
	c.header, c.ended = make(http.Header), make(chan struct{})
	go func() {
		defer close(c.ended)
		h.ServeHTTP(c, r)
	}()
	return func() {
		cancel()
		<-c.ended
	}
}

// bubble runs a test on a clock of its own, with a database in memory. It fails if a
// goroutine is left at the end.
func bubble(t *testing.T, test func(t *testing.T, d *db.DB, h *handler)) {
	synctest.Test(t, func(t *testing.T) {
		d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		test(t, d, Handler(d).(*handler))
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Ten viewers are served by one sampler, which rests when they have left.
func TestOneSamplerForAll(t *testing.T) {
	bubble(t, func(t *testing.T, d *db.DB, h *handler) {
		var connections [10]connection
		var leave [10]func()
		for i := range connections {
			leave[i] = visit(t, h, &connections[i], "")
		}
		for n := range 10 {
			if err := d.Put(fmt.Appendf(nil, "key%d", n), []byte("value")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(interval / 2)
		synctest.Wait()
		if h.sampler.row != 11 {
			t.Errorf("%d samples in ten seconds", h.sampler.row)
		}
		for i := range connections {
			events := connections[i].events(t)
			if len(events) != 11 || len(events[0].Columns) != len(events[0].Rows[0]) || events[0].Tree == nil || events[10].Tree != nil {
				t.Fatalf("viewer %d got %d events, the first: %+v", i, len(events), events[0])
			}
			if last := events[10]; last.First != 11 || len(last.Rows) != 1 || last.State.Commits != 0 && last.State.Commits != 1 {
				t.Errorf("the last event of viewer %d: %+v", i, last)
			}
		}
		for i := range leave {
			leave[i]()
		}
		if pins := d.Pins(); len(pins) > 0 {
			t.Errorf("viewers have left pins: %v", pins)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if h.sampler.row != 11 {
			t.Errorf("nobody looks, and there are %d samples", h.sampler.row)
		}
		var later connection
		leave[0] = visit(t, h, &later, "")
		time.Sleep(time.Second / 2)
		leave[0]()
		if events := later.events(t); len(events) != 1 || events[0].First != 1 || len(events[0].Rows) != 12 {
			t.Errorf("who comes later gets %+v", events)
		}
	})
}

// Who stalls holds up neither other viewers nor writers nor Close, and gets the rows that he
// has missed in one piece.
func TestStalledViewer(t *testing.T) {
	bubble(t, func(t *testing.T, d *db.DB, h *handler) {
		stalled, well := connection{gate: make(chan struct{})}, connection{}
		leaveStalled, leaveWell := visit(t, h, &stalled, ""), visit(t, h, &well, "")
		for range 20 {
			time.Sleep(time.Second)
			if err := d.Put([]byte("key"), []byte("value")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(interval / 2)
		synctest.Wait()
		if n := len(well.events(t)); n != 21 {
			t.Errorf("the other viewer has got %d events", n)
		}
		close(stalled.gate)
		time.Sleep(interval)
		synctest.Wait()
		events := stalled.events(t)
		next := int64(1)
		for _, e := range events {
			if e.First != next {
				t.Errorf("rows from %d on are missing", next)
			}
			next = e.First + int64(len(e.Rows))
		}
		if len(events) != 3 || next != 23 {
			t.Errorf("%d events, up to row %d", len(events), next-1)
		}
		leaveStalled()
		leaveWell()
	})
}

// Tables that are read get hot, and cool when nobody reads them any more. Looking at them, and
// at what a snapshot keeps, is no reading.
func TestHeat(t *testing.T) {
	bubble(t, func(t *testing.T, d *db.DB, h *handler) {
		write := func() error {
			return errors.Join(d.Put([]byte("key"), []byte("value")), d.Flush(context.Background()))
		}
		first := write()
		snapshot, err := d.NewSnapshot()
		if err := errors.Join(first, err, write()); err != nil {
			t.Fatal(err)
		}
		var c connection
		leave := visit(t, h, &c, "")
		time.Sleep(interval / 2) // reads come between samples
		heat := func(read bool) (digits string) {
			for range 30 {
				if read {
					if _, err := d.Get([]byte("key")); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(time.Second)
			}
			synctest.Wait()
			events := c.events(t)
			return strings.Join(events[len(events)-1].State.Marks.Heat, "")
		}
		if got := heat(true); !strings.Contains(got, "9") {
			t.Errorf("read each second: %q", got)
		}
		if got := heat(false); strings.Trim(got, "0") != "" {
			t.Errorf("not read: %q", got)
		}
		leave()
		if err := snapshot.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A connection that broke goes on where it was, but not with rows of another process.
func TestResume(t *testing.T) {
	bubble(t, func(t *testing.T, _ *db.DB, h *handler) {
		var first, second, other connection
		leave := visit(t, h, &first, "")
		time.Sleep(5*time.Second + interval/2)
		leave()
		events := first.events(t)
		leave = visit(t, h, &second, events[2].ID)
		leaveOther := visit(t, h, &other, "elsewhere.3")
		synctest.Wait()
		leave()
		leaveOther()
		if got := second.events(t); got[0].First != 4 || len(got[0].Rows) != 3 && len(got[0].Rows) != 4 {
			t.Errorf("goes on at %d with %d rows", got[0].First, len(got[0].Rows))
		}
		if got := other.events(t); got[0].First != 1 {
			t.Errorf("a stranger goes on at %d", got[0].First)
		}
	})
}

// The rows of more than five minutes are not kept.
func TestRowsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, _ *db.DB, h *handler) {
		var first, late connection
		leave := visit(t, h, &first, "")
		time.Sleep(400*time.Second + interval/2)
		leaveLate := visit(t, h, &late, "")
		synctest.Wait()
		leave()
		leaveLate()
		if got := late.events(t); len(got) != 1 || len(got[0].Rows) != keptRows || got[0].First != 401-keptRows+1 {
			t.Errorf("%d rows from %d on", len(got[0].Rows), got[0].First)
		}
	})
}

// Close waits for no viewer. Streams end with an event that says why, also those that begin
// later.
func TestCloseWithViewers(t *testing.T) {
	bubble(t, func(t *testing.T, d *db.DB, h *handler) {
		stalled, well := connection{gate: make(chan struct{})}, connection{}
		leaveStalled, leaveWell := visit(t, h, &stalled, ""), visit(t, h, &well, "")
		time.Sleep(3*time.Second + interval/2)
		before := time.Now()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(before); waited > 0 {
			t.Errorf("Close waited for %v", waited)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if events := well.events(t); !ends(events) || len(events) != 5 {
			t.Errorf("%d events, the last: %+v", len(events), events[len(events)-1])
		}
		<-well.ended
		close(stalled.gate)
		<-stalled.ended
		leaveWell()
		if events := stalled.events(t); !ends(events) {
			t.Errorf("the last event of who has stalled: %+v", events[len(events)-1])
		}
		leaveStalled()
		var late connection
		leave := visit(t, h, &late, "")
		<-late.ended
		if events := late.events(t); !ends(events) || len(events) != 1 {
			t.Errorf("later: %+v", events)
		}
		leave()
	})
}

// ends reports whether the last event, and no other, says that the database is closed.
func ends(events []told) bool {
	for i, e := range events {
		if last := i == len(events)-1; e.Closed != last || (e.Kind == "closed") != last || last && (e.State.Tone != ended || !strings.Contains(e.State.Headline, "closed")) {
			return false
		}
	}
	return len(events) > 0
}

// The stream over a real connection, of a server whose timeouts are shorter than it.
func TestStreamOutlivesTimeouts(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(Handler(d))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 2*time.Second, 2*time.Second
	server.Start()
	defer server.Close()
	response, err := server.Client().Get(server.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("the stream is %s", kind)
	}
	lines := bufio.NewReader(response.Body)
	for events := 0; events < 4; { // one a second
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "data: ") {
			events++
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines) // ends
	if err != nil && !errors.Is(err, io.EOF) || !bytes.Contains(rest, []byte(`"closed":true`)) {
		t.Errorf("the end of the stream: %.200s, %v", rest, err)
	}
}

// Whoever serves the page ends all requests when the database is closed. Viewers hear why, as if
// there had been time for the next sample. Where it is not closed, the stream just ends.
func TestEndedByTheServer(t *testing.T) {
	bubble(t, func(t *testing.T, d *db.DB, h *handler) {
		var before, with [3]connection
		var leave []func()
		for i := range with {
			visit(t, h, &before[i], "")()
			leave = append(leave, visit(t, h, &with[i], ""))
		}
		time.Sleep(2*time.Second + interval/2)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		for i := range with {
			leave[i]()
			if events := with[i].events(t); !ends(events) {
				t.Errorf("viewer %d got as the last of %d events: %+v", i, len(events), events[len(events)-1])
			}
			if events := before[i].events(t); len(events) != 1 || events[0].Closed {
				t.Errorf("who left before got %+v", events)
			}
		}
	})
}

// A disk that hangs while somebody looks for the pins holds up no viewer: all other figures go
// on, and the pins are those of before, with their time.
func TestHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fixture.NewMachine(vfstest.NewDisk())
		d := m.OpenDB(t)
		h := Handler(d).(*handler)
		write := func() error {
			return errors.Join(d.Put([]byte("key"), make([]byte, 1000)), d.Flush(context.Background()))
		}
		fixture.Must(t, write())
		snapshot, err := d.NewSnapshot()
		fixture.Must(t, errors.Join(err, write()))
		begun := time.Now()
		var first, second connection
		leaveFirst := visit(t, h, &first, "")
		time.Sleep(3*time.Second + interval/2)
		synctest.Wait()
		events := first.events(t)
		if p := events[0].State.Pins; p.AsOfMs != 0 || p.Count != 0 {
			t.Errorf("before somebody has looked: %+v", p)
		}
		if p := events[3].State.Pins; p.AsOfMs != begun.Add(2*time.Second).UnixMilli() || p.Count != 1 {
			t.Errorf("while the disk reads: %+v", p)
		}
		gate := make(chan struct{})
		m.Fail(func(op vfstest.Op) error {
			if op.Kind == vfstest.OpRead && strings.HasSuffix(op.Name, ".sst") {
				<-gate
			}
			return nil
		})
		leaveSecond := visit(t, h, &second, "")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for _, c := range []*connection{&first, &second} {
			events := c.events(t)
			last := events[len(events)-1]
			if p := last.State.Pins; last.First != 24 || p.AsOfMs != begun.Add(3*time.Second).UnixMilli() || p.Count != 1 {
				t.Errorf("while the disk hangs: row %d, %+v", last.First, p)
			}
		}
		before := time.Now()
		if _, err := h.pins(httptest.NewRequest(http.MethodGet, "/pins", nil)); err == nil || time.Since(before) != askedTime {
			t.Errorf("who asks for all pins: %v after %v", err, time.Since(before))
		}
		close(gate)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		events = first.events(t)
		if p := events[len(events)-1].State.Pins; p.AsOfMs < before.Add(askedTime).UnixMilli() || p.Count != 1 {
			t.Errorf("when the disk reads again: %+v", p)
		}
		leaveFirst()
		leaveSecond()
		fixture.Must(t, errors.Join(snapshot.Close(), d.Close()))
	})
}
