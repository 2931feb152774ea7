package debug_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/db/debug"
)

var screenshots = flag.String("screenshots", "", "a directory for what the browser shows")

var screens = []screen{
	{"phone-light", 390, 844, true, "light"},
	{"phone-dark", 390, 844, true, "dark"},
	{"desktop-light", 1280, 800, false, "light"},
	{"desktop-dark", 1280, 800, false, "dark"},
}

// busy makes a database with tables on several levels, and writes to it until the test ends.
func busy(t *testing.T) *db.DB {
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
	put := func(n int) error {
		return d.Put(fmt.Appendf(nil, "fruit/%05d", n%20_000), fmt.Appendf(nil, "%0200d", n))
	}
	for n := range 8000 {
		if err := put(n); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	written := make(chan error, 1)
	go func() {
		pace := time.NewTicker(5 * time.Millisecond) // a table is to last while somebody looks at it
		defer pace.Stop()
		for ctx.Err() == nil {
			if err := put(rand.IntN(20_000)); err != nil {
				written <- err
				return
			}
			<-pace.C
		}
		written <- nil
	}()
	t.Cleanup(func() {
		stop()
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
	return d
}

// A person looks at the page, on a phone and at a desk, by day and by night, and uses the
// keyboard only.
func TestInABrowser(t *testing.T) {
	b := startBrowser(t)
	d := busy(t)
	snapshot, err := d.NewSnapshot() // so that there is a pin to show
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	mux := http.NewServeMux()
	mux.Handle("/some/where/", http.StripPrefix("/some/where", debug.Handler(d)))
	server := httptest.NewServer(mux)
	defer server.Close()
	defer server.CloseClientConnections()
	address := server.URL + "/some/where/"
	for _, s := range screens {
		t.Run(s.name, func(t *testing.T) {
			b.t = t
			b.forget()
			b.open(address, s)
			b.wait(`document.querySelectorAll(".box").length > 3 && document.querySelector("#charts .line").getAttribute("d")`)
			look(b, s)
			search(b)
			walk(b)
			measure(b)
			wide(b, s)
			if *screenshots != "" {
				b.screenshot(filepath.Join(*screenshots, s.name+".png"), s)
			}
			if list := b.complaints(address); len(list) > 0 {
				t.Errorf("the page complains or asks elsewhere:\n%s", strings.Join(list, "\n"))
			}
			b.closeTab()
		})
	}
	b.t = t
}

// look reads the page.
func look(b *browser, s screen) {
	b.t.Helper()
	b.wait(`document.querySelector("#pins code")`) // pins come a moment later than the rest
	var text string
	b.evaluate("document.body.innerText", &text)
	for _, word := range []string{"Writer", "Flusher", "Keeper", "Compactor", "Sweeper", "Preparer", "Workers", "Level 0", "mailbox", "snapshot"} {
		if !strings.Contains(text, word) {
			b.t.Errorf("the page does not say %q", word)
		}
	}
	var background string
	b.evaluate("getComputedStyle(document.body).backgroundColor", &background)
	var red, green, blue int
	if _, err := fmt.Sscanf(background, "rgb(%d, %d, %d)", &red, &green, &blue); err != nil || (red+green+blue > 3*128) != (s.scheme == "light") {
		b.t.Errorf("the page is %s for who prefers %s: %v", background, s.scheme, err)
	}
	b.wait(`document.getElementById("headline").textContent.length > 20 && document.getElementById("status").textContent.length > 20`)
	wide(b, s)
}

// wide finds what makes the page wider than its window.
func wide(b *browser, s screen) {
	b.t.Helper()
	var width int
	b.evaluate("document.documentElement.scrollWidth", &width)
	if width > s.width {
		var culprits []string
		b.evaluate(`[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + "." + e.className + "#" + e.id)`, &culprits)
		b.t.Errorf("the page is %d pixels wide: %v", width, culprits)
	}
}

// tabTo presses the Tab key until something has the focus, which must be seen at each stop.
func tabTo(b *browser, condition string) {
	b.t.Helper()
	for range 60 {
		b.press("Tab")
		var seen, reached bool
		b.evaluate(`document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none"`, &seen)
		if !seen {
			var what string
			b.evaluate("document.activeElement.outerHTML.slice(0, 200)", &what)
			b.t.Errorf("nobody sees that this has the focus: %s", what)
		}
		if b.evaluate(condition, &reached); reached {
			return
		}
	}
	b.t.Fatalf("the Tab key does not lead to %s", condition)
}

// search explains keys.
func search(b *browser) {
	b.t.Helper()
	tabTo(b, `document.activeElement.matches("input[type=search]")`)
	b.write("fruit/00042")
	b.press("Enter")
	b.wait(`/fruit\/00042/.test(document.getElementById("explanation").innerText) && /It has a value/.test(document.getElementById("explanation").innerText)`)
	b.evaluate(`document.getElementById("key").select()`, nil)
	b.write("<b id=planted>no tag</b>") // keys are text of somebody else
	b.press("Enter")
	b.wait(`/<b id=planted>no tag<.b>/.test(document.getElementById("explanation").innerText) && !document.getElementById("planted")`)
	b.evaluate(`document.getElementById("key").select()`, nil)
	b.write("no such key")
	b.press("Enter")
	b.wait(`/no such key/.test(document.getElementById("explanation").innerText) && /It has no value/.test(document.getElementById("explanation").innerText)`)
}

// walk walks over the tables.
func walk(b *browser) {
	b.t.Helper()
	tabTo(b, `document.activeElement.matches(".box")`)
	b.press("ArrowDown")
	b.press("ArrowRight")
	b.wait(`document.activeElement.matches(".box")`)
	change := func() { // waits until the tree has changed
		const tree = `[...document.querySelectorAll(".box")].map((box) => box.getAttribute("aria-label")).join()`
		var before string
		b.evaluate(tree, &before)
		b.wait(tree + " !== " + strconv.Quote(before))
	}
	for shown := false; !shown; {
		b.press("Enter")
		b.wait(`!document.getElementById("table").hidden && /(Table \d+|tables)\n/.test(document.getElementById("table").innerText)`)
		b.evaluate(`/first key/i.test(document.getElementById("table").innerText)`, &shown)
		b.press("Escape")
		b.wait(`document.getElementById("table").hidden`)
		if !shown { // a merge was faster
			change()
		}
	}
	// When the tree changes, the focus stays among the tables, and these in the order of keys.
	change()
	var stays, ordered bool
	b.evaluate(`document.activeElement.matches(".box")`, &stays)
	b.evaluate(`[...document.querySelectorAll(".lane:not(.runs)")].every((lane) => {
		const places = [...lane.querySelectorAll(".box")].map((box) => parseFloat(box.style.left));
		return places.every((place, i) => i === 0 || place >= places[i - 1]);
	})`, &ordered)
	if !stays || !ordered {
		b.t.Errorf("when the tree has changed, the focus stays: %v; the order: %v", stays, ordered)
	}
}

// measure asks where the space goes.
func measure(b *browser) {
	b.t.Helper()
	tabTo(b, `document.activeElement.id === "prefix"`)
	b.press("Enter")
	b.wait(`/fruit\//.test(document.getElementById("space").innerText)`)
}

// Who wants nothing to move sees nothing move.
func TestAtRestInABrowser(t *testing.T) {
	b := startBrowser(t)
	server := httptest.NewServer(debug.Handler(busy(t)))
	defer server.Close()
	defer server.CloseClientConnections()
	b.open(server.URL+"/", screens[2])
	const animations = `document.getAnimations().filter((a) => a.playState === "running").length`
	b.wait(animations + " > 0")
	b.must("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
	b.wait(animations + " === 0")
}

// When the database is closed the page says so. When it is open again the page shows that.
func TestClosedInABrowser(t *testing.T) {
	b := startBrowser(t)
	d, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	var current atomic.Pointer[http.Handler]
	show := func(d *db.DB) {
		h := debug.Handler(d)
		current.Store(&h)
	}
	show(d)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*current.Load()).ServeHTTP(w, r) }))
	defer server.Close()
	defer server.CloseClientConnections()
	b.open(server.URL+"/", screens[2])
	b.wait(`/live/.test(document.getElementById("link").innerText)`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	b.wait(`/closed/.test(document.getElementById("link").innerText) && /closed/.test(document.getElementById("headline").innerText)`)
	show(busy(t))
	b.wait(`/live/.test(document.getElementById("link").innerText) && /write/.test(document.getElementById("headline").innerText) && document.querySelector(".box")`)
	if list := b.complaints(server.URL); len(list) > 0 {
		t.Errorf("the page complains:\n%s", strings.Join(list, "\n"))
	}
}
