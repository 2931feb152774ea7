package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lsmdb/bench/corruption"
	"lsmdb/bench/engine"
	"lsmdb/bench/report"
	"lsmdb/bench/workload"
)

// TestMain lets the test binary be its own child process.
func TestMain(m *testing.M) {
	children := map[string]func(io.Reader, io.Writer) error{childName: child, corruptName: corruption.Child, killedName: putAndDie}
	if len(os.Args) == 2 && children[os.Args[1]] != nil {
		if err := children[os.Args[1]](os.Stdin, os.Stdout); err != nil {
			io.WriteString(os.Stderr, err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func smallRunner(t *testing.T, sections ...string) *runner {
	t.Helper()
	r, err := newComparison(settings{rounds: 1, sections: sections, profileDir: t.TempDir(), scale: workload.Scale{
		Entries: 2000, ColdEntries: 2000, ValueBytes: 100, Duration: 10 * time.Millisecond, Cap: time.Second, Rate: 2000,
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.progress.out = io.Discard
	return r
}

// TestCrashIsRecoveredInEveryEngine needs processes of their own: the first one ends
// without closing, the second must find everything.
func TestCrashIsRecoveredInEveryEngine(t *testing.T) {
	r := smallRunner(t, "recovery")
	if err := r.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(r.results) != len(engine.All()) {
		t.Fatalf("%d results of %d engines", len(r.results), len(engine.All()))
	}
	profiles, err := filepath.Glob(filepath.Join(r.profileDir, "lsmdb-recovery-round1.*.pprof"))
	if err != nil || len(profiles) != 2 {
		t.Errorf("profiles: %v, %v", profiles, err)
	}
	var text strings.Builder
	report.WriteTables(&text, report.Rows(r.results, r.engines), r.engines, false)
	for _, want := range []string{"milliseconds (less is better)", "recovery", "pebble", "peak memory"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("tables lack %q:\n%s", want, text.String())
		}
	}
}

func TestEnginesThatCannotAreLeftOut(t *testing.T) {
	r := smallRunner(t, "load-sorted")
	if err := r.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(r.results) != 1 || r.results[0].Engine != "lsmdb" || r.turns() != 1 || r.progress.finished != 1 {
		t.Errorf("%d turns: %+v", r.turns(), r.results)
	}
}

// TestChildrenHaveTheirProcessorsAndTheirLimit looks at what the children saw themselves.
func TestChildrenHaveTheirProcessorsAndTheirLimit(t *testing.T) {
	r, err := newComparison(settings{rounds: 1, engines: []string{"lsmdb"}, sections: []string{"databases-busy"}, processors: []int{1, 3}, scale: workload.Scale{
		Entries: 2000, ColdEntries: 2000, ValueBytes: 100, Duration: 10 * time.Millisecond, Cap: time.Second, Rate: 2000,
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.progress.out = io.Discard
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var seen []int
	for _, result := range r.results {
		if seen = append(seen, result.Processors); result.MemoryLimit != 1<<30 {
			t.Errorf("%s: a limit of %d bytes", result.Workload, result.MemoryLimit)
		}
	}
	if want := []int{1, 1, 3, 3}; !slices.Equal(seen, want) {
		t.Errorf("processors %v, want %v", seen, want)
	}
}

func TestReadmeNamesEverything(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range workload.Sections() {
		names := []string{section.Name}
		for _, act := range section.Acts {
			for _, step := range act.Steps {
				if step.About != "" {
					names = append(names, step.Name)
				}
			}
		}
		for _, name := range names {
			if whole := regexp.MustCompile(`(^|[^a-z0-9-])` + name + `($|[^a-z0-9-])`); !whole.Match(text) {
				t.Errorf("section %s: README.md does not name %s", section.Name, name)
			}
		}
	}
}

func TestFailureOfAChildEndsTheRun(t *testing.T) {
	r := smallRunner(t, "open")
	err := r.act(context.Background(), workload.Request{Engine: "none"})
	if err == nil || !strings.Contains(err.Error(), `no engine "none"`) {
		t.Errorf("error: %v", err)
	}
}

func TestFlagsOutOfRangeAreRefused(t *testing.T) {
	for line, want := range map[string]string{
		"quick --rounds 0":                      "at least 1 round",
		"quick --entries 1":                     "1000 entries",
		"quick --engines x":                     `no engine "x" in this build, which has lsmdb, pebble`,
		"full --sections x":                     `no section "x" here, but fillseq, fillrandom`,
		"quick extra":                           "unknown command",
		"quik":                                  "Did you mean this?\n\tquick",
		"quick --engines bbolt --sections zstd": "none of these engines",
		"quick --rate 0":                        "--rate and --cpu must be at least 1",
		"quick --cpu 2,0":                       "--rate and --cpu must be at least 1",
		"quick --json missing/a":                "no directory for the file missing/a",
		"quick --results a/b":                   `--results: "a/b" is no name`,
		"corruption --results ../b":             `--results: "../b" is no name`,
		"growth --sections fillseq":             `no section "fillseq" here, but size-fill`,
		"growth --sizes 1Q":                     `--sizes: "1Q" is no number from 1000`,
		"growth --sizes 1":                      "3M; several with commas",
		"growth --client-counts 0":              "--client-counts",
		"growth --sizes= --sections size-fill":  "nothing to run",
	} {
		c := newCommand()
		c.SetArgs(strings.Fields(line))
		c.SetOut(io.Discard)
		if err := c.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

func TestGrowthMeasuresEveryPoint(t *testing.T) {
	dir := withResults(t)
	t.Chdir(dir)
	c := newCommand()
	var out strings.Builder
	c.SetOut(&out)
	c.SetArgs([]string{"growth", "--sizes", "2k,1000", "--client-counts", "1,4", "--entries", "1000", "--engines", "lsmdb,goleveldb",
		"--duration", "10ms", "--json", filepath.Join(dir, "growth.json"), "--results", "grown", "--pictures", dir})
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"growth.json":      `"axis": "clients"`,
		"results/grown.md": "## Readrandom by number of clients: operations per second",
		"growth-clients-fillsync-ops_per_second.svg":          "number of clients",
		"growth-entries-fillrandom-written_per_user_byte.svg": "2 k",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, lacks %q", name, err, want)
		}
	}
	if !strings.Contains(out.String(), "fillrandom by number of entries") {
		t.Errorf("tables:\n%s", out.String())
	}
}

// withResults returns a directory that has one for results, as bench/ does.
func withResults(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, resultsDir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestResultsGoWhereTheyAreQuoted(t *testing.T) {
	if path, err := resultsPath("full"); err != nil || path != filepath.Join("results", "full.md") {
		t.Errorf("%q, %v", path, err)
	}
	t.Chdir(t.TempDir())
	if path, err := resultsPath("full"); err == nil || !strings.Contains(err.Error(), "run this in bench/") {
		t.Errorf("elsewhere: %q, %v", path, err)
	}
}

func TestAmounts(t *testing.T) {
	got, err := amounts("--sizes", []string{"3M", "200k", "1_000_000", "1M"}, 1, 1<<40)
	if err != nil || !slices.Equal(got, []int64{200_000, 1_000_000, 3_000_000}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReportFiles(t *testing.T) {
	dir := t.TempDir()
	c := newCommand()
	var out strings.Builder
	c.SetOut(&out)
	c.SetArgs([]string{"quick", "--rounds", "1", "--engines", "lsmdb,goleveldb", "--sections", "fillseq", "--entries", "2000",
		"--json", filepath.Join(dir, "bench.json"), "--pictures", dir})
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file report.File
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Results) != 2 || file.Results[0].Operations != 2000 || len(file.Engines) != 2 {
		t.Errorf("file: %+v", file)
	}
	picture, err := os.ReadFile(filepath.Join(dir, "ops_per_second-writes.svg"))
	if err != nil || !strings.Contains(string(picture), "fillseq") {
		t.Errorf("picture: %v, %d bytes", err, len(picture))
	}

	again, tables := newCommand(), new(strings.Builder)
	again.SetOut(tables)
	again.SetArgs([]string{"show", filepath.Join(dir, "bench.json"), "--pictures", filepath.Join(dir, "again")})
	if err := again.Execute(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(tables.String()) {
		if strings.Contains(line, "fillseq") && !strings.Contains(out.String(), line) {
			t.Errorf("shown again otherwise: %q", line)
		}
	}
	same, err := os.ReadFile(filepath.Join(dir, "again", "ops_per_second-writes.svg"))
	if err != nil || !bytes.Equal(same, picture) || !strings.Contains(tables.String(), "fillseq") {
		t.Errorf("picture again: %v, %d bytes instead of %d", err, len(same), len(picture))
	}
}
