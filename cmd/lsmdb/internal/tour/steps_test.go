package tour

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
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
	c := &console.Console{Out: io.Discard, Err: io.Discard}
	tr := &tour{console: c, display: c.NewDisplay(), tree: tree, database: database, acked: make([]bool, len(tree.files))}
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
			f := exit.Explain(step(tr, ctx))
			if f.Code != exit.Failed || !strings.Contains(f.Sentence, what) || !strings.Contains(f.Sentence, text.Quote(tr.tree.key(index))) {
				t.Errorf("%s: got %q, want %q and the key", name, f.Sentence, what)
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
		if f := exit.Explain(tr.verify(ctx)); f.Code != exit.Failed || !strings.Contains(f.Sentence, what) || !strings.Contains(f.Sentence, text.Quote(key(tr))) {
			t.Errorf("got %q, want %q", f.Sentence, what)
		}
	}
}

// A loading process that fails by itself is no kill: its error is shown.
func TestTourChildFails(t *testing.T) {
	t.Setenv("LSMDB_TEST_RUN_AS_COMMAND", "yes") // commandtest.RunAsCommand; that package imports this one
	root, _ := smallTree(t)
	tree, err := collect(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "db")
	database, err := db.Open(dir, nil) // the child finds it locked
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	c := &console.Console{Out: io.Discard, Err: io.Discard}
	tr := &tour{console: c, display: c.NewDisplay(), tree: tree, dir: dir, acked: make([]bool, len(tree.files))}
	if err := tr.loadAndKill(t.Context()); err == nil || !strings.Contains(err.Error(), "ended by itself") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
	if err := tr.acknowledge(len(tree.files)); err == nil {
		t.Error("an acknowledgement of a file that does not exist is taken")
	}
}

// A database that was closed properly is none that lost its process.
func TestTourRecoverWantsACrash(t *testing.T) {
	c := &console.Console{Out: io.Discard, Err: io.Discard}
	tr := &tour{console: c, display: c.NewDisplay(), dir: closedDatabase(t)}
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

func TestTimings(t *testing.T) {
	none := newTimings("none")
	if none.quantile(0.5) != 0 || none.total() != 0 {
		t.Error("no operations took time")
	}
	some := newTimings("some")
	for i := range 100 {
		some.spans = append(some.spans, time.Duration(100-i))
	}
	if some.quantile(0.5) != 51 || some.quantile(0.99) != 100 || some.quantile(1) != 100 || some.quantile(0) != 1 || some.total() != 5050 {
		t.Errorf("median %d, p99 %d, largest %d, smallest %d, total %d", some.quantile(0.5), some.quantile(0.99), some.quantile(1), some.quantile(0), some.total())
	}
	if err := some.time(7, func() error { return io.ErrUnexpectedEOF }); err != io.ErrUnexpectedEOF || some.bytes != 7 || len(some.spans) != 101 {
		t.Errorf("got %v, %d bytes, %d spans", err, some.bytes, len(some.spans))
	}
}

// closedDatabase makes a database and closes it.
func closedDatabase(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	database, err := db.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(database.Put([]byte("a"), nil), database.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What is said around the pictures fits a terminal of 80 columns.
func TestCaptionsFit(t *testing.T) {
	lines := strings.Split(tourPreface, "\n")
	for _, caption := range captions {
		lines = append(lines, "  "+caption)
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > 79 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
