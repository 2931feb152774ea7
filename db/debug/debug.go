// Package debug shows an open database in a browser: one live page with the pipeline at
// work, the tree table by table, what waits for what, and where memory and space go. A
// program mounts it as it mounts net/http/pprof:
//
//	http.Handle("/debug/lsmdb/", http.StripPrefix("/debug/lsmdb", debug.Handler(d)))
//
// Whoever can reach the page sees keys, though no values, and can have the database read.
// So it belongs where net/http/pprof does: on an address for operators, or behind a login.
// Nothing can be changed through it.
//
// The page loads nothing from elsewhere. It costs nothing while nobody looks.
package debug

import (
	"embed"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"

	"lsmdb/db"
)

// Handler serves the page of an open database, at any prefix that http.StripPrefix takes
// off. The prefix should end with a slash; without it, browsers are sent on to there. The
// address "" is the page itself, "events" a stream of server-sent events, each a JSON object,
// and "metrics" is DB.Metrics as JSON.
//
// While somebody looks, the database is sampled once per second, once for all viewers. A
// viewer that stalls misses samples, holds up nobody, and gets the curves of the last minutes
// later. Streams end when the database is closed. Viewers hold nothing of the database open.
//
// Streams last as long as their viewers: http.Server.Shutdown waits for them, Close does not.
func Handler(d *db.DB) http.Handler {
	h := &handler{database: d, sampler: newSampler(d), measuring: make(chan struct{}, 1)}
	h.answers = map[string]func(*http.Request) (any, error){
		"metrics": func(*http.Request) (any, error) { return d.Metrics(), nil },
		"pins":    h.pins,
		"table":   h.table,
		"explain": h.explain,
		"space":   h.space,
	}
	return h
}

type handler struct {
	database *db.DB
	sampler  *sampler
	answers  map[string]func(*http.Request) (any, error) // to requests for JSON, by their paths

	// measuring has a place for the one request that measures. Whoever measures puts
	// something in, and takes it out again.
	measuring chan struct{}
}

//go:embed page
var files embed.FS

// page are the files that browsers load, and their types.
var page = map[string]string{
	"index.html":  "text/html; charset=utf-8",
	"style.css":   "text/css; charset=utf-8",
	"icon.svg":    "image/svg+xml",
	"app.js":      script,
	"charts.js":   script,
	"panels.js":   script,
	"pipeline.js": script,
	"text.js":     script,
	"tree.js":     script,
}

const script = "text/javascript; charset=utf-8"

// policy lets the page load its own files and talk to its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	name := strings.TrimPrefix(r.URL.Path, "/")
	answer := h.answers[name]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
	case name == "" && !strings.HasSuffix(address(r), "/"):
		header.Set("Location", "./"+path.Base(address(r))+"/") // relative: nobody here knows the prefix
		w.WriteHeader(http.StatusTemporaryRedirect)
	case name == "":
		serveFile(w, "index.html")
	case foreign(r):
		http.Error(w, "only the page itself may ask for that", http.StatusForbidden)
	case name == "events":
		h.events(w, r)
	case answer != nil:
		reply(w, r, answer)
	case page[name] != "":
		serveFile(w, name)
	default:
		http.NotFound(w, r)
	}
}

// address is the path that the browser asked for, before a prefix was taken off.
func address(r *http.Request) string {
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil || u.Path == "" {
		return "/"
	}
	return u.EscapedPath()
}

// foreign reports whether a page of somebody else makes the browser ask. It could not read
// the answer, but have the database work.
func foreign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

func serveFile(w http.ResponseWriter, name string) {
	content, err := files.ReadFile("page/" + name)
	if err != nil {
		panic("invariant: a file of the page is not embedded: " + err.Error())
	}
	w.Header().Set("Content-Type", page[name])
	_, _ = w.Write(content) // a viewer that has left needs nothing
}

// refusal is an error with the status that it is answered with.
type refusal struct {
	status int
	error
}

// reply answers with an object, or with what was wrong.
func reply(w http.ResponseWriter, r *http.Request, answer func(*http.Request) (any, error)) {
	object, err := answer(r)
	status := http.StatusOK
	if err != nil {
		status = http.StatusServiceUnavailable
		if refused, ok := err.(refusal); ok {
			status = refused.status
		}
		object = map[string]string{"error": err.Error()}
	}
	body, err := json.Marshal(object)
	if err != nil {
		panic("invariant: answers are plain values: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
