package debug

import (
	"fmt"
	"strings"
	"time"

	"lsmdb/db"
)

// tone is how serious a headline is.
type tone string

const (
	calm    tone = "calm"    // nobody waits
	waiting tone = "waiting" // writers do
	broken  tone = "broken"  // writes are refused
	resting tone = "resting" // the database is open for reading only
	ended   tone = "ended"   // it is closed
)

// headline says in a sentence what is going on, the most important thing only.
func headline(s *state, failure string) (string, tone) {
	switch {
	case failure != "":
		return "The database takes no more writes: " + strings.TrimPrefix(failure, "lsmdb: ") + ". Reads go on.", broken
	case s.Health != "":
		return "The database cannot do its work: " + strings.TrimPrefix(s.Health, "lsmdb: ") + ".", broken
	case s.ReadOnly:
		return fmt.Sprintf("At rest: opened for reading only, so no stage runs. It has %s with %s in %s.",
			plural(s.Tree.Tables, "table", "tables"), plural(s.Tree.Entries, "entry", "entries"), size(s.Tree.Bytes)), resting
	case s.Behind == "compactor":
		return fmt.Sprintf("%s: level 0 has %s, %s.", held(s), plural(s.Level0.Runs, "run", "runs"), merging(s, "them")), waiting
	case s.Behind != "":
		return fmt.Sprintf("%s: %s still to be written to tables, and the next one is full before that is done.",
			held(s), are(s.Memtable.Sealed, "full memtable", "full memtables")), waiting
	}
	now := "Nobody writes"
	switch {
	case s.Commits >= 1:
		now = "Nobody waits: " + plural(s.Commits, "write", "writes") + " a second go straight through"
	case s.reads.cached+s.reads.fromFiles >= 1:
		blocks := s.reads.cached + s.reads.fromFiles
		now = fmt.Sprintf("Nobody writes. Readers look at %s a second, %.0f %% of them in the cache",
			plural(blocks, "block", "blocks"), 100*s.reads.cached/blocks)
	}
	switch {
	case s.Workers.Running > 0:
		return now + ". In the background, " + merging(s, "level 0") + ".", calm
	case s.Commits < 1 && s.reads.cached+s.reads.fromFiles < 1:
		return "Nobody writes or reads, and there is nothing left to tidy up.", calm
	}
	return now + ".", calm
}

// why explains a headline to somebody who sees such a database for the first time.
func why(s *state) string {
	switch {
	case s.Tone == ended:
		return "The page asks now and then whether it is open again."
	case s.Tone == broken && s.Health == "":
		return "What was acknowledged can be read, and is there after the next Open. Until then nothing is written."
	case s.Tone == broken:
		return "What was acknowledged can be read. Writes, flushes and merges go on by themselves where a shortage has passed."
	case s.Tone == resting:
		return "Nothing changes here. The tree, single keys and the space that they take can be looked at."
	case s.Behind == "compactor":
		return fmt.Sprintf("A read may have to ask every table of level 0, so there may only be %d. Until a merge takes some of them down, "+
			"the Flusher adds tables slowly or not at all, the Writer cannot hand on full memtables, and callers wait for the Writer.", s.Level0.Limit)
	case s.Behind != "":
		return "Only a few memtables may lie in memory. Until the Flusher has written one of them to a table, the Writer cannot begin another, and callers wait for the Writer."
	case s.Commits >= 1:
		return "A write is in the log and in the memtable when its caller hears of it. All that the others do comes later, and nobody waits for it as long as they keep up."
	}
	return "Readers wait for no stage. They look at memtables, and at tables, which never change once they are written."
}

// held says how much writers are held back.
func held(s *state) string {
	if s.Waiting >= 0.5 {
		return "Writers wait"
	}
	return "Writers are slowed down"
}

// merging says who merges what. runs is what the sentence calls those of level 0.
func merging(s *state, runs string) string {
	deepest, level0 := 0, 0
	for _, j := range s.Jobs {
		if j.Kind != "merge" {
			continue
		}
		deepest = max(deepest, j.From)
		if j.From == 0 {
			level0++
		}
	}
	switch n := s.Workers.Running; {
	case n == 0:
		return "and their merge is about to begin"
	case level0 == n && n == 1:
		return "1 worker merges " + runs
	case level0 == n:
		return fmt.Sprintf("%d workers merge %s", n, runs)
	case level0 > 0:
		return fmt.Sprintf("%d of %d busy workers take on %s", level0, n, runs)
	case n == 1:
		return fmt.Sprintf("1 worker is busy with level %d", deepest)
	default:
		return fmt.Sprintf("%d workers are busy with deeper levels", n)
	}
}

// are is a count with its noun and its verb.
func are(n int, one, many string) string {
	if n == 1 {
		return "1 " + one + " is"
	}
	return fmt.Sprintf("%d %s are", n, many)
}

// recoveryState is what Open found.
type recoveryState struct {
	Sentence string `json:"sentence"`
	Facts    []fact `json:"facts,omitempty"`
}

func recovered(r *db.RecoveryMetrics) recoveryState {
	s := recoveryState{Sentence: "The last use did not end with Close. What was acknowledged was found in the log and is here."}
	switch {
	case r.Created:
		return recoveryState{Sentence: "There was no database before: it was created."}
	case r.CleanClose:
		s.Sentence = "The last use ended with Close. There was nothing to recover."
	}
	add := func(name string, is bool, text string) {
		if is {
			s.Facts = append(s.Facts, fact{name, text})
		}
	}
	add("replayed", r.Segments > 0, fmt.Sprintf("%s, %s, %s", plural(r.Segments, "log segment", "log segments"),
		plural(r.Operations, "operation", "operations"), size(r.Bytes)))
	add("cut off", r.TornBytes > 0, size(r.TornBytes)+" of a write that was not finished, and never acknowledged")
	add("made of that", r.TablesWritten > 0, plural(r.TablesWritten, "table", "tables"))
	add("removed", r.FilesRemoved > 0, plural(r.FilesRemoved, "file", "files")+" that nothing listed any more")
	add("took", true, r.Time.Round(10*time.Microsecond).String())
	return s
}

// facts are figures since Open that have no curve.
func facts(m *db.Metrics) []fact {
	list := []fact{
		{"written by callers", fmt.Sprintf("%s in %s", plural(m.Writes.Operations, "operation", "operations"), size(m.Writes.UserBytes))},
		{"written to the disk for each byte of these", fmt.Sprintf("%.1f bytes", m.WriteAmplification())},
		{"runs that a read may have to look into", count(m.ReadAmplification())},
		{"log", fmt.Sprintf("segment %d, %s; %s", m.WAL.Segment, size(m.WAL.OffsetBytes), plural(m.WAL.Syncs, "sync", "syncs"))},
		{"flushes", fmt.Sprintf("%s, %s written", count(m.Flush.Jobs), size(m.Flush.BytesWritten))},
		{"merges", fmt.Sprintf("%s, %s read, %s written", count(m.Compact.Jobs), size(m.Compact.BytesRead), size(m.Compact.BytesWritten))},
		{"tables moved down or dropped unread", count(m.Compact.Moves + m.Compact.Drops)},
		{"cache", fmt.Sprintf("%s of %s, %s", size(m.Cache.Used), size(m.Cache.Capacity), hits(&m.Cache))},
		{"filters", fmt.Sprintf("asked %s times, spared %s reads", count(m.Filter.Checks), count(m.Filter.Negatives))},
		{"files open", count(m.Files.OpenTables)},
		{"files deleted, and waiting for it", fmt.Sprintf("%s, %s", count(m.Files.ObsoleteDeleted), count(m.Files.ObsoletePending))},
		{"writers held back", fmt.Sprintf("%s times, %s", count(m.Stalls.Count+m.Stalls.Slowed), (m.Stalls.Time + m.Stalls.SlowedTime).Round(time.Millisecond))},
	}
	if t := m.Transaction; t.Begun > 0 {
		list = append(list, fact{"transactions", fmt.Sprintf("%s committed, %s in conflict, %d open", count(t.Committed), count(t.Conflicted), t.Open)})
	}
	return list
}

func hits(c *db.CacheMetrics) string {
	if c.Hits+c.Misses == 0 {
		return "not asked yet"
	}
	return fmt.Sprintf("%.1f %% found", 100*float64(c.Hits)/float64(c.Hits+c.Misses))
}
