package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/db"
)

// smallTree makes a source directory with files of many sizes.
func smallTree(t *testing.T) (root string, files map[string][]byte) {
	t.Helper()
	root, files = t.TempDir(), map[string][]byte{}
	random := rand.New(rand.NewPCG(4, 4))
	for i := range 60 {
		name := fmt.Sprintf("dir%d/file %02d é", i%4, i)
		content := make([]byte, random.IntN(1+i*i*40))
		for at := range content {
			content[at] = byte(random.Uint32())
		}
		files[name] = content
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root, files
}

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
	t.Setenv(runAsCommand, "yes")
	root, files := smallTree(t)
	temporary := temporaries(t)
	out := succeed(t, "", "tour", "--source", root)
	contains(t, out, "A tour of lsmdb", "✓  1  source    60 files", "✓  2  load", "killed after", "✓  3  recover", "was not closed: replayed",
		"✓  4  check", "byte for byte", "✓  5  finish", "✓  6  change    12 files overwritten, 6 deleted", "✓  7  compact", "✓  8  verify    all 54 files",
		"✓  9  measure", "✓ 10  examine", "is sound", "The tree, by level", "The stages and their mailboxes", "writer", "Bytes", "Times", "put, synced", "get, absent key",
		"Every file was checked")
	wantEmpty(t, temporary)

	v := object(t, succeed(t, "", "tour", "--source", root, "--json"))
	if v["files"] != float64(len(files)) || v["entries"] != 54.0 || len(v["timings"].([]any)) != 6 || v["recovery"].(map[string]any)["clean_close"] != false {
		t.Errorf("got %v", v)
	}
	wantEmpty(t, temporary)
}

// What --keep leaves is what the tour says it checked.
func TestTourKeep(t *testing.T) {
	t.Setenv(runAsCommand, "yes")
	root, files := smallTree(t)
	dir := filepath.Join(t.TempDir(), "tour")
	contains(t, succeed(t, "", "tour", "--source", root, "--dir", dir, "--keep"), "The database stays in "+dir)
	database := openHere(t, dir)
	tree, err := collect(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for index, f := range tree.files {
		value, err := database.Get(tree.key(index))
		want := files[f.path]
		switch {
		case isDeleted(index):
			if err == nil {
				t.Errorf("%s was deleted and is there", f.path)
			}
			continue
		case isOverwritten(index):
			want = changed(want)
		}
		if err != nil || !bytes.Equal(value, want) {
			t.Errorf("%s: %d bytes, %v; want %d", f.path, len(value), err, len(want))
		}
	}
	fail(t, exitNoDatabase, []string{"is not empty"}, "", "tour", "--source", root, "--dir", dir)
}

// A directory that was there stays, and is empty again; one that was not is gone.
func TestTourDirectory(t *testing.T) {
	t.Setenv(runAsCommand, "yes")
	root, _ := smallTree(t)
	dir := t.TempDir()
	succeed(t, "", "tour", "--source", root, "--dir", dir)
	wantEmpty(t, dir)
	succeed(t, "", "tour", "--source", root, "--dir", filepath.Join(dir, "new"))
	wantEmpty(t, dir)
	fail(t, exitNoDatabase, []string{"no such directory"}, "", "tour", "--source", root, "--dir", filepath.Join(dir, "a", "b"))
	fail(t, exitFailure, []string{"file"}, "", "tour", "--source", root, "--dir", filepath.Join(root, "dir0", "file 00 é"))
}

func TestTourSource(t *testing.T) {
	temporary := temporaries(t)
	empty := t.TempDir()
	fail(t, exitFailure, []string{"holds 0 files"}, "", "tour", "--source", empty)
	fail(t, exitFailure, []string{"no such directory"}, "", "tour", "--source", filepath.Join(empty, "none"))
	file := filepath.Join(empty, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fail(t, exitUsage, []string{"is a file"}, "", "tour", "--source", file)
	t.Setenv("PATH", empty)
	t.Setenv("GOROOT", filepath.Join(empty, "none"))
	fail(t, exitFailure, []string{"no Go source tree found", "--source DIR"}, "", "tour")
	t.Setenv("GOROOT", empty)
	if err := os.Mkdir(filepath.Join(empty, "src"), 0o700); err != nil {
		t.Fatal(err)
	}
	fail(t, exitFailure, []string{filepath.Join(empty, "src") + " holds 0 files"}, "", "tour")
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
	t.Setenv(runAsCommand, "yes")
	root, _ := smallTree(t)
	temporary := temporaries(t)
	for _, step := range []string{"source", "load", "check", "finish", "compact", "measure"} {
		ctx, cancel := context.WithCancel(t.Context())
		var out, errOut bytes.Buffer
		c := &console{in: strings.NewReader(""), out: cancelOn{&out, step + " ", cancel}, err: &errOut}
		if code := run(ctx, []string{"tour", "--source", root}, c); code != exitInterrupted || !strings.Contains(errOut.String(), "interrupted") {
			t.Errorf("after %s: exit code %d, %s%s", step, code, out.String(), errOut.String())
		}
		cancel()
		wantEmpty(t, temporary)
	}
}

// tourInMemory is a tour whose database holds all files of a small tree.
func tourInMemory(t *testing.T) *tour {
	t.Helper()
	root, _ := smallTree(t)
	tree, err := collect(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	database, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { database.Close() })
	c := &console{out: io.Discard, err: io.Discard}
	tr := &tour{console: c, display: c.newDisplay(), tree: tree, database: database, acked: make([]bool, len(tree.files))}
	for index := range tree.files {
		content, err := tree.content(index)
		if err != nil {
			t.Fatal(err)
		}
		if err := database.Put(tree.key(index), content); err != nil {
			t.Fatal(err)
		}
		if err := tr.acknowledge(index); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// Whatever differs is noticed, and its key named.
func TestTourFindsMismatches(t *testing.T) {
	ctx := t.Context()
	tamper := map[string]func(tr *tour, index int) error{
		"missing in the database":              func(tr *tour, index int) error { return tr.database.Delete(tr.tree.key(index)) },
		"the database holds 4 bytes, the file": func(tr *tour, index int) error { return tr.database.Put(tr.tree.key(index), []byte("four")) },
		"byte 17 differs from the file": func(tr *tour, index int) error {
			content, err := tr.tree.content(index)
			if err != nil {
				return err
			}
			if isOverwritten(index) {
				content = changed(content)
			}
			content[17] ^= 1
			return tr.database.Put(tr.tree.key(index), content)
		},
	}
	for what, do := range tamper {
		for name, step := range map[string]func(*tour, context.Context) error{"check": (*tour).check, "verify": (*tour).verify} {
			tr := tourInMemory(t)
			if name == "verify" {
				if err := tr.change(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if err := step(tr, ctx); err != nil {
				t.Fatalf("%s before the change: %v", name, err)
			}
			const index = 56
			if err := do(tr, index); err != nil {
				t.Fatal(err)
			}
			f := explain(step(tr, ctx))
			if f.code != exitFailure || !strings.Contains(f.sentence, what) || !strings.Contains(f.sentence, quote(tr.tree.key(index))) {
				t.Errorf("%s: got %q, want %q and the key", name, f.sentence, what)
			}
		}
	}
}

// Deleted keys that come back and keys that were never stored are noticed.
func TestTourFindsStrangers(t *testing.T) {
	ctx := t.Context()
	for what, key := range map[string]func(tr *tour) []byte{
		"deleted, but still there": func(tr *tour) []byte { return tr.tree.key(3) },
		"the scan finds it":        func(*tour) []byte { return []byte("stranger") },
	} {
		tr := tourInMemory(t)
		if err := tr.change(ctx); err != nil {
			t.Fatal(err)
		}
		if err := tr.database.Put(key(tr), nil); err != nil {
			t.Fatal(err)
		}
		if f := explain(tr.verify(ctx)); f.code != exitFailure || !strings.Contains(f.sentence, what) || !strings.Contains(f.sentence, quote(key(tr))) {
			t.Errorf("got %q, want %q", f.sentence, what)
		}
	}
}

// A loading process that fails by itself is no kill: its error is shown.
func TestTourChildFails(t *testing.T) {
	t.Setenv(runAsCommand, "yes")
	root, _ := smallTree(t)
	tree, err := collect(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "db")
	openHere(t, dir) // the child finds it locked
	c := &console{out: io.Discard, err: io.Discard}
	tr := &tour{console: c, display: c.newDisplay(), tree: tree, dir: dir, acked: make([]bool, len(tree.files))}
	if err := tr.loadAndKill(t.Context()); err == nil || !strings.Contains(err.Error(), "ended by itself") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
	if err := tr.acknowledge(len(tree.files)); err == nil {
		t.Error("an acknowledgement of a file that does not exist is taken")
	}
}

// A database that was closed properly is none that lost its process.
func TestTourRecoverWantsACrash(t *testing.T) {
	c := &console{out: io.Discard, err: io.Discard}
	tr := &tour{console: c, display: c.newDisplay(), dir: filledDatabase(t, "a", "1")}
	defer func() { tr.database.Close() }()
	if err := tr.recover(t.Context()); err == nil || !strings.Contains(err.Error(), "was closed properly") {
		t.Errorf("got %v", err)
	}
}

// Files that cannot be stored are left out and named; what is no regular file is
// not looked at.
func TestCollect(t *testing.T) {
	root, files := smallTree(t)
	huge := filepath.Join(root, "huge")
	f, err := os.Create(huge)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(largestFileBytes) + 1); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Symlink(huge, filepath.Join(root, "link")); err != nil {
		t.Logf("no symbolic links here: %v", err)
	}
	tree, err := collect(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.files) != len(files) || len(tree.skipped) != 1 || tree.skipped[0] != huge {
		t.Errorf("%d files, skipped %q", len(tree.files), tree.skipped)
	}
	var totalBytes int64
	for _, content := range files {
		totalBytes += int64(len(content))
	}
	if tree.totalBytes != totalBytes {
		t.Errorf("%d bytes, want %d", tree.totalBytes, totalBytes)
	}
}
