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
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/stages"
)

// The golden databases were written by the version of the formats that their directory
// names. Whatever changes later, they must open and hold what their contents.txt lists. A
// new version of a format gets golden databases of its own, beside these:
//
//	go test ./internal/tests/formats -run TestGolden -golden.update golden-v2
//
// writes those of a version anew; for files that are committed that is never right.
var goldenUpdate = flag.String("golden.update", "", "write the golden databases of testdata in this directory anew")

// goldenVersion are databases of one version.
type goldenVersion struct {
	name    string
	options db.Options
	commits func() (rounds [][]fixture.Commit)
	now     int64 // when they are looked at
	later   int64 // and once more; 0: they know no time
	levels  int   // that are in use
}

const goldenDir = "testdata/golden-v1"

// goldenVersions lists them.
func goldenVersions() []goldenVersion {
	clock := fixture.NewClock()
	return []goldenVersion{{name: "golden-v1", commits: goldenCommits, levels: 3}, {
		name: "golden-v2", commits: wholeCommits, levels: 2, now: clock.UnixNano(), later: clock.UnixNano() + int64(time.Hour),
		options: fixture.Speaking(db.Options{}, clock),
	}}
}

func (g goldenVersion) dir() string { return filepath.Join("testdata", g.name) }

// golden tells how each of them came to its end.
var golden = []struct {
	name  string
	clean bool
}{
	{"killed", false}, // the log is not flushed, its end not marked
	{"closed", true},
}

func TestGolden(t *testing.T) {
	for _, version := range goldenVersions() {
		if *goldenUpdate == version.name {
			version.write(t)
		}
		want := goldenContents(t, filepath.Join(version.dir(), "contents.txt"))
		for _, g := range golden {
			t.Run(version.name+"/"+g.name, func(t *testing.T) {
				dir := filepath.Join(version.dir(), g.name)
				version.checkReadOnly(t, dir, g.clean, want)
				version.checkCopy(t, dir, want)
			})
		}
	}
}

// checkReadOnly reads the committed files where they are and leaves them alone.
func (g goldenVersion) checkReadOnly(t *testing.T, dir string, clean bool, want fixture.View) {
	t.Helper()
	before := fixture.Picture(t, dir)
	options := g.options
	options.ReadOnly = true
	d, err := db.Open(dir, &options)
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
	if levels < g.levels || deletes == 0 || m.Recovery.Operations < 20 || m.Recovery.CleanClose != clean {
		t.Errorf("the files do not cover what they are for: %d levels, %d deletes, %+v", levels, deletes, m.Recovery)
	}
	fixture.Must(t, d.Close())
	if g.later != 0 {
		mustHoldAll(t, dir)
	}
	report, err := db.Verify(t.Context(), dir, nil)
	fixture.Must(t, err)
	if !report.OK() {
		t.Errorf("Verify: %+v", report.Problems)
	}
	if after := fixture.Picture(t, dir); after != before {
		t.Errorf("reading changed the files\n%s\n%s", before, after)
	}
}

// checkCopy goes on working with a copy.
func (g goldenVersion) checkCopy(t *testing.T, from string, want fixture.View) {
	t.Helper()
	dir := t.TempDir()
	fixture.Must(t, os.CopyFS(dir, os.DirFS(from)))
	options := &g.options
	options.MemtableBytes, options.MustExist = 16<<10, true
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
	if g.later == 0 {
		return
	}
	late := fixture.NewClock()
	late.Set(g.later)
	*options = fixture.Speaking(*options, late)
	d, err = db.Open(dir, options)
	fixture.Must(t, err)
	want = goldenContents(t, filepath.Join(g.dir(), "contents-later.txt"))
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
}

// goldenView is what the databases of the first version hold.
func goldenView(t testing.TB) fixture.View {
	return goldenContents(t, filepath.Join(goldenDir, "contents.txt"))
}

// goldenContents reads a list of what golden databases hold: on each line a key and its
// value, quoted as in Go.
func goldenContents(t testing.TB, name string) fixture.View {
	t.Helper()
	text, err := os.ReadFile(name)
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
			t.Fatalf("%s: key %q, then %q", name, pair[0], line)
		}
		v[pair[0]] = pair[1]
	}
	if len(v) < 100 {
		t.Fatalf("%s lists %d keys only", name, len(v))
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

// write makes the databases with the version that runs.
func (g goldenVersion) write(t *testing.T) {
	fixture.Must(t, os.RemoveAll(g.dir()))
	dir, state := t.TempDir(), fixture.State{}
	options := g.options
	options.MemtableBytes = 16 << 10
	d, err := db.Open(dir, fixture.Tuned(nil, func(e *stages.Environment) {
		e.Policy.BaseBytes = 10 << 10 // several levels of very little
	}, options))
	fixture.Must(t, err)
	rounds := g.commits()
	for i, round := range rounds {
		for _, c := range round {
			if len(c) > 0 && c[0].Loaded {
				fixture.Must(t, c.Load(t.Context(), d))
			} else {
				fixture.Must(t, d.Apply(t.Context(), c.Batch(d)))
			}
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
	g.keep(t, d, dir)
	g.list(t, "contents.txt", state.At(g.now))
	if g.later != 0 {
		g.list(t, "contents-later.txt", state.At(g.later))
	}
}

// keep copies the database as a kill leaves it, and then closed.
func (g goldenVersion) keep(t *testing.T, d *db.DB, dir string) {
	killed := filepath.Join(g.dir(), "killed")
	fixture.Must(t, os.CopyFS(killed, os.DirFS(dir)))
	for _, pattern := range []string{"*.wal", "MANIFEST-*"} { // most of the zeros that were prepared
		names, err := filepath.Glob(filepath.Join(killed, pattern))
		fixture.Must(t, err)
		for _, name := range names {
			data, err := os.ReadFile(name)
			fixture.Must(t, err)
			fixture.Must(t, os.Truncate(name, min(int64(len(data)), int64(len(bytes.TrimRight(data, "\x00"))+1000))))
		}
	}
	fixture.Must(t, d.Close())
	fixture.Must(t, os.CopyFS(filepath.Join(g.dir(), "closed"), os.DirFS(dir)))
	for _, ended := range golden {
		fixture.Must(t, os.Remove(filepath.Join(g.dir(), ended.name, "LOCK"))) // it names a machine
	}
}

func (g goldenVersion) list(t *testing.T, name string, want fixture.View) {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(want)) {
		fmt.Fprintf(&text, "%q %q\n", key, want[key])
	}
	fixture.Must(t, os.WriteFile(filepath.Join(g.dir(), name), []byte(text.String()), 0o644))
}
