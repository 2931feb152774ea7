package server

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lsmdb/ext/replica"
)

// newServer serves a cluster of one node.
func newServer(t *testing.T) (*replica.Node, http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	n, err := replica.Start(context.Background(), replica.Config{ID: "a", Dir: t.TempDir(), Listen: address, Members: []replica.Member{{ID: "a", Address: address}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Apply(ctx, replica.NewCommand()); err != nil { // a leader is there
		t.Fatal(err)
	}
	return n, New(n, "db.example")
}

// ask sends a request to the handler.
func ask(h http.Handler, method, path, body string, edit ...func(*http.Request)) (int, string) {
	r := httptest.NewRequest(method, "http://127.0.0.1:1"+path, strings.NewReader(body))
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, _ := io.ReadAll(w.Result().Body)
	return w.Code, strings.TrimSpace(string(text))
}

func TestServer(t *testing.T) {
	_, h := newServer(t)
	binary := "\x00\xff"
	for _, step := range []struct {
		method, path, body string
		code               int
		answer             string // what it contains
	}{
		{"GET", "/kv/fruit/apple", "", 404, "not found"},
		{"PUT", "/kv/fruit/apple", "red", 204, ""},
		{"GET", "/kv/fruit/apple", "", 200, "red"},
		{"GET", "/kv/fruit/apple?stale", "", 200, "red"},
		{"PUT", "/kv/%00%ff", binary, 204, ""},
		{"GET", "/kv?prefix=%00", "", 200, `[{"key_base64":"AP8=","value_base64":"AP8="}]`},
		{"POST", "/kv", `{"expect":[{"key":"fruit/apple","value":"red"},{"key":"none"}],"put":[{"key":"fruit/pear","value":"green"}],"delete":[{"key_base64":"AP8="}]}`, 204, ""},
		{"GET", "/kv", "", 200, `[{"key":"fruit/apple","value":"red"},{"key":"fruit/pear","value":"green"}]`},
		{"GET", "/kv?start=fruit/b&limit=1", "", 200, `[{"key":"fruit/pear","value":"green"}]`},
		{"GET", "/kv?end=fruit/b", "", 200, `[{"key":"fruit/apple","value":"red"}]`},
		{"POST", "/kv", `{"expect":[{"key":"fruit/apple"}],"put":[{"key":"fruit/pear","value":"brown"}]}`, 412, "fruit/apple"},
		{"GET", "/kv/fruit/pear", "", 200, "green"},
		{"POST", "/kv", `{"delete_range":[{"start":"fruit/","end":"fruit0"}],"put":[{"key":"fruit/plum","value":""}]}`, 204, ""},
		{"GET", "/kv", "", 200, `[{"key":"fruit/plum","value":""}]`},
		{"DELETE", "/kv/fruit/plum", "", 204, ""},
		{"PUT", "/kv/short?ttl=1ns", "x", 204, ""},
		{"GET", "/kv/short", "", 404, ""},
		{"PUT", "/kv/long?ttl=1h", "x", 204, ""},
		{"GET", "/kv/long", "", 200, "x"},
		{"POST", "/snapshot", "", 204, ""},
		// Mistakes.
		{"PUT", "/kv/k?ttl=soon", "x", 400, "duration"},
		{"GET", "/kv/k?timeout=-1s", "", 400, "duration"},
		{"GET", "/kv?limit=0", "", 400, "limit"},
		{"POST", "/kv", `{"puts":[]}`, 400, "puts"},
		{"POST", "/kv", `{"put":[{"value":"x"}]}`, 400, "key"},
		{"PUT", "/kv/" + strings.Repeat("k", 1<<16), "x", 413, "key"},
		{"PUT", "/kv/k", strings.Repeat("x", MaxBodyBytes+1), 413, "large"},
		{"PATCH", "/kv/k", "", 405, ""},
		{"POST", "/members", "{", 400, ""},
		{"DELETE", "/members/nobody", "", 204, ""},
	} {
		code, answer := ask(h, step.method, step.path, step.body)
		if code != step.code || !strings.Contains(answer, step.answer) {
			t.Errorf("%s %.60s: %d %.200s, and should be %d %s", step.method, step.path, code, answer, step.code, step.answer)
		}
	}
	code, answer := ask(h, "GET", "/status", "")
	var s replica.Status
	if err := json.Unmarshal([]byte(answer), &s); err != nil || code != 200 || s.State != "Leader" || s.ID != "a" || s.Snapshot == 0 {
		t.Errorf("status: %d %s, %v", code, answer, err)
	}
}

// TestForeignRequests sees that no web page gets through by a browser.
func TestForeignRequests(t *testing.T) {
	_, h := newServer(t)
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for name, want := range map[string]int{"localhost:80": 404, "127.0.0.1": 404, "[::1]:5": 404, "db.example": 404, "evil.example": 403, "10.0.0.1": 403, "": 403} {
		if code, _ := ask(h, "GET", "/kv/k", "", host(name)); code != want {
			t.Errorf("a request for the host %q: %d", name, code)
		}
	}
	if code, _ := ask(h, "POST", "/kv", "{}", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }); code != 403 {
		t.Errorf("a change by another site: %d", code)
	}
}
