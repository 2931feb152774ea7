package top

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
	"lsmdb/internal/beside"
)

// sample is what one look has found.
type sample struct {
	Time    time.Time  `json:"time"`
	Health  string     `json:"health"` // "" if all is well
	Metrics db.Metrics `json:"metrics"`
	Pins    []db.Pin   `json:"pins"`
}

// look takes a sample.
func look(ctx context.Context, database beside.Reader) (*sample, error) {
	s := &sample{Time: time.Now()}
	var err error
	if s.Metrics, err = database.Metrics(ctx); err != nil {
		return nil, err
	}
	if s.Health, err = database.Health(ctx); err != nil {
		return nil, err
	}
	s.Pins, err = database.Pins(ctx)
	return s, err
}

// since returns the metrics with what happened after an earlier look, as if the database had
// been opened then. Nothing that the picture does not show is taken care of.
func since(before *sample, m db.Metrics) db.Metrics {
	if before == nil || before.Metrics.Uptime > m.Uptime { // another process has opened it
		return m
	}
	b := &before.Metrics
	m.Uptime -= b.Uptime
	m.Stages = append([]db.StageMetrics(nil), m.Stages...)
	for i := range min(len(m.Stages), len(b.Stages)) {
		m.Stages[i].Messages -= b.Stages[i].Messages
		m.Stages[i].Blocked -= b.Stages[i].Blocked
		m.Stages[i].Busy -= b.Stages[i].Busy
	}
	m.Writes.Operations -= b.Writes.Operations
	m.Writes.Commits -= b.Writes.Commits
	m.Writes.Groups -= b.Writes.Groups
	m.Writes.UserBytes -= b.Writes.UserBytes
	m.WAL.Syncs -= b.WAL.Syncs
	m.WAL.SyncTime -= b.WAL.SyncTime
	m.WAL.BytesWritten -= b.WAL.BytesWritten
	for _, job := range []struct{ now, before *db.JobMetrics }{{&m.Flush, &b.Flush}, {&m.Compact, &b.Compact}} {
		job.now.Jobs -= job.before.Jobs
		job.now.BytesRead -= job.before.BytesRead
		job.now.BytesWritten -= job.before.BytesWritten
		job.now.Time -= job.before.Time
	}
	m.Stalls.Count -= b.Stalls.Count
	m.Stalls.Time -= b.Stalls.Time
	m.Stalls.Slowed -= b.Stalls.Slowed
	m.Stalls.SlowedTime -= b.Stalls.SlowedTime
	m.Reads.BlocksRead -= b.Reads.BlocksRead
	m.Reads.BytesRead -= b.Reads.BytesRead
	m.Cache.Hits -= b.Cache.Hits
	m.Cache.Misses -= b.Cache.Misses
	m.Filter.Checks -= b.Filter.Checks
	m.Filter.Negatives -= b.Filter.Negatives
	m.Transaction.Committed -= b.Transaction.Committed
	m.Transaction.Conflicted -= b.Transaction.Conflicted
	return m
}

// lines draws a sample.
func (t *top) lines(i display.Ink, now *sample) []string {
	m := since(t.before, now.Metrics)
	lines := []string{t.title(i, now)}
	add := func(name, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("  %-9s %s", name, fmt.Sprintf(format, args...)))
	}
	if wrong := string(text.AppendEscaped(nil, []byte(now.Health))); wrong != "" {
		lines = append(lines, "  "+i.Bad(strings.ReplaceAll(wrong, "lsmdb: ", "")))
	}
	lines = append(lines, "")
	often := func(count uint64, what string) string { return perSecond(count, m.Uptime) + " " + what + "/s" }
	add("writes", "%s in %s, %s", often(m.Writes.Operations, "operations"), often(m.Writes.Commits, "commits"), units.Rate(int64(m.Writes.UserBytes), m.Uptime))
	add("log", "%s in %s; %s, %s each", units.Rate(int64(m.WAL.BytesWritten), m.Uptime), often(m.Writes.Groups, "records"),
		often(m.WAL.Syncs, "syncs"), each(m.WAL.SyncTime, m.WAL.Syncs))
	add("reads", "%s, %s from files", often(m.Reads.BlocksRead, "blocks"), units.Rate(int64(m.Reads.BytesRead), m.Uptime))
	add("spared", "cache %s; filters %s", share(m.Cache.Hits, m.Cache.Hits+m.Cache.Misses, "hits"), share(m.Filter.Negatives, m.Filter.Checks, "of the tables not read"))
	add("stalls", "%s", stalls(i, &m))
	add("flushes", "%d running; %s written, %s each", m.Flush.Running, units.Rate(int64(m.Flush.BytesWritten), m.Uptime), each(m.Flush.Time, m.Flush.Jobs))
	add("merges", "%d running; %s read, %s written, %s each", m.Compact.Running, units.Rate(int64(m.Compact.BytesRead), m.Uptime),
		units.Rate(int64(m.Compact.BytesWritten), m.Uptime), each(m.Compact.Time, m.Compact.Jobs))
	add("memory", "%s", memory(m.Memory))
	lines = append(append(lines, display.PipelineLines(i, &m)...), "")
	return append(lines, pins(i, now.Pins, now.Time)...)
}

// title says whose figures follow, and of what time.
func (t *top) title(i display.Ink, now *sample) string {
	whose := i.Faint("nobody has it open, so nothing happens")
	if t.pid != 0 {
		whose = fmt.Sprintf("process %d, open for %s", t.pid, units.Span(now.Metrics.Uptime.Round(time.Second)))
		if t.before != nil {
			whose += i.Faint(fmt.Sprintf("; the last %s", units.Span(now.Metrics.Uptime-t.before.Metrics.Uptime)))
		}
	}
	return "  " + i.Bold(shortened(t.dir)) + "  " + whose
}

// shortened is the end of a long path.
func shortened(dir string) string {
	const most = 24
	if runes := []rune(dir); len(runes) > most {
		return "…" + string(runes[len(runes)-most+1:])
	}
	return dir
}

// perSecond writes how often something happened.
func perSecond(count uint64, in time.Duration) string {
	if in <= 0 {
		return "0"
	}
	rate := float64(count) / in.Seconds()
	if rate > 0 && rate < 9.95 {
		return fmt.Sprintf("%.1f", rate)
	}
	return units.Count(int64(rate + 0.5))
}

// each writes how long something took on average.
func each(all time.Duration, count uint64) string {
	if count == 0 {
		return "-"
	}
	return units.Span(all / time.Duration(count))
}

// share writes a part of what happened.
func share(part, whole uint64, what string) string {
	if whole == 0 {
		return "unused"
	}
	return units.Percent(int64(part), int64(whole)) + " " + what
}

func stalls(i display.Ink, m *db.Metrics) string {
	said := "none"
	if m.Stalls.Count+m.Stalls.Slowed > 0 {
		said = fmt.Sprintf("stopped %s times, %s; slowed %s times, %s", units.Count(m.Stalls.Count), units.Span(m.Stalls.Time),
			units.Count(m.Stalls.Slowed), units.Span(m.Stalls.SlowedTime))
	}
	if m.Stalls.Behind != "" {
		said += i.Warm("; writers wait for the " + m.Stalls.Behind)
	}
	return said
}

func memory(m db.MemoryMetrics) string {
	said := units.Size(m.Used)
	if m.Limit > 0 {
		said += " of " + units.Size(m.Limit)
	}
	for _, part := range []struct {
		name  string
		bytes int64
	}{{"memtables", m.Memtables + m.Sealed}, {"cache", m.Cache}, {"tables", m.Tables}, {"jobs", m.Jobs}, {"read ahead", m.ReadAhead}, {"garbage", m.Collector}} {
		if part.bytes > 0 {
			said += ", " + part.name + " " + units.Size(part.bytes)
		}
	}
	return said
}

// maxPins is how many pins are listed.
const maxPins = 8

// pins lists what programs have open, the oldest first.
func pins(i display.Ink, list []db.Pin, now time.Time) (lines []string) {
	for n, pin := range list {
		if n == maxPins {
			return append(lines, i.Faint(fmt.Sprintf("  and %d more: lsmdb pins", len(list)-n)))
		}
		lines = append(lines, fmt.Sprintf("  %-11s open for %8s  keeps %8s  %s", pin.Kind, units.Span(now.Sub(pin.Since).Round(time.Second)), units.Size(pin.Bytes), i.Faint(string(text.AppendEscaped(nil, []byte(pin.Where))))))
	}
	return lines
}
