package corruption

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/salvage"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
	"lsmdb/sstable"
)

// salvageEvery sizes TestSalvageSweep. The figures in docs/reliability.md were taken with
//
//	go test ./internal/tests/corruption -run TestSalvageSweep -v -salvage.every 1 -timeout 60m
var salvageEvery = flag.Int("salvage.every", 9, "TestSalvageSweep takes one mutant in so many of those that TestCorruptionSweep would take")

// TestSalvageSweep salvages damaged databases. Whatever is not damaged must be in the new
// database. What is there is what was there once. What is missing, and what is older than it
// was, lies in a loss that is reported.
func TestSalvageSweep(t *testing.T) {
	for what, killed := range map[string]bool{"closed": false, "killed": true} {
		t.Run(what, func(t *testing.T) {
			v := newRescued(t, newVictim(t, killed))
			for part, send := range map[string]func(chan<- mutant){
				"bits": v.bitFlips, "cuts": v.truncations, "blocks": v.blocks, "files": v.wholeFiles, "several": v.several,
			} {
				t.Run(part, func(t *testing.T) { v.sweep(t, part, send) })
			}
		})
	}
}

// rescued is a victim, and what of it must be rescued.
type rescued struct {
	*victim
	had     map[string][]shown // what each key showed, in the order of time
	inTable map[string][]sstable.BlockInfo
	bounds  map[string]sstable.Properties
	logs    map[string][]logged
	merged  []string // keys with operands
}

// shown is what a key showed from a number on.
type shown struct {
	seq   uint64
	value string
	there bool
}

// logged is a record of a log.
type logged struct {
	offset, end int64
	keys        []string
	from, to    string // of a range delete; to "": there is none
}

func newRescued(t *testing.T, v *victim) *rescued {
	t.Helper()
	r := &rescued{victim: v, had: map[string][]shown{}, inTable: map[string][]sstable.BlockInfo{}, bounds: map[string]sstable.Properties{}, logs: map[string][]logged{}}
	state := fixture.State{}
	for _, o := range v.history {
		if !o.Range {
			r.had[o.Key] = []shown{{}}
		}
		if o.Merge && !slices.Contains(r.merged, o.Key) {
			r.merged = append(r.merged, o.Key)
		}
	}
	for _, o := range v.history {
		state.Apply(fixture.Commit{o.Operation})
		for key := range r.had {
			if o.concerns(key) {
				s := shown{seq: o.seq}
				if s.value, s.there = state.Get(key, victimNow); !s.there {
					s.value = ""
				}
				r.had[key] = append(r.had[key], s)
			}
		}
	}
	disk := v.Disk(t)
	for _, name := range v.Named(".sst") {
		table, err := sstable.Open(disk, filepath.Join(fixture.Dir, name), sstable.ReaderOptions{})
		fixture.Must(t, err)
		r.bounds[name] = table.Properties()
		for info, err := range table.Blocks() {
			fixture.Must(t, err)
			r.inTable[name] = append(r.inTable[name], info)
		}
		fixture.Must(t, table.Close())
	}
	for _, name := range v.Named(".wal") {
		records, offsets := fixture.Records(t, disk, name)
		for i, record := range records {
			l := logged{offset: offsets[i], end: offsets[i+1]}
			_, ops, err := base.DecodeGroup(record)
			fixture.Must(t, err)
			for len(ops) > 0 {
				op, rest, err := base.DecodeOp(ops)
				fixture.Must(t, err)
				if ops = rest; op.Kind == base.KindRangeDelete {
					l.from, l.to = string(op.Key), string(op.Value)
				} else {
					l.keys = append(l.keys, string(op.Key))
				}
			}
			r.logs[name] = append(r.logs[name], l)
		}
	}
	return r
}

// concerns reports whether an operation says something of a key.
func (o numbered) concerns(key string) bool {
	return o.Range && o.Key <= key && (o.Value == "" || key < o.Value) || !o.Range && o.Key == key
}

// sweep judges the mutants of one kind.
func (v *rescued) sweep(t *testing.T, part string, send func(chan<- mutant)) {
	mutants := make(chan mutant, 100)
	var workers sync.WaitGroup
	var mu sync.Mutex
	judged, complaints, lossless, losses := 0, 0, 0, 0
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			own := fixture.Files{}
			for name, data := range v.Files {
				own[name] = slices.Clone(data)
			}
			for m := range mutants {
				report, problem := v.salvage(t, m, m.make(own))
				if m.kind == "bit" {
					m.make(own) // turns it back
				}
				mu.Lock()
				judged++
				if report != nil && report.OK() {
					lossless++
				} else if report != nil {
					losses += len(report.Losses)
				}
				if problem != "" {
					if complaints++; complaints <= 20 {
						t.Errorf("%s %s %s: %s", m.kind, m.file, m.what, problem)
					}
				}
				mu.Unlock()
			}
		})
	}
	all := make(chan mutant, 100)
	go func() {
		send(all)
		close(all)
	}()
	n, every := 0, *salvageEvery
	if base.Invariants { // which is slow
		every *= 8
	}
	for m := range all {
		if n++; n%every == 0 || part == "files" {
			mutants <- m
		}
	}
	close(mutants)
	workers.Wait()
	t.Logf("%d mutants, %d problems; nothing lost or doubtful in %d, %d losses in the others", judged, complaints, lossless, losses)
}

// several makes mutants with two or three damages.
func (v *rescued) several(mutants chan<- mutant) {
	rng := rand.New(rand.NewPCG(1, 2))
	var some []mutant
	for _, send := range []func(chan<- mutant){v.bitFlips, v.truncations, v.blocks, v.wholeFiles} {
		all := make(chan mutant)
		go func() {
			send(all)
			close(all)
		}()
		for m := range all {
			if rng.IntN(20) == 0 {
				some = append(some, m)
			}
		}
	}
	for range 5 * len(some) {
		var parts []mutant
		var what []string
		for range 2 + rng.IntN(2) {
			m := some[rng.IntN(len(some))]
			parts, what = append(parts, m), append(what, strings.Join([]string{m.kind, m.file, m.what}, " "))
		}
		mutants <- mutant{kind: "several", what: strings.Join(what, "; "), make: func(f fixture.Files) fixture.Files {
			for _, m := range parts {
				own := fixture.Files{}
				for name, data := range f {
					own[name] = bytes.Clone(data)
				}
				if m.kind == "bit" && m.at >= len(own[m.file]) || len(own[m.file]) < len(v.Files[m.file]) {
					continue // it is not there any more
				}
				f = m.make(own)
			}
			return f
		}}
	}
}

// salvage rescues a mutant and says what is wrong with that.
func (v *rescued) salvage(t *testing.T, m mutant, damaged fixture.Files) (report *salvage.Report, problem string) {
	defer func() {
		if p := recover(); p != nil {
			problem = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	disk := vfstest.NewDisk()
	report, err := salvage.Run(t.Context(), salvage.Place{FS: imageFS(damaged), Dir: fixture.Dir}, salvage.Place{FS: disk, Dir: fixture.Dir}, nil)
	if err != nil {
		return nil, err.Error()
	}
	verified, err := fixture.VerifyOn(disk, fixture.Dir)
	if err != nil || !verified.OK() {
		return report, fmt.Sprintf("the new database is damaged: %+v, %v", verified, err)
	}
	d, err := db.Open(fixture.Dir, fixture.On(disk, opening(db.Options{ReadOnly: true, MemtableBytes: 1, CacheBytes: -1})))
	if err != nil {
		return report, err.Error()
	}
	defer d.Close()
	found, err := fixture.Scan(d)
	if err != nil {
		return report, err.Error()
	}
	if stranger := stranger(found, v.had); stranger != "" {
		return report, fmt.Sprintf("%q was never there", stranger)
	}
	may := v.mayDiffer(damaged)
	for key := range v.had {
		if problem := v.judgeKey(key, found, report, may); problem != "" {
			return report, problem + fmt.Sprintf("\nlosses: %+v\nnotes: %q", report.Losses, report.Notes)
		}
	}
	return report, ""
}

func stranger(found fixture.View, had map[string][]shown) string {
	for key := range found {
		if had[key] == nil {
			return key
		}
	}
	return ""
}

// judgeKey compares what a key shows with what it should show.
func (v *rescued) judgeKey(key string, found fixture.View, report *salvage.Report, may func(key string) bool) string {
	value, there := found[key]
	times := v.had[key]
	last := times[len(times)-1]
	if last.there == there && last.value == value {
		return ""
	}
	if !may(key) {
		return fmt.Sprintf("%s is not damaged, and shows %.60q (%v) in place of %.60q (%v)", key, value, there, last.value, last.there)
	}
	since := uint64(0)
	at := slices.IndexFunc(times, func(s shown) bool { return s.there == there && s.value == value })
	for i, s := range times {
		if s.there == there && s.value == value {
			at, since = i, s.seq
		}
	}
	if at < 0 && !(slices.Contains(v.merged, key) && doubtsAll(report)) {
		return fmt.Sprintf("%s never showed %.60q", key, value)
	}
	for _, o := range slices.Backward(v.history) {
		if o.seq <= since {
			break
		}
		if !o.concerns(key) {
			continue
		}
		if !slices.ContainsFunc(report.Losses, func(l salvage.Loss) bool { return l.Covers([]byte(key), base.Seq(o.seq)) }) {
			return fmt.Sprintf("%s shows %.60q (%v), and no loss covers operation %d of it: %+v", key, value, there, o.seq, o.Operation)
		}
		if !o.Merge {
			break // what is older does not matter
		}
	}
	return ""
}

// doubtsAll reports whether no MANIFEST said which tables count, so that operands may be
// missing unnoticed.
func doubtsAll(r *salvage.Report) bool {
	return slices.ContainsFunc(r.Losses, func(l salvage.Loss) bool {
		return l.Doubtful && strings.HasPrefix(l.File, "MANIFEST") && l.From == nil && l.To == nil && l.FirstSeq == 0 && l.LastSeq == 0
	})
}

// mayDiffer tells which keys something is damaged of. A block or record is as long as each
// byte of it is in its place.
func (v *rescued) mayDiffer(damaged fixture.Files) func(key string) bool {
	var spans []span
	everyOperand := false
	changed := func(name string) bool { return !bytes.Equal(damaged[name], v.Files[name]) }
	// Where nothing says that it was closed, a MANIFEST may lack its last edits.
	behind := slices.ContainsFunc(v.names(), func(name string) bool {
		return kindOfFile(name) == "MANIFEST" && len(damaged[name]) > 0 && changed(name)
	}) && (v.killed || changed(base.CurrentName))
	for _, name := range v.names() {
		data, before := damaged[name], v.Files[name]
		if bytes.Equal(data, before) {
			continue
		}
		switch kind := kindOfFile(name); kind {
		case "table":
			spans = append(spans, v.damagedSpans(name, data)...)
			if behind { // it may be one that is not listed, and whose numbers nobody knows
				spans = append(spans, v.span(name))
			}
		case "WAL":
			for _, l := range v.logs[name] {
				if intact(before, data, l.offset, l.end) {
					continue
				}
				everyOperand = true
				for _, key := range l.keys {
					spans = append(spans, span{key, key})
				}
				if l.from != "" || l.to != "" {
					spans = append(spans, span{l.from, cmp.Or(l.to, "\xff")})
				}
			}
		case "MANIFEST":
			everyOperand = true
			for _, o := range v.history {
				if o.Loaded && behind { // only the MANIFEST tells whether a load was carried out
					spans = append(spans, span{o.Key, o.Key})
				}
			}
		}
	}
	return func(key string) bool {
		return everyOperand && slices.Contains(v.merged, key) || slices.ContainsFunc(spans, func(s span) bool { return s.from <= key && key <= s.to })
	}
}

// span is a range of keys, both included.
type span struct{ from, to string }

// span returns the bounds of a table.
func (v *rescued) span(name string) span {
	p := v.bounds[name]
	return span{string(p.Smallest.UserKey()), string(p.Largest.UserKey())}
}

// damagedSpans lists where keys of a table may be missing.
func (v *rescued) damagedSpans(name string, data []byte) (spans []span) {
	whole := v.span(name)
	from, open := whole.from, false
	for _, b := range v.inTable[name] {
		sound := intact(v.Files[name], data, b.Offset, b.Offset+b.SizeBytes)
		switch {
		case b.Type == sstable.BlockData && sound:
			if open {
				spans = append(spans, span{from, string(b.First.UserKey())})
			}
			from, open = string(b.Last.UserKey()), false
		case b.Type == sstable.BlockData:
			open = true
		case b.Type == sstable.BlockRangeDelete && !sound:
			spans = append(spans, whole)
		}
	}
	if open {
		spans = append(spans, span{from, whole.to})
	}
	return spans
}

// intact reports whether a stretch of a file is as it was.
func intact(before, now []byte, from, to int64) bool {
	return int64(len(now)) >= to && bytes.Equal(before[from:to], now[from:to])
}

// TestSalvageSound: of a database that is not damaged everything is rescued, and only the end of a log that
// was not closed is doubtful.
func TestSalvageSound(t *testing.T) {
	for what, killed := range map[string]bool{"closed": false, "killed": true} {
		t.Run(what, func(t *testing.T) {
			v := newRescued(t, newVictim(t, killed))
			before := maps.Clone(v.Files)
			report, problem := v.salvage(t, mutant{}, v.Files)
			if problem != "" {
				t.Fatal(problem)
			}
			if want := uint64(len(v.want())); report.Entries < want {
				t.Errorf("%d entries, want %d", report.Entries, want)
			}
			if killed {
				if n := len(report.Losses); n != 1 || !report.Losses[0].Doubtful || report.Losses[0].File != v.lastLog() || uint64(report.Losses[0].FirstSeq) != v.sequence || report.Losses[0].LastSeq != 0 {
					t.Errorf("losses: %+v", report.Losses)
				}
			} else if !report.OK() {
				t.Errorf("losses: %+v", report.Losses)
			}
			if !maps.EqualFunc(before, v.Files, bytes.Equal) {
				t.Error("the old database has changed")
			}
		})
	}
}

// TestSalvageNothing: without any file of a database there is none.
func TestSalvageNothing(t *testing.T) {
	disk := vfstest.NewDisk()
	_, err := salvage.Run(t.Context(), salvage.Place{FS: imageFS{"LOCK": nil, "letter.txt": []byte("dear")}, Dir: fixture.Dir}, salvage.Place{FS: disk, Dir: fixture.Dir}, nil)
	fixture.WantErr(t, "an empty directory", err, fs.ErrNotExist)
}
