//go:build unix

package formats

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/stages"
)

// The golden databases were written by the first version of the formats. Whatever
// changes later, they must open and hold what goldenContents lists. A new version of
// a format gets golden databases of its own, beside these:
//
//	go test ./internal/tests/formats -run TestGolden -golden.update
//
// writes them anew; for files that are committed that is never right.
var goldenUpdate = flag.Bool("golden.update", false, "write the golden databases of testdata anew")

const (
	goldenDir      = "testdata/golden-v1"
	goldenContents = goldenDir + "/contents.txt"
)

// golden tells how each of them came to its end.
var golden = []struct {
	name  string
	clean bool
}{
	{"killed", false}, // the log is not flushed, its end not marked
	{"closed", true},
}

func TestGolden(t *testing.T) {
	if *goldenUpdate {
		writeGolden(t)
	}
	want := goldenView(t)
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			dir := filepath.Join(goldenDir, g.name)
			checkGoldenReadOnly(t, dir, g.clean, want)
			checkGoldenCopy(t, dir, want)
		})
	}
}

// checkGoldenReadOnly reads the committed files where they are and leaves them alone.
func checkGoldenReadOnly(t *testing.T, dir string, clean bool, want fixture.View) {
	t.Helper()
	before := fixture.Picture(t, dir)
	d, err := db.Open(dir, &db.Options{ReadOnly: true})
	fixture.Must(t, err)
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	for key, value := range want {
		if got, err := d.Get([]byte(key)); err != nil || string(got) != value {
			t.Errorf("%s: %s, %v", fixture.Short(key), fixture.Short(string(got)), err)
		}
	}
	_, err = d.Get([]byte("deleted"))
	fixture.WantErr(t, "a deleted key", err, db.ErrNotFound)
	m := d.Metrics()
	levels := 0
	var deletes uint64
	for _, l := range m.Levels {
		levels += min(l.Tables, 1)
		deletes += l.Deletes
	}
	if levels < 3 || deletes == 0 || m.Recovery.Operations < 20 || m.Recovery.CleanClose != clean {
		t.Errorf("the files do not cover what they are for: %d levels, %d deletes, %+v", levels, deletes, m.Recovery)
	}
	fixture.Must(t, d.Close())
	report, err := db.Verify(t.Context(), dir, nil)
	fixture.Must(t, err)
	if !report.OK() {
		t.Errorf("Verify: %+v", report.Problems)
	}
	if after := fixture.Picture(t, dir); after != before {
		t.Errorf("reading changed the files\n%s\n%s", before, after)
	}
}

// checkGoldenCopy goes on working with a copy.
func checkGoldenCopy(t *testing.T, from string, want fixture.View) {
	t.Helper()
	dir := t.TempDir()
	fixture.Must(t, os.CopyFS(dir, os.DirFS(from)))
	options := &db.Options{MemtableBytes: 16 << 10, MustExist: true}
	d, err := db.Open(dir, options)
	fixture.Must(t, err)
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Put([]byte("added"), []byte("now")))
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	fixture.Must(t, d.Delete([]byte("added")))
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
	d, err = db.Open(dir, options)
	fixture.Must(t, err)
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
	report, err := db.Verify(t.Context(), dir, nil)
	fixture.Must(t, err)
	if !report.OK() {
		t.Errorf("Verify: %+v", report.Problems)
	}
}

// goldenView reads the list of what the golden databases hold: on each line a key and
// its value, quoted as in Go.
func goldenView(t testing.TB) fixture.View {
	t.Helper()
	text, err := os.ReadFile(goldenContents)
	fixture.Must(t, err)
	v := fixture.View{}
	for line := range strings.Lines(string(text)) {
		var pair [2]string
		for i := range pair {
			quoted, err := strconv.QuotedPrefix(line)
			fixture.Must(t, err)
			pair[i], err = strconv.Unquote(quoted)
			fixture.Must(t, err)
			line = line[len(quoted)+1:]
		}
		if _, twice := v[pair[0]]; twice || line != "" {
			t.Fatalf("%s: key %q, then %q", goldenContents, pair[0], line)
		}
		v[pair[0]] = pair[1]
	}
	if len(v) < 300 {
		t.Fatalf("%s lists %d keys only", goldenContents, len(v))
	}
	return v
}

// goldenCommits are the history: some commits for each of several flushes, the last
// ones for the log.
func goldenCommits() (rounds [][]fixture.Commit) {
	keys := []string{"", "\x00", "\xff", "\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a\xffb", strings.Repeat("\xff", 300), "deleted"}
	for i := range 400 {
		keys = append(keys, fmt.Sprintf("user/%04d", i*7919%400))
	}
	n := 0
	set := func(key string) fixture.Operation {
		n++
		return fixture.Operation{Key: key, Value: strings.Repeat(fmt.Sprintf("%s written as operation %d; ", key[:min(len(key), 9)], n), n%5)}
	}
	for round := range 15 {
		var commits []fixture.Commit
		for i := round % 3; i < len(keys); i += 1 + round%5 {
			c := fixture.Commit{set(keys[i])}
			if i%11 == 0 { // a batch, which overwrites and deletes keys of its own
				c = append(c, set(keys[(i*3)%len(keys)]), fixture.Operation{Key: keys[(i*5)%len(keys)], Delete: true}, set(keys[(i*5+1)%len(keys)]))
			}
			commits = append(commits, c)
		}
		rounds = append(rounds, append(commits, fixture.Commit{{Key: "deleted", Delete: true}}))
	}
	last := len(rounds) - 1
	rounds[last] = append(rounds[last][:30], fixture.Commit{set("\xff"), set(""), {Key: "deleted", Delete: true}})
	return rounds
}

// writeGolden makes the databases with the version that runs.
func writeGolden(t *testing.T) {
	fixture.Must(t, os.RemoveAll(goldenDir))
	dir, state := t.TempDir(), fixture.State{}
	d, err := db.Open(dir, fixture.Tuned(nil, func(e *stages.Environment) {
		e.Policy.BaseBytes = 10 << 10 // several levels of very little
	}, db.Options{MemtableBytes: 16 << 10}))
	fixture.Must(t, err)
	rounds := goldenCommits()
	for i, round := range rounds {
		for _, c := range round {
			fixture.Must(t, d.Apply(t.Context(), c.Batch(d)))
			state.Apply(c)
		}
		switch {
		case i == 3:
			fixture.Must(t, d.Compact(t.Context(), nil, nil))
		case i < len(rounds)-1:
			fixture.Must(t, d.Flush(t.Context()))
		}
	}
	for { // until what was compacted away is gone
		m := d.Metrics()
		if tables, _ := m.Tables(); fixture.IsSwept(t, vfs.OS, dir, tables) && m.Compact.Running == 0 {
			break
		}
		runtime.GC()
	}
	fixture.Must(t, os.CopyFS(filepath.Join(goldenDir, "killed"), os.DirFS(dir)))
	for _, pattern := range []string{"*.wal", "MANIFEST-*"} { // most of the zeros that were prepared
		names, err := filepath.Glob(filepath.Join(goldenDir, "killed", pattern))
		fixture.Must(t, err)
		for _, name := range names {
			data, err := os.ReadFile(name)
			fixture.Must(t, err)
			fixture.Must(t, os.Truncate(name, min(int64(len(data)), int64(len(bytes.TrimRight(data, "\x00"))+1000))))
		}
	}
	fixture.Must(t, d.Close())
	fixture.Must(t, os.CopyFS(filepath.Join(goldenDir, "closed"), os.DirFS(dir)))
	for _, g := range golden {
		fixture.Must(t, os.Remove(filepath.Join(goldenDir, g.name, "LOCK"))) // it names a machine
	}
	var text strings.Builder
	want := state.At(0)
	for _, key := range slices.Sorted(maps.Keys(want)) {
		fmt.Fprintf(&text, "%q %q\n", key, want[key])
	}
	fixture.Must(t, os.WriteFile(goldenContents, []byte(text.String()), 0o644))
}
