package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"

	"lsmdb/db"
)

// terminalDisplay is a display on a pretended terminal of 40 columns, 6 rows.
func terminalDisplay() (*display, *bytes.Buffer) {
	var b bytes.Buffer
	return &display{to: &b, terminal: true, size: func() (int, int) { return 40, 6 }}, &b
}

func TestDisplayRedrawsInPlace(t *testing.T) {
	d, b := terminalDisplay()
	lines := func(l ...string) picture { return func() []string { return l } }
	d.update(lines("one", "two"))
	if got := b.String(); got != "one\x1b[K\ntwo\x1b[K\n\x1b[J" {
		t.Errorf("first picture: %q", got)
	}
	b.Reset()
	d.update(lines("three"))
	if got := b.String(); got != "\x1b[2Athree\x1b[K\n\x1b[J" {
		t.Errorf("second picture: %q", got)
	}
	b.Reset()
	d.clear()
	d.clear()
	if got := b.String(); got != "\x1b[1A\x1b[J" {
		t.Errorf("clear: %q", got)
	}
	b.Reset()
	d.update(lines(strings.Repeat("é", 50), "2", "3", "4", "5", "6", "7"))
	drawn := strings.Split(b.String(), "\n")
	if len(drawn) != 6 || utf8.RuneCountInString(text.StripEscape(drawn[0])) != 39 {
		t.Errorf("a picture larger than the screen: %q", drawn)
	}
}

func TestDisplayIsSlow(t *testing.T) {
	d, b := terminalDisplay()
	d.every = time.Hour
	d.update(func() []string { return []string{"first"} })
	d.update(func() []string { t.Error("painted too early"); return nil })
	if !strings.Contains(b.String(), "first") {
		t.Errorf("got %q", b.String())
	}
	// A log gets no picture at once: short work leaves no trace in it.
	var log bytes.Buffer
	(&console{err: &log}).newDisplay().update(func() []string { t.Error("painted at once"); return nil })
	plain := &display{to: &log}
	plain.update(func() []string { return []string{"  a line", "a picture"} })
	if log.String() != "a line\n" {
		t.Errorf("a log got %q", log.String())
	}
	silent := (&console{err: &log, json: true}).newDisplay()
	silent.every = 0
	silent.update(func() []string { t.Error("painted for a machine"); return nil })
}

func TestDisplayDuring(t *testing.T) {
	d, b := terminalDisplay()
	failed := errors.New("failed")
	painted := make(chan struct{}, 100)
	err := d.during(context.Background(), func() []string { painted <- struct{}{}; return []string{"working"} }, func(context.Context) error {
		<-painted
		return failed
	})
	if err != failed || !strings.Contains(b.String(), "working") || !strings.HasSuffix(b.String(), "\x1b[1A\x1b[J") {
		t.Errorf("got %v, %q", err, b.String())
	}
}

func TestProgressLine(t *testing.T) {
	now := time.Now()
	wide := &display{terminal: true, size: func() (int, int) { return 100, 24 }}
	narrow := &display{terminal: true, size: func() (int, int) { return 40, 24 }}
	log := &display{}
	for _, c := range []struct {
		name  string
		d     *display
		p     progress
		parts []string
	}{
		{"bytes", wide, progress{verb: "loading", done: 50e6, total: 100e6, detail: "7 entries", since: now.Add(-2 * time.Second)},
			[]string{"loading", "███", "···", "50 %", "50.0 MB of 100 MB", "7 entries", "/s", "2 s left"}},
		{"items", wide, progress{verb: "changing", done: 1, total: 4, items: "files", since: now}, []string{"changing", "25 %", "1 of 4 files"}},
		{"unknown total", wide, progress{verb: "loading", done: 5e6, since: now.Add(-time.Second)}, []string{"loading", "5.00 MB", "MB/s"}},
		{"nothing to do", wide, progress{verb: "loading", total: 0, since: now}, []string{"loading", "0 B"}},
		{"narrow", narrow, progress{verb: "loading", done: 5, total: 10, since: now}, []string{"loading  ████····", "50 %"}},
		{"log", log, progress{verb: "loading", done: 5, total: 10, since: now}, []string{"loading  50 %  5 B of 10 B"}},
	} {
		line := c.d.progressLine(c.p)
		rest := line
		for _, part := range c.parts {
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Errorf("%s: %q lacks %q", c.name, line, part)
				break
			}
			rest = after
		}
	}
	if line := wide.progressLine(progress{verb: "loading", done: 5, total: 1000, since: now}); utf8.RuneCountInString(line) > 100 {
		t.Errorf("%d columns: %q", utf8.RuneCountInString(line), line)
	}
}

// fullMetrics has something everywhere.
func fullMetrics() *db.Metrics {
	m := &db.Metrics{Uptime: 10 * time.Second}
	for i := range db.NumLevels {
		m.Levels = append(m.Levels, db.LevelMetrics{Level: i})
	}
	m.Levels[0] = db.LevelMetrics{Level: 0, Tables: 3, Bytes: 3e6, Entries: 1000}
	m.Levels[5] = db.LevelMetrics{Level: 5, Tables: 1, Bytes: 1e6, Entries: 1}
	m.Levels[6] = db.LevelMetrics{Level: 6, Tables: 12, Bytes: 123e6, Entries: 10_000_000, Deletes: 7}
	for i, name := range []string{"writer", "flusher", "keeper", "compactor", "sweeper"} {
		m.Stages = append(m.Stages, db.StageMetrics{Name: name, Depth: i, Capacity: 1 << i, Messages: 1234567, Blocked: time.Minute, Busy: 4 * time.Second})
	}
	m.Compact.Time = 3 * time.Second
	m.Memtable = db.MemtableMetrics{ActiveBytes: 4e6, ActiveCount: 100_000, Sealed: 2, SealedBytes: 8e6}
	return m
}

// The pictures fit a terminal of 80 columns and name every stage and populated level.
func TestPipelinePicture(t *testing.T) {
	m := fullMetrics()
	lines := pipelineLines(ink{}, m)
	picture := strings.Join(lines, "\n")
	contains(t, picture, "writer", "flusher", "keeper", "compactor", "70 %", "sweeper", "memtables", "12.0 MB", "2 sealed", "level 0", "3 tables", "level 5", "1 table, 1 entry", "level 6", "123 MB")
	for _, absent := range []string{"level 1", "level 4"} {
		if strings.Contains(picture, absent) {
			t.Errorf("%s is empty and above all data, and in the picture:\n%s", absent, picture)
		}
	}
	lines = append(lines, strings.Split(treeTable(ink{}, m)+"\n"+stageTable(ink{}, m)+"\n"+tourPreface, "\n")...)
	for _, caption := range captions {
		lines = append(lines, "  "+caption)
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > 79 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		fraction float64
		want     string
	}{
		{0, "····"}, {1, "████"}, {2, "████"}, {-1, "····"}, {0.5, "██··"}, {0.53, "██▏·"}, {0.97, "███▉"},
	} {
		if got := (ink{}).bar(c.fraction, 4); got != c.want {
			t.Errorf("%v: %q, want %q", c.fraction, got, c.want)
		}
	}
}

func TestColours(t *testing.T) {
	if got := (ink{}).bad("x"); got != "x" {
		t.Errorf("without colours: %q", got)
	}
	if got := (ink{on: true}).bad("x"); got == "x" || text.StripEscape(got) != "x" {
		t.Errorf("with colours: %q", got)
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	onTerminal := &console{outTerminal: true, errTerminal: true}
	if !onTerminal.outInk().on || !onTerminal.errInk().on || (&console{}).outInk().on {
		t.Error("colours belong on a terminal, and only there")
	}
	t.Setenv("NO_COLOR", "1")
	if onTerminal.outInk().on || onTerminal.errInk().on {
		t.Error("NO_COLOR is not heeded")
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if onTerminal.outInk().on {
		t.Error("a dumb terminal has no colours")
	}
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

// On a terminal, long commands show their picture and take it away again.
func TestCommandsOnTerminal(t *testing.T) {
	t.Setenv(runAsCommand, "yes")
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	root, _ := smallTree(t)
	dir := filepath.Join(t.TempDir(), "db")
	var input strings.Builder
	for i := range loadBatchEntries + 1 {
		fmt.Fprintf(&input, "key%d\tvalue\n", i)
	}
	for _, c := range []struct {
		args  []string
		out   []string
		shown []string
	}{
		{[]string{"load", dir}, []string{"loaded 2,001 entries"}, []string{"loading", "mailbox", "writer", "memtables", "level 0"}},
		{[]string{"dump", dir, filepath.Join(root, "dump")}, nil, []string{"dumping", "1,024 entries", "dumped 2,001 entries"}},
		{[]string{"compact", dir}, []string{"compacted in"}, []string{"compacting", "compactor", "memtables"}},
		{[]string{"verify", dir}, []string{"sound"}, []string{"verifying", "%", ".sst"}},
		{[]string{"tour", "--source", root}, []string{"✓", "killed after", "Every file was checked"},
			[]string{"loading", captions["loading"], "writer", "recovering", captions["checking"], captions["finishing"], captions["changing"],
				"compacting", captions["verifying"], captions["measuring"], "verifying"}},
	} {
		var out, errOut bytes.Buffer
		console := &console{in: strings.NewReader(input.String()), out: &out, err: &errOut, outTerminal: true, errTerminal: true}
		if code := run(t.Context(), c.args, console); code != exitOK {
			t.Fatalf("%q: exit code %d, %s", c.args, code, errOut.String())
		}
		contains(t, escapes.ReplaceAllString(out.String(), ""), c.out...)
		contains(t, escapes.ReplaceAllString(errOut.String(), ""), c.shown...)
		if drawn, cleared := strings.Count(errOut.String(), "\x1b[K"), strings.Count(errOut.String(), "\x1b[J"); drawn == 0 || cleared < 2 {
			t.Errorf("%q: %d lines drawn, cleared %d times", c.args, drawn, cleared)
		}
	}
}
