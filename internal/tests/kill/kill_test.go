//go:build unix

// Package kill kills processes that work on real directories. It consists of tests.
package kill

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// The figure in docs/reliability.md was taken with
//
//	go test ./internal/tests/kill -run TestKill9 -v -kill.count 1000 -timeout 30m
var (
	kills    = flag.Int("kill.count", 25, "how many processes TestKill9 kills")
	killSeed = flag.Uint64("kill.seed", 1, "what they write, and when they are killed")
)

// killVariable makes the test binary a process that writes until it is killed. It
// holds the directory, the seed and the number of the process.
const killVariable = "LSMDB_KILL_TEST_CHILD"

// killWindow bounds the commits that are on their way at the same time.
const killWindow = 48

// mostQueued is more than are Queued in a row, as they draw.
const mostQueued = 40

// killOptions are those of all processes, for which time stands still.
func killOptions() db.Options {
	return fixture.Speaking(db.Options{MemtableBytes: 16 << 10}, fixture.NewClock())
}

// killCommits draws what process number n writes; parent and child draw the same.
func killCommits(seed, n uint64) func() (fixture.Commit, db.Durability) {
	rng := rand.New(rand.NewPCG(seed, n))
	count := 0
	return func() (fixture.Commit, db.Durability) {
		size := 1
		if rng.IntN(4) == 0 {
			size = 2 + rng.IntN(12)
		}
		var c fixture.Commit
		for range size {
			count++
			key := rng.IntN(400)
			o := fixture.Operation{Key: fmt.Sprintf("key%03d", key), Delete: rng.IntN(5) == 0}
			if !o.Delete {
				o.Value = fmt.Sprintf("process %d, operation %d %s", n, count, strings.Repeat("v", rng.IntN(10)*rng.IntN(100)))
			}
			c = append(c, fixture.Varied(rng, o, fmt.Sprintf("key%03d", key+1+rng.IntN(20)), fixture.Epoch.UnixNano()))
		}
		return c, []db.Durability{db.Sync, db.Sync, db.NoSync, db.Queued}[rng.IntN(4)] // which share syncs
	}
}

// TestKill9Child is the child. It says when it has opened the database, and the number
// of commits that are acknowledged whenever that grows.
func TestKill9Child(t *testing.T) {
	variable := os.Getenv(killVariable)
	if variable == "" {
		t.Skip("the process that TestKill9 kills")
	}
	var seed, n uint64
	var dir string
	if _, err := fmt.Sscanf(variable, "%d %d %q", &seed, &n, &dir); err != nil {
		t.Fatal(err)
	}
	fmt.Println("opening")
	options := killOptions()
	d, err := db.Open(dir, &options)
	fixture.Must(t, err)
	fmt.Println("opened")
	next := killCommits(seed, n)
	waiting := make(chan *db.Pending, killWindow)
	var all sync.WaitGroup
	all.Go(func() {
		for acknowledged := 1; ; acknowledged++ {
			if pending := <-waiting; pending != nil {
				fixture.Must(t, pending.Wait(t.Context()))
				fmt.Println(acknowledged)
			}
		}
	})
	for i := 0; ; i++ {
		c, durability := next()
		var pending *db.Pending
		if durability == db.Queued { // it is acknowledged at once, but survives no sooner than those behind it
			err = d.Apply(t.Context(), c.Batch(d), durability)
		} else {
			pending, err = d.Submit(t.Context(), c.Batch(d), durability)
		}
		fixture.Must(t, err)
		waiting <- pending
		if i%97 == 96 {
			all.Go(func() { fixture.Must(t, d.Compact(t.Context(), []byte("key100"), []byte("key300"))) })
		}
	}
}

// killed is such a process.
type killed struct {
	*exec.Cmd
	lines *bufio.Reader
}

func startKilled(t *testing.T, dir string, seed, n uint64) *killed {
	t.Helper()
	c := &killed{Cmd: exec.Command(os.Args[0], "-test.run=^TestKill9Child$")}
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %q", killVariable, seed, n, dir))
	c.Stderr = os.Stderr
	output, err := c.StdoutPipe()
	fixture.Must(t, err)
	fixture.Must(t, c.Start())
	c.lines = bufio.NewReader(output)
	return c
}

// line reads the next line; false at the end, where a line without end counts for
// nothing: it may be cut.
func (c *killed) line() (text string, ok bool) {
	text, err := c.lines.ReadString('\n')
	return strings.TrimSuffix(text, "\n"), err == nil
}

// await reads up to a line.
func (c *killed) await(t *testing.T, want string) {
	t.Helper()
	c.awaitOne(t, want, func(text string) bool { return text == want })
}

// awaitCommits reads until at least so many are acknowledged, and returns how many are.
func (c *killed) awaitCommits(t *testing.T, least int) (acknowledged int) {
	t.Helper()
	c.awaitOne(t, fmt.Sprint("at least ", least), func(text string) bool {
		n, err := strconv.Atoi(text)
		acknowledged = n
		return err == nil && n >= least
	})
	return acknowledged
}

func (c *killed) awaitOne(t *testing.T, what string, found func(text string) bool) {
	t.Helper()
	for {
		if text, ok := c.line(); !ok {
			t.Fatalf("the process ended before it said %q: %v", what, c.Wait())
		} else if found(text) {
			return
		}
	}
}

// kill ends the process and returns the last number of acknowledged commits that it
// reported since await.
func (c *killed) kill(t *testing.T) (acknowledged int) {
	t.Helper()
	fixture.Must(t, c.Process.Kill())
	for text, ok := c.line(); ok; text, ok = c.line() {
		if n, err := strconv.Atoi(text); err == nil {
			acknowledged = n
		} else if text != "opened" {
			t.Errorf("the process said %q", text)
		}
	}
	err := c.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the process ended by itself: %v", err)
	}
	return acknowledged
}

// TestKill9 kills processes with SIGKILL, at random, while they open, write, flush and
// compact one and the same database. After each, the database holds the commits in the
// order in which they were issued, up to some commit, each whole, and at least all
// that were acknowledged: synced or not, for the machine did not fail. Sometimes the
// next process has to recover by itself what the one before left.
func TestKill9(t *testing.T) {
	dir, seed := filepath.Join(t.TempDir(), "db"), *killSeed
	rng := rand.New(rand.NewPCG(seed, 1<<32))
	h := fixture.History{Now: fixture.State{}, Start: fixture.State{}}
	began := time.Now()
	var tally killTally
	for n := range uint64(*kills) {
		c := startKilled(t, dir, seed, n)
		c.await(t, "opening")
		certain := rng.IntN(200)
		if rng.IntN(3) == 0 {
			certain = 0 // killed while it opens, mostly
		} else {
			certain = c.awaitCommits(t, certain+1)
		}
		time.Sleep(time.Duration(rng.Float64() * rng.Float64() * float64(30*time.Millisecond)))
		certain = max(certain, c.kill(t))
		next := killCommits(seed, n)
		// One more than the window is in Wait, one in Submit; and of what is Queued nothing is said.
		for range certain + killWindow + 2 + mostQueued {
			commit, durability := next()
			h.Add(commit, durability)
		}
		tally.kills++
		tally.acknowledged += certain
		checkKilled(t, dir, &h, certain, n%3 == 0, &tally)
		if t.Failed() {
			t.Fatalf("after process %d of seed %d; %d commits were acknowledged", n, seed, certain)
		}
	}
	t.Logf("%+v in %s", tally, time.Since(began).Round(time.Millisecond))
	if tally.kills >= 20 && (tally.replayed == 0 || tally.beforeFirst == 0 || tally.beyond == 0 || tally.kills >= 500 && tally.segments < 2) {
		t.Error("something that this test is for never happened")
	}
}

// killTally counts what was seen.
type killTally struct {
	kills, acknowledged int
	beyond              uint64 // operations found that nobody had acknowledged
	replayed            uint64 // operations found in logs
	segments            int    // most segments of a log that were replayed at once
	beforeFirst         int    // kills before anything was acknowledged
	torn                int    // logs with an unfinished end
}

// checkKilled opens the database and compares. h becomes what is there.
func checkKilled(t *testing.T, dir string, h *fixture.History, certain int, readOnly bool, tally *killTally) {
	t.Helper()
	options := killOptions()
	options.ReadOnly = readOnly
	d, err := db.Open(dir, &options)
	if readOnly && h.StartAt == 0 && certain == 0 && err != nil {
		h.Commits = nil
		return // killed before it had made the database
	}
	fixture.Must(t, err)
	m := d.Metrics()
	promised := h.SequenceAfter(certain)
	if err := h.ReopenedAt(fixture.Epoch.UnixNano(), certain, m.Sequence, fixture.Contents(t, d)); err != nil {
		t.Error(err)
	}
	fixture.Must(t, d.Close())
	tally.beyond += max(m.Sequence, promised) - promised
	tally.replayed += m.Recovery.Operations
	tally.segments = max(tally.segments, m.Recovery.Segments)
	if certain == 0 {
		tally.beforeFirst++
	}
	if m.Recovery.TornBytes > 0 {
		tally.torn++
	}
	if !readOnly {
		return
	}
	report, err := db.Verify(t.Context(), dir, nil)
	fixture.Must(t, err)
	if !report.OK() {
		t.Errorf("Verify: %+v", report.Problems)
	}
}

// TestTwoProcesses opens a database that another process has open: refused by that
// one's number, also for reading and for Verify, until it is killed.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	c := startKilled(t, dir, 1, 1)
	c.await(t, "opened")
	_, writing := db.Open(dir, nil)
	_, reading := db.Open(dir, &db.Options{ReadOnly: true})
	_, verifying := db.Verify(t.Context(), dir, nil)
	for what, err := range map[string]error{"writing": writing, "reading": reading, "verifying": verifying} {
		fixture.WantErr(t, what, err, db.ErrLocked)
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("pid %d,", c.Process.Pid)) {
			t.Errorf("%s: %v does not name process %d", what, err, c.Process.Pid)
		}
	}
	c.awaitCommits(t, 50)
	certain := max(50, c.kill(t))
	d, err := db.Open(dir, nil)
	fixture.Must(t, err)
	if d.Metrics().Sequence < uint64(certain) {
		t.Errorf("%d commits were acknowledged, sequence number %d is there", certain, d.Metrics().Sequence)
	}
	fixture.Must(t, d.Close())
}
