package top_test

import (
	"strings"
	"testing"
	"time"

	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/top"
	"lsmdb/db"
)

// busy are the metrics of a database that has done everything n times, for n seconds.
func busy(n uint64) *db.Metrics {
	spent := time.Duration(n) * time.Millisecond
	m := &db.Metrics{Uptime: time.Duration(n) * time.Second}
	m.Stages = []db.StageMetrics{{Name: "Writer", Capacity: 64, Messages: 1_003 * n, Blocked: spent, Busy: 500 * spent}}
	m.Writes = db.WriteMetrics{Commits: 1_000_001 * n, Groups: 1_000_002 * n, Operations: 1_000_003 * n, UserBytes: 104e6 * n}
	m.WAL = db.WALMetrics{BytesWritten: 105e6 * n, Syncs: 1_000_006 * n, SyncTime: 1_000_006 * spent}
	m.Reads = db.ReadMetrics{BlocksRead: 1_000_007 * n, BytesRead: 108e6 * n}
	m.Cache, m.Filter = db.CacheMetrics{Hits: 3 * n, Misses: n}, db.FilterMetrics{Checks: 10 * n, Negatives: 9 * n}
	m.Stalls = db.StallMetrics{Count: 1_009 * n, Time: 110 * spent, Slowed: 1_011 * n, SlowedTime: 112 * spent}
	m.Flush = db.JobMetrics{Jobs: n, BytesWritten: 113e6 * n, Time: 114 * spent}
	m.Compact = db.JobMetrics{Jobs: n, BytesRead: 115e6 * n, BytesWritten: 116e6 * n, Time: 117 * spent}
	return m
}

// What happens once per second is shown as that, from the beginning and in each interval.
func TestRates(t *testing.T) {
	first, later := top.Picture(nil, busy(7)), top.Picture(busy(7), busy(8))
	for _, picture := range []string{first, later} {
		commandtest.Contains(t, picture, "process 4194304",
			"1,000,003 operations/s in 1,000,001 commits/s, 104 MB/s", "105 MB/s in 1,000,002 records/s; 1,000,006 syncs/s, 1.00 ms each",
			"1,000,007 blocks/s, 108 MB/s from files", "75 % hits; filters 90 % of", "113 MB/s written, 114 ms each", "115 MB/s read, 116 MB/s written, 117 ms each", "50 %")
		for line := range strings.SplitSeq(picture, "\n") {
			if n := len([]rune(line)); n > 79 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
	}
	commandtest.Contains(t, first, "open for 7.00 s", "stopped 7,063 times, 770 ms; slowed 7,077 times, 784 ms", "7,021")
	commandtest.Contains(t, later, "open for 8.00 s; the last 1.00 s", "stopped 1,009 times, 110 ms; slowed 1,011 times, 112 ms", "1,003")
	// Another process has opened it meanwhile.
	commandtest.Contains(t, top.Picture(busy(8), busy(2)), "2.00 s", "1,000,003 operations/s")
}

// A terminal obeys nothing of what another process says.
func TestForeignWordsAreEscaped(t *testing.T) {
	picture := top.Foreign("the disk\x1b[2J", "main.go\x1b[31m:1")
	if strings.Contains(picture, "\x1b") || !strings.Contains(picture, "the disk") || !strings.Contains(picture, "main.go") {
		t.Errorf("%q", picture)
	}
}
