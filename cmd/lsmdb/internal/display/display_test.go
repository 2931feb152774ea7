package display

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"

	"lsmdb/db"
)

// terminalDisplay is a display on a pretended terminal of 40 columns, 6 rows.
func terminalDisplay() (*Display, *bytes.Buffer) {
	var b bytes.Buffer
	return &Display{to: &b, Terminal: true, size: func() (int, int) { return 40, 6 }}, &b
}

func TestDisplayRedrawsInPlace(t *testing.T) {
	d, b := terminalDisplay()
	lines := func(l ...string) Picture { return func() []string { return l } }
	d.Update(lines("one", "two"))
	if got := b.String(); got != "one\x1b[K\ntwo\x1b[K\n\x1b[J" {
		t.Errorf("first picture: %q", got)
	}
	b.Reset()
	d.Update(lines("three"))
	if got := b.String(); got != "\x1b[2Athree\x1b[K\n\x1b[J" {
		t.Errorf("second picture: %q", got)
	}
	b.Reset()
	d.Clear()
	d.Clear()
	if got := b.String(); got != "\x1b[1A\x1b[J" {
		t.Errorf("clear: %q", got)
	}
	b.Reset()
	d.Update(lines(strings.Repeat("é", 50), "2", "3", "4", "5", "6", "7"))
	drawn := strings.Split(b.String(), "\n")
	if len(drawn) != 6 || utf8.RuneCountInString(text.StripEscape(drawn[0])) != 39 {
		t.Errorf("a picture larger than the screen: %q", drawn)
	}
}

func TestDisplayIsSlow(t *testing.T) {
	d, b := terminalDisplay()
	d.every = time.Hour
	d.Update(func() []string { return []string{"first"} })
	d.Update(func() []string { t.Error("painted too early"); return nil })
	if !strings.Contains(b.String(), "first") {
		t.Errorf("got %q", b.String())
	}
	var log bytes.Buffer
	plain := &Display{to: &log}
	plain.Update(func() []string { return []string{"  a line", "a picture"} })
	if log.String() != "a line\n" {
		t.Errorf("a log got %q", log.String())
	}
}

func TestDisplayDuring(t *testing.T) {
	d, b := terminalDisplay()
	failed := errors.New("failed")
	painted := make(chan struct{}, 100)
	err := d.During(context.Background(), func() []string { painted <- struct{}{}; return []string{"working"} }, func(context.Context) error {
		<-painted
		return failed
	})
	if err != failed || !strings.Contains(b.String(), "working") || !strings.HasSuffix(b.String(), "\x1b[1A\x1b[J") {
		t.Errorf("got %v, %q", err, b.String())
	}
}

func TestProgressLine(t *testing.T) {
	now := time.Now()
	wide := &Display{Terminal: true, size: func() (int, int) { return 100, 24 }}
	narrow := &Display{Terminal: true, size: func() (int, int) { return 40, 24 }}
	log := &Display{}
	for _, c := range []struct {
		name  string
		d     *Display
		p     Progress
		parts []string
	}{
		{"bytes", wide, Progress{Verb: "loading", Done: 50e6, Total: 100e6, Detail: "7 entries", Since: now.Add(-2 * time.Second)},
			[]string{"loading", "███", "···", "50 %", "50.0 MB of 100 MB", "7 entries", "/s", "2 s left"}},
		{"items", wide, Progress{Verb: "changing", Done: 1, Total: 4, Items: "files", Since: now}, []string{"changing", "25 %", "1 of 4 files"}},
		{"unknown total", wide, Progress{Verb: "loading", Done: 5e6, Since: now.Add(-time.Second)}, []string{"loading", "5.00 MB", "MB/s"}},
		{"nothing to do", wide, Progress{Verb: "loading", Total: 0, Since: now}, []string{"loading", "0 B"}},
		{"narrow", narrow, Progress{Verb: "loading", Done: 5, Total: 10, Since: now}, []string{"loading  ████····", "50 %"}},
		{"log", log, Progress{Verb: "loading", Done: 5, Total: 10, Since: now}, []string{"loading  50 %  5 B of 10 B"}},
	} {
		line := c.d.ProgressLine(c.p)
		wantInOrder(t, line, c.parts...)
	}
	if line := wide.ProgressLine(Progress{Verb: "loading", Done: 5, Total: 1000, Since: now}); utf8.RuneCountInString(line) > 100 {
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
	for i, name := range []string{"writer", "flusher", "keeper", "compactor", "sweeper", "preparer"} {
		m.Stages = append(m.Stages, db.StageMetrics{Name: name, Depth: i, Capacity: 1 << i, Messages: 1234567, Blocked: time.Minute, Busy: 4 * time.Second})
	}
	m.Compact.Time = 3 * time.Second
	m.Memtable = db.MemtableMetrics{ActiveBytes: 4e6, ActiveCount: 100_000, Sealed: 2, SealedBytes: 8e6}
	return m
}

// More than all of the time is only the compactor's, whose workers count together.
func TestSeveralWorkers(t *testing.T) {
	m := fullMetrics()
	m.Compact.Time = 12 * time.Second
	for _, picture := range []string{strings.Join(PipelineLines(Ink{}, m), "\n"), StageTable(Ink{}, m)} {
		wantInOrder(t, picture, "compactor", "160 %", "merges, several at a time")
	}
}

// The pictures fit a terminal of 80 columns and name every stage and populated level.
func TestPipelinePicture(t *testing.T) {
	m := fullMetrics()
	lines := PipelineLines(Ink{}, m)
	picture := strings.Join(lines, "\n")
	wantInOrder(t, picture, "writer", "flusher", "keeper", "compactor", "70 %", "sweeper", "preparer", "memtables", "12.0 MB", "2 sealed", "level 0", "3 tables", "level 5", "1 table, 1 entry", "level 6", "123 MB")
	for _, absent := range []string{"level 1", "level 4"} {
		if strings.Contains(picture, absent) {
			t.Errorf("%s is empty and above all data, and in the picture:\n%s", absent, picture)
		}
	}
	lines = append(lines, strings.Split(TreeTable(Ink{}, m)+"\n"+StageTable(Ink{}, m), "\n")...)
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
		if got := (Ink{}).Bar(c.fraction, 4); got != c.want {
			t.Errorf("%v: %q, want %q", c.fraction, got, c.want)
		}
	}
}

// wantInOrder checks that a text holds all parts, one behind the other.
func wantInOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Errorf("no %q, or not in its place, in %q", part, text)
			return
		}
		rest = after
	}
}
