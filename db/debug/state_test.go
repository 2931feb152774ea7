package debug

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lsmdb/compactor"
	"lsmdb/db"
	"lsmdb/internal/inside"
	"lsmdb/manifest"
	"lsmdb/stages"
)

// samples are two that lie a second apart. change makes the second differ.
func samples(change func(*sample)) (before, now *sample) {
	made := func() *sample {
		m := db.Metrics{Levels: make([]db.LevelMetrics, db.NumLevels)}
		for _, name := range roles {
			m.Stages = append(m.Stages, db.StageMetrics{Name: name, Capacity: 8})
		}
		return &sample{at: time.Unix(1000, 0), metrics: m, inside: inside.Picture{
			Version: &manifest.Version{}, Policy: compactor.NewPolicy(1 << 20), MemtableBytes: 1 << 20, Workers: 2}}
	}
	before, now = made(), made()
	now.at = now.at.Add(time.Second)
	change(now)
	return before, now
}

// merge is a job that takes tables of a level down.
func merge(from, to int) stages.Running {
	return stages.Running{Compaction: &compactor.Job{Level: from, OutputLevel: to, Reason: compactor.ReasonL0}, Entries: 100, Read: 25, Since: time.Unix(1000, 0)}
}

// What the page says first.
func TestHeadline(t *testing.T) {
	for _, c := range []struct {
		name, says string
		tone       tone
		change     func(*sample)
	}{
		{"idle", "Nobody writes or reads, and there is nothing left to tidy up.", calm, func(*sample) {}},
		{"writes", "Nobody waits: 1,240 writes a second go straight through.", calm, func(s *sample) { s.metrics.Writes.Commits = 1240 }},
		{"merge beside writes", "Nobody waits: 5 writes a second go straight through. In the background, 1 worker merges level 0.", calm, func(s *sample) {
			s.metrics.Writes.Commits = 5
			s.inside.Running = []stages.Running{{Entries: 10}, merge(0, 5)}
		}},
		{"reads", "Nobody writes. Readers look at 200 blocks a second, 75 % of them in the cache.", calm, func(s *sample) {
			s.metrics.Cache.Hits, s.metrics.Reads.BlocksRead = 150, 50
		}},
		{"idle house", "Nobody writes. In the background, 2 workers are busy with deeper levels.", calm, func(s *sample) {
			s.inside.Running = []stages.Running{merge(5, 6), merge(4, 5)}
		}},
		{"wait for merges", "Writers wait: level 0 has 12 runs, 2 workers merge them.", waiting, func(s *sample) {
			s.metrics.Levels[0].Tables = 12
			s.metrics.Stalls.Behind = "compactor"
			s.inside.Running = []stages.Running{merge(0, 5), merge(0, 5)}
		}},
		{"wait behind others", "Writers wait: level 0 has 24 runs, 1 worker is busy with level 5.", waiting, func(s *sample) {
			s.metrics.Levels[0].Tables = 24
			s.metrics.Stalls.Behind = "compactor"
			s.inside.Running = []stages.Running{merge(5, 6)}
		}},
		{"slowed by merges", "Writers are slowed down: level 0 has 20 runs, 1 of 2 busy workers take on them.", waiting, func(s *sample) {
			s.metrics.Levels[0].Tables = 20
			s.metrics.Stalls = db.StallMetrics{Slowed: 3, SlowedTime: 300 * time.Millisecond, FlushSlowedTime: 200 * time.Millisecond}
			s.inside.Running = []stages.Running{merge(0, 5), merge(5, 6)}
		}},
		{"wait for a flush", "Writers wait: 2 full memtables are still to be written to tables, and the next one is full before that is done.", waiting, func(s *sample) {
			s.metrics.Memtable.Sealed = 2
			s.metrics.Stalls = db.StallMetrics{Count: 1, Time: 700 * time.Millisecond}
		}},
		{"failed", "The database takes no more writes: the disk is gone. Reads go on.", broken, func(s *sample) {
			s.metrics.Failure = "the disk is gone"
			s.metrics.Stalls.Behind = "flusher"
		}},
		{"ill", "The database cannot do its work: no space left.", broken, func(s *sample) { s.health = errors.New("lsmdb: no space left") }},
		{"at rest", "At rest: opened for reading only, so no stage runs. It has 3 tables with 7 entries in 1.00 kB.", resting, func(s *sample) {
			s.inside.ReadOnly = true
			s.metrics.Stages = nil
			s.metrics.Levels[6] = db.LevelMetrics{Tables: 3, Entries: 7, Bytes: 1000}
		}},
	} {
		before, now := samples(c.change)
		s := newState(before, now)
		if s.Headline != c.says || s.Tone != c.tone {
			t.Errorf("%s: %q (%s), want %q", c.name, s.Headline, s.Tone, c.says)
		}
		if explains := strings.Contains(s.Why, "callers wait for the Writer"); explains != (c.tone == waiting) || s.Why == "" {
			t.Errorf("%s: %q", c.name, s.Why)
		}
	}
}

// Who works, and who waits for whom.
func TestStages(t *testing.T) {
	before, now := samples(func(s *sample) {
		s.metrics.Stages[0].Messages, s.metrics.Stages[0].Busy, s.metrics.Stages[0].Blocked = 500, time.Second/4, 3*time.Second
		s.metrics.Stages[0].Depth = 8
		s.metrics.Stalls.Behind = "compactor"
		s.inside.Running = []stages.Running{merge(0, 5)}
	})
	s := newState(before, now)
	writer, flusher, keeper, merging := s.Stages[0], s.Stages[1], s.Stages[2], s.Stages[3]
	if writer.Doing != waits || writer.WaitsFor != "flusher" || writer.Rate != 500 || writer.Busy != 0.25 || writer.Held != 3 || writer.Depth != 8 {
		t.Errorf("the Writer: %+v", writer)
	}
	if flusher.Doing != waits || flusher.WaitsFor != "compactor" || keeper.Doing != rests || merging.Doing != works {
		t.Errorf("the others: %+v", s.Stages[1:])
	}
	if s.Waiting != 1 || s.Workers.Running != 1 || s.Jobs[0].Share != 0.25 || s.Jobs[0].Seconds != 1 || s.Jobs[0].To != 5 {
		t.Errorf("waiting %v, jobs %+v", s.Waiting, s.Jobs)
	}
	first := newState(nil, now)
	if first.Commits != 0 || len(first.Stages) != len(roles) {
		t.Errorf("without a sample before: %+v", first)
	}
}

// A row of the curves has a figure for each column.
func TestRow(t *testing.T) {
	before, now := samples(func(s *sample) {
		s.metrics.Writes.Operations, s.metrics.WAL.Syncs, s.metrics.WAL.SyncTime = 10, 4, 8*time.Millisecond
		s.metrics.Stalls.SlowedTime = time.Second / 2
		s.metrics.Levels[0].Tables = 3
	})
	row := newRow(before, now)
	got := make(map[string]int64)
	for i, name := range columns {
		got[name] = row[i]
	}
	if len(row) != len(columns) || got["operations"] != 10 || got["sync_us"] != 2000 || got["waiting_percent"] != 50 || got["level0"] != 3 || got["seconds"] != 1 {
		t.Errorf("row %v", got)
	}
}

// What Open found, in words.
func TestRecovered(t *testing.T) {
	for want, r := range map[string]db.RecoveryMetrics{
		"created":                 {Created: true},
		"ended with Close":        {CleanClose: true},
		"did not end with Close.": {Segments: 1, Operations: 5, Bytes: 100, TornBytes: 7},
	} {
		if got := recovered(&r); !strings.Contains(got.Sentence, want) {
			t.Errorf("%+v: %q", r, got.Sentence)
		}
	}
	r := recovered(&db.RecoveryMetrics{Segments: 1, Operations: 5, Bytes: 100, TornBytes: 7})
	if len(r.Facts) != 3 || r.Facts[0].Text != "1 log segment, 5 operations, 100 B" || !strings.HasPrefix(r.Facts[1].Text, "7 B") {
		t.Errorf("facts %+v", r.Facts)
	}
}

// Keys as people read and type them.
func TestKeyText(t *testing.T) {
	for _, key := range []string{"", "plain", "with space", `back\slash`, "\x00\x01", "caf\u00e9", "\xff\xfe", "a\nb", `\x41`} {
		if got := string(parseKey(keyText([]byte(key), 0))); got != key {
			t.Errorf("%q is written as %q and read as %q", key, keyText([]byte(key), 0), got)
		}
	}
	for text, key := range map[string]string{`C:\dir`: `C:\dir`, `\x4`: `\x4`, `\xzz`: `\xzz`, `a\`: `a\`, `\x41`: "A"} {
		if got := string(parseKey(text)); got != key {
			t.Errorf("%q is read as %q, want %q", text, got, key)
		}
	}
	if got := keyText([]byte("0123456789abcdefghij"), 10); got != "0123…efghij" {
		t.Errorf("cut to %q", got)
	}
}

// One request at a time has samples of tables read; the next one waits, and may give up.
func TestOneMeasures(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	h := Handler(d).(*handler)
	done, err := h.measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for path, answer := range map[string]func(*http.Request) (any, error){"/pins": h.pins, "/space?prefix=": h.space} {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		if v, err := answer(r); err == nil {
			t.Errorf("%s does not wait: %v", path, v)
		}
	}
	done()
	if _, err := h.pins(httptest.NewRequest(http.MethodGet, "/pins", nil)); err != nil {
		t.Errorf("nobody measures, and yet %v", err)
	}
}
