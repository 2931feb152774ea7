package tour_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lsmdb/cmd/lsmdb/internal/command"
	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/tour"
)

// temporaries makes the tour's temporary directories appear in a place that the
// test can look at.
func temporaries(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	return dir
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// The whole tour, with a real child process that is really killed.
func TestTour(t *testing.T) {
	t.Setenv(commandtest.RunAsCommand, "yes")
	root, files := tour.SmallTree(t)
	temporary := temporaries(t)
	out := commandtest.Succeed(t, "", "tour", "--source", root)
	commandtest.Contains(t, out, "A tour of lsmdb", "✓  1  source    60 files", "✓  2  load", "killed after", "✓  3  recover", "was not closed: replayed",
		"✓  4  check", "byte for byte", "✓  5  finish", "✓  6  change    12 files overwritten, 6 deleted", "✓  7  compact", "✓  8  verify    all 54 files",
		"✓  9  measure", "✓ 10  more      a sorted load copied 13 files of dir0/; a transaction renamed one; 60 merges counted 1 kind of files", "holds the same 68 entries",
		"a value ended by itself", "✓ 11  examine", "is sound", "The tree, by level", "The stages and their mailboxes", "writer", "Bytes", "Times", "put, synced", "get, absent key",
		"Every file was checked")
	wantEmpty(t, temporary)

	v := commandtest.Object(t, commandtest.Succeed(t, "", "tour", "--source", root, "--json"))
	if v["files"] != float64(len(files)) || v["entries"] != 54.0 || len(v["timings"].([]any)) != 6 || v["recovery"].(map[string]any)["clean_close"] != false {
		t.Errorf("got %v", v)
	}
	wantEmpty(t, temporary)
}

// What --keep leaves is what the tour says it checked.
func TestTourKeep(t *testing.T) {
	t.Setenv(commandtest.RunAsCommand, "yes")
	root, files := tour.SmallTree(t)
	dir := filepath.Join(t.TempDir(), "tour")
	commandtest.Contains(t, commandtest.Succeed(t, "", "tour", "--source", root, "--dir", dir, "--keep"), "The database stays in "+dir)
	database := commandtest.OpenHere(t, dir)
	for index, path := range slices.Sorted(maps.Keys(files)) { // as the tour walks them
		value, err := database.Get([]byte(path))
		want := files[path]
		switch {
		case tour.IsDeleted(index):
			if err == nil {
				t.Errorf("%s was deleted and is there", path)
			}
			continue
		case tour.IsOverwritten(index):
			want = tour.Changed(want)
		}
		if err != nil || !bytes.Equal(value, want) {
			t.Errorf("%s: %d bytes, %v; want %d", path, len(value), err, len(want))
		}
	}
	commandtest.Fail(t, exit.NoDatabase, []string{"is not empty"}, "", "tour", "--source", root, "--dir", dir)
}

// A directory that was there stays, and is empty again; one that was not is gone.
func TestTourDirectory(t *testing.T) {
	t.Setenv(commandtest.RunAsCommand, "yes")
	root, _ := tour.SmallTree(t)
	dir := t.TempDir()
	commandtest.Succeed(t, "", "tour", "--source", root, "--dir", dir)
	wantEmpty(t, dir)
	commandtest.Succeed(t, "", "tour", "--source", root, "--dir", filepath.Join(dir, "new"))
	wantEmpty(t, dir)
	commandtest.Fail(t, exit.NoDatabase, []string{"no such directory"}, "", "tour", "--source", root, "--dir", filepath.Join(dir, "a", "b"))
	commandtest.Fail(t, exit.Failed, []string{"file"}, "", "tour", "--source", root, "--dir", filepath.Join(root, "dir0", "file 00 é"))
}

func TestTourSource(t *testing.T) {
	temporary := temporaries(t)
	empty := t.TempDir()
	commandtest.Fail(t, exit.Failed, []string{"holds 0 files"}, "", "tour", "--source", empty)
	commandtest.Fail(t, exit.Failed, []string{"no such directory"}, "", "tour", "--source", filepath.Join(empty, "none"))
	file := filepath.Join(empty, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	commandtest.Fail(t, exit.Usage, []string{"is a file"}, "", "tour", "--source", file)
	t.Setenv("PATH", empty)
	t.Setenv("GOROOT", filepath.Join(empty, "none"))
	commandtest.Fail(t, exit.Failed, []string{"no Go source tree found", "--source DIR"}, "", "tour")
	t.Setenv("GOROOT", empty)
	if err := os.Mkdir(filepath.Join(empty, "src"), 0o700); err != nil {
		t.Fatal(err)
	}
	commandtest.Fail(t, exit.Failed, []string{filepath.Join(empty, "src") + " holds 0 files"}, "", "tour")
	wantEmpty(t, temporary)
}

// cancelOn cancels a context when a text is written.
type cancelOn struct {
	io.Writer
	text   string
	cancel context.CancelFunc
}

func (c cancelOn) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.text) {
		c.cancel()
	}
	return c.Writer.Write(p)
}

// An interrupt at any step ends the tour, its child and its directory.
func TestTourInterrupted(t *testing.T) {
	t.Setenv(commandtest.RunAsCommand, "yes")
	root, _ := tour.SmallTree(t)
	temporary := temporaries(t)
	for _, step := range []string{"source", "load", "check", "finish", "compact", "measure", "more"} {
		ctx, cancel := context.WithCancel(t.Context())
		var out, errOut bytes.Buffer
		c := &console.Console{In: strings.NewReader(""), Out: cancelOn{&out, step + " ", cancel}, Err: &errOut}
		if code := command.Run(ctx, []string{"tour", "--source", root}, c); code != exit.Interrupted || !strings.Contains(errOut.String(), "interrupted") {
			t.Errorf("after %s: exit code %d, %s%s", step, code, out.String(), errOut.String())
		}
		cancel()
		wantEmpty(t, temporary)
	}
}

// On a terminal each step shows its picture and takes it away again.
func TestTourOnTerminal(t *testing.T) {
	t.Setenv(commandtest.RunAsCommand, "yes")
	root, _ := tour.SmallTree(t)
	out, shown := commandtest.OnTerminal(t, "", "tour", "--source", root)
	commandtest.Contains(t, out, "✓", "killed after", "Every file was checked")
	commandtest.Contains(t, shown, "loading", tour.Captions["loading"], "writer", "recovering", tour.Captions["checking"], tour.Captions["finishing"], tour.Captions["changing"],
		"compacting", tour.Captions["verifying"], tour.Captions["measuring"], tour.Captions["showing"], "verifying")
}

// The live tour shows its database, has it do one thing after the other, and leaves nothing
// behind, also with somebody looking.
func TestTourServe(t *testing.T) {
	root, _ := tour.SmallTree(t)
	temporary := temporaries(t)
	*tour.Minute = time.Second
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	var errOut bytes.Buffer
	code := make(chan int, 1)
	go func() {
		c := &console.Console{In: strings.NewReader(""), Out: writer, Err: &errOut}
		code <- command.Run(ctx, []string{"tour", "--serve", "--source", root}, c)
		writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	lines.Scan()
	response, err := http.Get(lines.Text() + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var acts []string
	for len(acts) < 6 && lines.Scan() {
		acts = append(acts, strings.Fields(lines.Text())[0])
	}
	if got := strings.Join(acts, " "); got != "calm burst reads deletes merge calm" {
		t.Errorf("acts: %s", got)
	}
	cancel()
	go io.Copy(io.Discard, reader) // it may be saying something
	if got := <-code; got != exit.OK {
		t.Errorf("exit code %d: %s", got, errOut.String())
	}
	if stream, _ := io.ReadAll(response.Body); !bytes.Contains(stream, []byte(`"headline"`)) {
		t.Errorf("the stream: %.200s", stream)
	}
	wantEmpty(t, temporary)
}
