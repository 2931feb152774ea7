package serve_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/command"
	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
)

// running is a "lsmdb serve" in this process.
type running struct {
	url  string
	stop context.CancelFunc
	code <-chan int
	rest <-chan string // what it prints behind the address
}

// start runs a command line that prints an address, and reads that.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	code, rest := make(chan int, 1), make(chan string, 1)
	go func() {
		code <- command.Run(ctx, args, &console.Console{In: strings.NewReader(""), Out: writer, Err: io.Discard})
		writer.Close()
	}()
	lines := bufio.NewReader(reader)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %q, %v", args, first, err)
	}
	go func() {
		more, _ := io.ReadAll(lines)
		rest <- string(more)
	}()
	r := &running{strings.TrimSpace(first), stop, code, rest}
	t.Cleanup(func() { r.end(t) })
	return r
}

// end interrupts it, and wants it to end well.
func (r *running) end(t *testing.T) {
	t.Helper()
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	if code, rest := <-r.code, <-r.rest; code != exit.OK || rest != "" {
		t.Errorf("exit code %d, and %q", code, rest)
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

var address = regexp.MustCompile(`^http://127\.0\.0\.1:\d+/[a-z0-9]{20,}/$`)

// The page of a database at rest, on an address that nobody can guess. It ends although
// somebody looks.
func TestServe(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "apple", "red", "pear", "green")
	r := start(t, "serve", dir)
	if !address.MatchString(r.url) {
		t.Fatalf("the address is %q", r.url)
	}
	if status, body := get(t, r.url); status != http.StatusOK || !strings.Contains(body, "Compactor") {
		t.Errorf("the page: %d, %.200s", status, body)
	}
	if status, body := get(t, r.url+"explain?key=pear"); status != http.StatusOK || !strings.Contains(body, `"found":true`) {
		t.Errorf("explains pear: %d, %s", status, body)
	}
	response, err := http.Get(r.url + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	stream := bufio.NewReader(response.Body)
	for line := ""; !strings.HasPrefix(line, "data: "); {
		if line, err = stream.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "data: ") && !strings.Contains(line, "At rest") {
			t.Errorf("the first event: %s", line)
		}
	}
	if got := commandtest.Succeed(t, "", "get", dir, "apple"); got != "red\n" {
		t.Errorf("others cannot read meanwhile: %q", got)
	}
	commandtest.Fail(t, exit.InUse, nil, "", "put", dir, "apple", "blue")
	r.end(t)
	if _, err := io.ReadAll(stream); err == nil {
		t.Log("the stream ended in order") // or was cut: either will do
	}
	if response, err := http.Get(r.url); err == nil {
		response.Body.Close()
		if response.StatusCode == http.StatusOK { // otherwise somebody else has the port by now
			t.Error("the page is still there")
		}
	}
	commandtest.Succeed(t, "", "put", dir, "apple", "blue")
	again := start(t, "serve", dir)
	if again.url == r.url {
		t.Error("the same address twice")
	}
}

// Who does not know the address, or comes by another name, gets nothing.
func TestServeOnlyHere(t *testing.T) {
	r := start(t, "serve", commandtest.FilledDatabase(t, "secret-key", "value"))
	whole, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/events", "/metrics", "/aaaaaaaaaaaaaaaaaaaaaaaaaa/", strings.TrimSuffix(whole.Path, "/")} {
		if status, body := get(t, "http://"+whole.Host+path); status != http.StatusNotFound || strings.Contains(body, "secret") || strings.Contains(body, whole.Path) {
			t.Errorf("%s: %d, %s", path, status, body)
		}
	}
	for host, want := range map[string]int{"evil.example": 421, "evil.example:" + whole.Port(): 421, "127.0.0.1.evil.example": 421, "localhost:" + whole.Port(): 200, whole.Host: 200, "[::1]:80": 200} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("as %s: %d, want %d", host, response.StatusCode, want)
		}
	}
}

// Mistakes of who calls it.
func TestServeRefuses(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "mistyped")
	commandtest.Fail(t, exit.NoDatabase, []string{"no such directory"}, "", "serve", missing)
	if _, err := os.Stat(missing); err == nil {
		t.Error("a mistyped directory was created")
	}
	commandtest.Fail(t, exit.NoDatabase, []string{"empty"}, "", "serve", t.TempDir())
	dir := commandtest.FilledDatabase(t, "k", "v")
	commandtest.Fail(t, exit.Usage, nil, "", "serve")
	commandtest.Fail(t, exit.Usage, []string{"--port"}, "", "serve", dir, "--port", "70000")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	commandtest.Fail(t, exit.Failed, []string{"port " + port}, "", "serve", dir, "--port", port)
	commandtest.OpenHere(t, dir)
	commandtest.Fail(t, exit.InUse, []string{"in use", "attach.Serve"}, "", "serve", dir)
}
