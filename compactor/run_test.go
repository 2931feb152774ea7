package compactor

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

func sequence(prefix string, n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("%s%04d", prefix, i))
	}
	return keys
}

func TestRunMergesLevels(t *testing.T) {
	s := newStore(t, nil)
	s.load(6, "a", "b", "c", "d", "e")
	s.load(0, "b", "-c", "x")
	s.load(0, "-d", "-y", "b")
	job := s.job(0, 6, s.version.Levels[0]...)
	outputs, err := s.run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	if m := s.cache.Metrics(); m.Blocks > 0 {
		t.Errorf("the job left %d blocks in the cache", m.Blocks)
	}
	s.apply(job.Edit(outputs))
	s.removeUnlisted(job)
	s.checkFiles()
	want := []string{`L6 "a"#1,set`, `L6 "b"#11,set`, `L6 "e"#5,set`, `L6 "x"#8,set`}
	if got := s.contents(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("contents %v", got)
	}
	if len(outputs) != 1 || outputs[0].Entries != 4 || job.InputEntries() != 11 {
		t.Errorf("%d entries became %v", job.InputEntries(), outputs)
	}
}

// TestRunWithinLevel0 gathers the newest tables there: a delete must stay over what it
// deletes in an older one, although nothing lies deeper.
func TestRunWithinLevel0(t *testing.T) {
	s := newStore(t, nil)
	s.load(0, "a", "b")
	s.load(0, "-a", "c")
	s.load(0, "c", "d")
	job := newPicker(s.situation(nil)).crumbs(0, s.version.Levels[0][:2], 2)
	outputs, err := s.run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	s.apply(job.Edit(outputs))
	s.removeUnlisted(job)
	s.checkFiles()
	want := []string{`L0 "a"#3,delete`, `L0 "c"#5,set`, `L0 "d"#6,set`, `L0 "a"#1,set`, `L0 "b"#2,set`}
	if got := s.contents(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("contents %v", got)
	}
}

func TestRunKeepsWhatIsNeeded(t *testing.T) {
	cases := []struct {
		name      string
		deeper    string // key in level 6
		snapshots []base.Seq
		want      string
	}{
		{"nothing deeper, no snapshot", "z", nil, ""},
		{"an older version deeper", "k", nil, `"k"#3,delete`},
		{"a table deeper that spans the key", "a z", nil, `"k"#3,delete`},
		{"a snapshot before the delete", "z", []base.Seq{2}, `"k"#3,delete "k"#2,set`},
		{"a snapshot after the delete", "z", []base.Seq{3}, ""},
	}
	for _, c := range cases {
		s := newStore(t, nil)
		deeper := strings.Fields(c.deeper)
		s.load(6, deeper...)
		s.lastSeq = 1 // the cases count from here
		s.load(5, "k")
		s.load(4, "-k")
		job := s.job(4, 5, s.version.Levels[4]...)
		outputs, err := s.run(t.Context(), job, c.snapshots...)
		if err != nil {
			t.Fatal(err)
		}
		s.apply(job.Edit(outputs))
		s.removeUnlisted(job)
		s.checkFiles()
		var got []string
		for _, entry := range s.contents() {
			if kept, ok := strings.CutPrefix(entry, "L5 "); ok {
				got = append(got, kept)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: kept %v", c.name, got)
		}
	}
}

func TestRunCutsOutputs(t *testing.T) {
	s := newStore(t, nil)
	s.load(5, sequence("k", 1000)...)
	job := s.job(5, 6, s.version.Levels[5]...)
	outputs, err := s.run(t.Context(), job)
	if err != nil || len(outputs) < 5 {
		t.Fatal(len(outputs), err)
	}
	for _, m := range outputs[:len(outputs)-1] {
		if m.SizeBytes < job.TableBytes*9/10 || m.SizeBytes > job.TableBytes*11/10 {
			t.Errorf("output of %d bytes, cut at %d", m.SizeBytes, job.TableBytes)
		}
	}
	s.apply(job.Edit(outputs))
	if got := s.contents(); len(got) != 1000 {
		t.Errorf("%d entries", len(got))
	}
}

// TestCutter checks the places of cuts against tables below.
func TestCutter(t *testing.T) {
	below := func(sizeBytes int64, bounds ...string) (tables []*manifest.TableMeta) {
		for i := 0; i < len(bounds); i += 2 {
			tables = append(tables, &manifest.TableMeta{Summary: sstable.Summary{
				SizeBytes: sizeBytes,
				Smallest:  base.MakeInternalKey([]byte(bounds[i]), 1, base.KindSet),
				Largest:   base.MakeInternalKey([]byte(bounds[i+1]), 1, base.KindSet),
			}})
		}
		return tables
	}
	cases := []struct {
		name         string
		grandparents []*manifest.TableMeta
		entryBytes   int64
		want         string
	}{
		{"full", nil, 25, "abcd efgh ijkl mnop"},
		{"half full at a border", below(1, "a", "b", "c", "f"), 25, "ab cdef ghij klmn op"},
		{"not half full at a border", below(1, "a", "a", "b", "d"), 20, "abcd efghi jklmn op"},
		{"over too much", below(100, "a", "a", "b", "b", "c", "c", "d", "d"), 1, "abc defghijklmnop"},
	}
	for _, c := range cases {
		cutter := (&Job{TableBytes: 100, OverlapBytes: 250, Grandparents: c.grandparents}).cutter()
		got, sizeBytes := "", int64(0)
		for key := byte('a'); key <= 'p'; key++ {
			if sizeBytes > 0 && cutter(sizeBytes, []byte{key}) {
				got, sizeBytes = got+" ", 0
			}
			got, sizeBytes = got+string(key), sizeBytes+c.entryBytes
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTrivialJob(t *testing.T) {
	s := newStore(t, nil)
	m := s.load(4, "a", "b")
	job := newPicker(s.situation(nil)).build(4, 5, s.version.Levels[4])
	if !job.Trivial {
		t.Fatal(job)
	}
	s.apply(job.Edit(nil))
	if moved := s.version.Levels[5]; len(moved) != 1 || moved[0] != m || len(s.version.Levels[4]) != 0 {
		t.Error(s.version.Levels)
	}
	for name, misuse := range map[string]func(){
		"run":     func() { _, _ = s.run(t.Context(), job) },
		"outputs": func() { job.Edit([]*manifest.TableMeta{m}) },
	} {
		func() {
			defer func() {
				if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "invariant: ") {
					t.Errorf("%s: %v", name, r)
				}
			}()
			misuse()
		}()
	}
}

// TestWholeTree runs real jobs, two at a time on goroutines, picked one after the
// other until nothing is left to do, and then compacts everything by hand.
func TestWholeTree(t *testing.T) {
	s := newStore(t, nil)
	rng := rand.New(rand.NewPCG(4, 4))
	for range 40 {
		keys := make(map[string]bool)
		for range 80 {
			key := fmt.Sprintf("%04d", rng.IntN(1500))
			keys[[]string{"", "-"}[rng.IntN(4)/3]+key] = true
		}
		s.load(0, slices.Sorted(maps.Keys(keys))...)
		s.settle(func(running []*Job) *Job { return Pick(s.situation(running)) })
	}
	s.settle(func(running []*Job) *Job {
		job, _ := PickRange(s.situation(running), Range{Through: s.lastSeq})
		return job
	})
	var want []string
	newest := make(map[string]base.InternalKey)
	for _, k := range s.history {
		if n, ok := newest[string(k.UserKey())]; !ok || n.Seq() < k.Seq() {
			newest[string(k.UserKey())] = k
		}
	}
	for _, user := range slices.Sorted(maps.Keys(newest)) {
		if k := newest[user]; k.Kind() == base.KindSet {
			want = append(want, fmt.Sprintf("L6 %s", k))
		}
	}
	if got := s.contents(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// settle runs what pick gives until it gives nothing more.
func (s *store) settle(pick func(running []*Job) *Job) {
	s.t.Helper()
	for {
		var running []*Job
		for len(running) < 2 {
			job := pick(running)
			if job == nil {
				break
			}
			running = append(running, job)
		}
		if len(running) == 0 {
			return
		}
		outputs := make([][]*manifest.TableMeta, len(running))
		var group sync.WaitGroup
		for i, job := range running {
			if job.Trivial {
				continue
			}
			group.Go(func() {
				var err error
				if outputs[i], err = s.run(context.Background(), job); err != nil {
					s.t.Error(err)
				}
			})
		}
		group.Wait()
		for i, job := range running {
			s.apply(job.Edit(outputs[i]))
		}
	}
}

func BenchmarkRun(b *testing.B) {
	s := newStore(b, nil)
	s.policy = NewPolicy(64 << 20)
	s.load(6, sequence("k", 20_000)...)
	s.load(5, sequence("k", 20_000)...)
	job := newPicker(s.situation(nil)).build(5, 6, s.version.Levels[5])
	b.SetBytes(job.InputBytes())
	for b.Loop() {
		outputs, err := s.run(b.Context(), job)
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range outputs {
			if err := s.mem.Remove(base.TablePath(dir, m.Number)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/40_000, "ns/entry")
}

// BenchmarkPick looks for work in a large tree where there is none.
func BenchmarkPick(b *testing.B) {
	var edit manifest.Edit
	for level, count := range map[int]int{4: 90, 5: 900, 6: 10_000} {
		for i := range count {
			edit.Added = append(edit.Added, manifest.AddedTable{Level: level, Meta: &manifest.TableMeta{Number: uint64(level*100_000 + i), Summary: sstable.Summary{
				SizeBytes: 32 << 20, Entries: 100, SmallestSeq: 1, LargestSeq: 1,
				Deletes:  uint64(6 - level),
				Smallest: base.MakeInternalKey(fmt.Appendf(nil, "%05d", i*10_000/count), 1, base.KindSet),
				Largest:  base.MakeInternalKey(fmt.Appendf(nil, "%05d~", (i+1)*10_000/count-1), 1, base.KindSet),
			}}})
		}
	}
	v, err := (&manifest.Version{}).Apply(&edit)
	if err != nil {
		b.Fatal(err)
	}
	policy := NewPolicy(64 << 20)
	policy.BaseBytes = 4 << 30
	for name, pick := range map[string]func() *Job{
		"busy": func() *Job { return Pick(Situation{Policy: policy, Version: v}) },
		"idle": func() *Job { return PickIdle(Situation{Policy: policy, Version: v}) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if job := pick(); job != nil {
					b.Fatal(job)
				}
			}
		})
	}
}
