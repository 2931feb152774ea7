package compactor

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/ranges"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

var update = flag.Bool("update", false, "rewrite the expected outputs in testdata")

// script is a situation that the picker is put into. Its text form is
//
//	L0 9:a-f#91-99 size=64 entries=10 deletes=1 shadowed=2
//	...                     tables, newest first in level 0; sizes in KiB
//	                        or merges=1 expiring=4 ends=10-20-30: when the first, half of
//	                        all, and the last end; ranges=a-c@95,b-f@99 are range deletes.
//	                        "a-f)" ends before f
//	aside 9                 a table that is set aside
//	snapshot 50             a snapshot; the oldest comes first
//	now 25                  the time from then on
//	start                   pick a job, show it and let it run on
//	range a c through=50    the same for a manual compaction; "-" is an open end; or before=7
//	idle                    pick what is worth it while nobody writes
//	read 3 1000             readers pass that many entries in table 3
//	limit 4                 the limit of level 0
//	inputs 3                as many of level 0 may be in one job
//	apply                   finish all running jobs, inputs merged into one output each
//	show                    the tables of the tree
//	targets
type script struct {
	policy    Policy
	version   *manifest.Version
	running   []*Job
	setAside  map[uint64]error
	snapshots []base.Seq
	nows      []int64 // of the snapshots
	now       int64
	deletes   map[uint64]ranges.List
	next      uint64
	out       strings.Builder
}

// TestScripts runs testdata/*.txt. A file holds cases, each a comment, commands,
// "----", the expected output and an empty line.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { runScriptFile(t, file) })
	}
}

func runScriptFile(t *testing.T, file string) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rewritten []string
	for _, text := range strings.Split(strings.TrimSpace(string(content)), "\n\n") {
		commands, want, _ := strings.Cut(text, "\n----")
		want = strings.TrimPrefix(want, "\n")
		got := runScript(t, commands)
		if got != want && !*update {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s\n", commands, got, want)
		}
		rewritten = append(rewritten, strings.TrimSuffix(commands+"\n----\n"+got, "\n"))
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(rewritten, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func runScript(t *testing.T, commands string) string {
	s := &script{
		policy:   NewPolicy(64 << 10),
		version:  &manifest.Version{},
		setAside: make(map[uint64]error),
		deletes:  make(map[uint64]ranges.List),
		next:     100,
	}
	s.policy.L0Trigger, s.policy.L0Limit, s.policy.BaseBytes, s.policy.TableBytes = 4, 20, 256<<10, 8<<10 // short scripts
	for line := range strings.Lines(commands) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		s.command(t, fields)
	}
	return strings.TrimSuffix(s.out.String(), "\n")
}

func (s *script) command(t *testing.T, fields []string) {
	switch fields[0] {
	case "aside":
		s.setAside[parseNumber(t, fields[1])] = base.ErrCorrupt
	case "snapshot":
		s.snapshots, s.nows = append(s.snapshots, base.Seq(parseNumber(t, fields[1]))), append(s.nows, s.now)
	case "now":
		s.now = int64(parseNumber(t, fields[1]))
	case "awaited":
		fmt.Fprintln(&s.out, "look again at snapshot", Awaited(s.situation()), "or at", NextExpiry(s.version, s.now))
	case "start":
		s.start(t, Pick(s.situation()), true)
	case "range":
		r := Range{Lower: parseBound(fields[1]), Upper: parseBound(fields[2]), Through: base.MaxSeq}
		if len(fields) > 3 {
			if before, ok := strings.CutPrefix(fields[3], "before="); ok {
				r.Before = parseNumber(t, before)
			} else {
				r.Through = base.Seq(parseNumber(t, strings.TrimPrefix(fields[3], "through=")))
			}
		}
		job, done := PickRange(s.situation(), r)
		s.start(t, job, done)
	case "read":
		s.read(parseNumber(t, fields[1]), int64(parseNumber(t, fields[2])))
	case "limit":
		s.policy.L0Limit = int(parseNumber(t, fields[1]))
	case "inputs":
		s.policy.JobInputs = int(parseNumber(t, fields[1]))
	case "idle":
		s.start(t, PickIdle(s.situation()), true)
	case "apply":
		for _, job := range s.running {
			s.finish(t, job)
		}
		s.running = nil
	case "show":
		s.show()
	case "targets":
		s.showTargets()
	default:
		s.addTables(t, fields)
	}
}

func (s *script) situation() Situation {
	return Situation{
		Policy: s.policy, Version: s.version, Running: s.running, SetAside: s.setAside,
		Readers: output.Readers{Snapshots: s.snapshots, Nows: append(slices.Clone(s.nows), s.now)},
		Deletes: Gather(s.version, func(t *manifest.TableMeta) ranges.List { return s.deletes[t.Number] }, nil),
		Share:   letters,
	}
}

// letters is the share of a table between two letters.
func letters(t *manifest.TableMeta, start, end []byte) float64 {
	from, to := t.Smallest[0], t.Largest[0]+1
	return float64(min(to, end[0])-max(from, start[0])) / float64(to-from)
}

func (s *script) read(number uint64, entries int64) {
	for level, tables := range s.version.Levels {
		for _, table := range tables {
			if table.Number == number {
				fmt.Fprintln(&s.out, "time to merge:", s.version.Pass(level, table, entries))
			}
		}
	}
}

// start shows a picked job in full.
func (s *script) start(t *testing.T, job *Job, done bool) {
	if job == nil {
		fmt.Fprintln(&s.out, map[bool]string{true: "nothing to do", false: "wait"}[done])
		return
	}
	fmt.Fprintf(&s.out, "%s, %s-%s, cut at %d KiB", job, job.Lower, job.Upper, job.TableBytes>>10)
	if len(job.Grandparents) > 0 {
		fmt.Fprintf(&s.out, ", grandparents %v", numbers(job.Grandparents))
	}
	fmt.Fprintln(&s.out)
	s.running = append(s.running, job)
	checkJobs(t, s.version, s.running, s.setAside)
}

// finish merges the inputs of a job into one table, without their garbage.
func (s *script) finish(t *testing.T, job *Job) {
	var outputs []*manifest.TableMeta
	if !job.Unread() {
		merged := &manifest.TableMeta{Number: s.next, Summary: sstable.Summary{SmallestSeq: base.MaxSeq}}
		s.next++
		for _, in := range job.tables() {
			merged.SizeBytes += in.SizeBytes
			merged.Entries += in.Entries
			merged.SmallestSeq = min(merged.SmallestSeq, in.SmallestSeq)
			merged.LargestSeq = max(merged.LargestSeq, in.LargestSeq)
		}
		merged.Smallest = base.MakeInternalKey(job.Lower, merged.LargestSeq, base.KindSet)
		merged.Largest = base.MakeInternalKey(job.Upper, merged.SmallestSeq, base.KindSet)
		outputs = append(outputs, merged)
	}
	s.apply(t, job.Edit(outputs))
}

func (s *script) apply(t *testing.T, e *manifest.Edit) {
	v, err := s.version.Apply(e)
	if err != nil {
		t.Fatal(err)
	}
	s.version = v
}

func (s *script) show() {
	for level, tables := range s.version.Levels {
		if len(tables) == 0 {
			continue
		}
		fmt.Fprintf(&s.out, "L%d", level)
		for _, t := range tables {
			fmt.Fprintf(&s.out, " %d:%s-%s(%d)", t.Number, t.Smallest.UserKey(), t.Largest.UserKey(), t.SizeBytes>>10)
		}
		fmt.Fprintln(&s.out)
	}
}

func (s *script) showTargets() {
	targets := s.policy.Targets(s.version)
	fmt.Fprintf(&s.out, "base %d:", targets.Base)
	for level, size := range targets.Bytes {
		if size > 0 {
			fmt.Fprintf(&s.out, " L%d %d KiB", level, size>>10)
		}
	}
	fmt.Fprintln(&s.out)
}

// addTables reads one table: "L0 9:a-f#91-99 size=64 ...".
func (s *script) addTables(t *testing.T, fields []string) {
	level, err := strconv.Atoi(strings.TrimPrefix(fields[0], "L"))
	if err != nil {
		t.Fatalf("unknown command %q", fields[0])
	}
	number, rest, _ := strings.Cut(fields[1], ":")
	keys, seqs, _ := strings.Cut(rest, "#")
	lower, upper, _ := strings.Cut(keys, "-")
	first, last, _ := strings.Cut(seqs, "-")
	meta := &manifest.TableMeta{Number: parseNumber(t, number), Summary: sstable.Summary{
		SizeBytes:   1 << 10,
		SmallestSeq: base.Seq(parseNumber(t, first)),
		LargestSeq:  base.Seq(parseNumber(t, last)),
		Entries:     100,
	}}
	meta.Smallest = base.MakeInternalKey([]byte(lower), meta.LargestSeq, base.KindSet)
	meta.Largest = base.MakeInternalKey([]byte(upper), meta.SmallestSeq, base.KindSet)
	if upper, excluded := strings.CutSuffix(upper, ")"); excluded {
		meta.Largest = base.MakeInternalKey([]byte(upper), base.MaxSeq, base.KindRangeDelete)
	}
	for _, field := range fields[2:] {
		name, value, _ := strings.Cut(field, "=")
		if name == "ends" {
			if _, err := fmt.Sscanf(value, "%d-%d-%d", &meta.EarliestExpiry, &meta.HalfExpiry, &meta.LatestExpiry); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if name == "ranges" {
			s.addRanges(t, meta, value)
			continue
		}
		n := parseNumber(t, value)
		switch name {
		case "merges":
			meta.Merges = n
		case "expiring":
			meta.Expiring = n
		case "size":
			meta.SizeBytes = int64(n) << 10
		case "entries":
			meta.Entries = n
		case "deletes":
			meta.Deletes = n
		case "shadowed":
			meta.Shadowed = n
		default:
			t.Fatalf("unknown field %q", field)
		}
	}
	if meta.Entries == 0 {
		meta.Smallest = base.MakeInternalKey([]byte(lower), meta.LargestSeq, base.KindRangeDelete)
	}
	s.apply(t, &manifest.Edit{Added: []manifest.AddedTable{{Level: level, Meta: meta}}})
}

// addRanges gives a table range deletes: a-c@95,b-f@99.
func (s *script) addRanges(t *testing.T, meta *manifest.TableMeta, text string) {
	var l ranges.List
	for one := range strings.SplitSeq(text, ",") {
		keys, seq, _ := strings.Cut(one, "@")
		start, end, _ := strings.Cut(keys, "-")
		l = ranges.Merge(l, ranges.Of([]byte(start), []byte(end), base.Seq(parseNumber(t, seq))))
	}
	s.deletes[meta.Number] = l
	meta.RangeDeletes = l.Count()
}

func parseNumber(t *testing.T, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// parseBound reads a user key, "-" for an open bound.
func parseBound(s string) []byte {
	if s == "-" {
		return nil
	}
	return []byte(s)
}
