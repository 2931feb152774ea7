package debug_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/db/debug"
)

// open opens a database in memory until the test ends.
func open(t *testing.T) *db.DB {
	t.Helper()
	d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// get asks a handler for something.
func get(h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

// links are what a page or a script names: addresses of files, of streams, of questions.
var links = regexp.MustCompile(`(?:src=|href=|fetch\(|EventSource\(|ask\(|from |import )["'` + "`" + `]([^"'` + "`" + `$]*)`)

// Whatever the prefix is, all that the page needs lies below it, and is there.
func TestAtAnyPrefix(t *testing.T) {
	h := debug.Handler(open(t))
	for _, prefix := range []string{"/", "/debug/lsmdb/", "/a/b/c/d/"} {
		mux := http.NewServeMux()
		mux.Handle(prefix, http.StripPrefix(strings.TrimSuffix(prefix, "/"), h))
		base, err := url.Parse(prefix)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{prefix + "events": true} // which does not end
		for todo := []string{prefix}; len(todo) > 0; todo = todo[1:] {
			if seen[todo[0]] {
				continue
			}
			seen[todo[0]] = true
			w := get(mux, todo[0])
			if question := strings.Contains(todo[0], "?"); w.Code != http.StatusOK && !question {
				t.Errorf("%s: status %d", todo[0], w.Code)
			}
			if strings.HasSuffix(todo[0], ".svg") || strings.Contains(todo[0], "?") {
				continue
			}
			for _, link := range links.FindAllStringSubmatch(w.Body.String(), -1) {
				target, err := base.Parse(link[1])
				switch {
				case err != nil || target.IsAbs() || target.Host != "" || strings.HasPrefix(link[1], "/"):
					t.Errorf("%s leads to %q, which is not relative", todo[0], link[1])
				case target.Fragment == "":
					todo = append(todo, target.String())
				}
			}
		}
		if len(seen) < 12 {
			t.Errorf("only these were found: %v", seen)
		}
	}
}

// Without the slash at the end, relative addresses would lead elsewhere.
func TestSlashAtTheEnd(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/debug/lsmdb", http.StripPrefix("/debug/lsmdb", debug.Handler(open(t))))
	w := get(mux, "/debug/lsmdb?x")
	base, err := url.Parse("http://example.org/debug/lsmdb")
	if err != nil {
		t.Fatal(err)
	}
	target, err := base.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != http.StatusTemporaryRedirect || target.Path != "/debug/lsmdb/" {
		t.Errorf("status %d, to %v, %v", w.Code, target, err)
	}
}

// What a browser is told to allow.
func TestHeaders(t *testing.T) {
	h := debug.Handler(open(t))
	for _, target := range []string{"/", "/app.js", "/style.css", "/metrics", "/explain?key=a", "/nothing", "/table?number=x"} {
		header := get(h, target).Header()
		directives := make(map[string]string)
		for directive := range strings.SplitSeq(header.Get("Content-Security-Policy"), ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
			directives[name] = value
		}
		if directives["default-src"] != "'none'" || directives["script-src"] != "'self'" || directives["style-src"] != "'self'" || directives["frame-ancestors"] != "'none'" {
			t.Errorf("%s: policy %v", target, directives)
		}
		if policy := header.Get("Content-Security-Policy"); strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %s", target, policy)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cache-Control") != "no-store" || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: headers %v", target, header)
		}
	}
	page := get(h, "/").Body.String()
	if regexp.MustCompile(`<style|style=|<script>|\son\w+=|javascript:`).MatchString(page) {
		t.Error("the policy forbids what stands in the page itself")
	}
}

// Nobody changes anything, and no page from elsewhere makes the database work.
func TestRefused(t *testing.T) {
	h := debug.Handler(open(t))
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: status %d, %v", method, w.Code, w.Header())
		}
	}
	for path, site := range map[string]string{"/events": "cross-site", "/space?prefix=": "cross-site", "/explain?key=a": "same-site"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s for a page from elsewhere: status %d", path, w.Code)
		}
	}
	for path, status := range map[string]int{"/nothing": 404, "/page/app.js": 404, "/../debug.go": 404, "/table?number=x": 400,
		"/explain?key=" + strings.Repeat("k", 70_000): 400} {
		if w := get(h, path); w.Code != status {
			t.Errorf("%.50s: status %d, want %d", path, w.Code, status)
		}
	}
	r := httptest.NewRequest(http.MethodHead, "/events", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r) // comes back
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD of the stream: %d, %v", w.Code, w.Header())
	}
}

// object decodes the answer to a question.
func object(t *testing.T, h http.Handler, target string) map[string]any {
	t.Helper()
	w := get(h, target)
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%s: status %d, %s, %v", target, w.Code, w.Body, err)
	}
	return v
}

// Answers to questions, and that they leave nothing open.
func TestQuestions(t *testing.T) {
	d := open(t)
	for _, key := range []string{"fruit/apple", "fruit/pear", "stone/flint", "top"} {
		if err := d.Put([]byte(key), []byte("value of "+key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := debug.Handler(d)
	if v := object(t, h, "/metrics"); v["sequence"] != 4.0 {
		t.Errorf("metrics: %v", v)
	}
	v := object(t, h, "/explain?key="+url.QueryEscape("fruit/pear"))
	if e := v["explanation"].(map[string]any); v["key"] != "fruit/pear" || e["found"] != true || e["decided_by"] != "put" {
		t.Errorf("explained as %v", v)
	}
	if v := object(t, h, `/explain?key=`+url.QueryEscape(`\x00\xff`)); v["key"] != `\x00\xff` || v["explanation"].(map[string]any)["found"] != false {
		t.Errorf("a key of bytes: %v", v)
	}
	v = object(t, h, "/space?prefix=")
	var prefixes []string
	for _, p := range v["parts"].([]any) {
		prefixes = append(prefixes, p.(map[string]any)["prefix"].(string))
	}
	if strings.Join(prefixes, " ") != "fruit/ stone/ top" {
		t.Errorf("divided into %q", prefixes)
	}
	v = object(t, h, "/space?prefix=fruit/")
	if parts := v["parts"].([]any); len(parts) != 2 {
		t.Errorf("fruit is divided into %v", parts)
	}
	m := d.Metrics()
	if tables, _ := m.Tables(); tables != 1 {
		t.Fatalf("%d tables", tables)
	}
	found := false
	for number := range 20 {
		if w := get(h, fmt.Sprintf("/table?number=%d", number)); !strings.Contains(w.Body.String(), "not in the tree any more") {
			found = true
			if !strings.Contains(w.Body.String(), `"from":"fruit/apple","to":"top"`) || !strings.Contains(w.Body.String(), `"entries":4`) {
				t.Errorf("the table is %s", w.Body)
			}
		}
	}
	if !found {
		t.Error("no table was found")
	}
	if pins := d.Pins(); len(pins) > 0 {
		t.Errorf("left open: %v", pins)
	}
	snapshot, err := d.NewSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if v := object(t, h, "/pins"); len(v["pins"].([]any)) != 1 {
		t.Errorf("pins: %v", v)
	}
	if err := snapshot.Close(); err != nil {
		t.Fatal(err)
	}
}

// Space of many keys that begin alike, and of keys that are prefixes of others.
func TestSpaceIsDivided(t *testing.T) {
	d := open(t)
	for i := range 3000 {
		if err := d.Put([]byte("user"+string(rune('0'+i/1000))+strings.Repeat("x", i%7)+string(rune('a'+i%26))), []byte("v"), db.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Put([]byte("user"), nil); err != nil {
		t.Fatal(err)
	}
	v := object(t, debug.Handler(d), "/space?prefix=us")
	var prefixes []string
	for _, p := range v["parts"].([]any) {
		prefixes = append(prefixes, p.(map[string]any)["prefix"].(string))
	}
	if strings.Join(prefixes, " ") != "user0 user1 user2" || v["more"] != false {
		t.Errorf("divided into %q, more: %v", prefixes, v["more"])
	}
}

// A closed database is no reason to fail.
func TestQuestionsAfterClose(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	h := debug.Handler(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{"/": 200, "/metrics": 200, "/explain?key=a": 503, "/space?prefix=": 503, "/table?number=1": 200, "/pins": 200} {
		w := get(h, path)
		if w.Code != status {
			t.Errorf("%s: status %d, want %d: %s", path, w.Code, status, w.Body)
		}
		_, _ = io.Copy(io.Discard, w.Body)
	}
}
