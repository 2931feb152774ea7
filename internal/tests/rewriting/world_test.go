// Package rewriting tests what flushes and compactions keep, drop and choose, on real
// tables: whatever they do in whatever order, every reader sees the same as a model that
// remembers everything.
package rewriting

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lsmdb/compactor"
	"lsmdb/flusher"
	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// chain is a merge operator that is neither commutative nor idempotent, and shows how
// often something was merged onto nothing.
var chain = &base.Merger{Name: "chain", Merge: func(dst, key, older, newer []byte) ([]byte, error) {
	if older == nil {
		older = []byte("^")
	}
	return append(append(dst, older...), newer...), nil
}}

// moody fails for some keys.
var moody = &base.Merger{Name: "moody", Merge: func(dst, key, older, newer []byte) ([]byte, error) {
	if strings.HasSuffix(string(key), "7") {
		return nil, errors.New("not this key")
	}
	return chain.Merge(dst, key, older, newer)
}}

// item is one version of a key.
type item struct {
	seq   base.Seq
	kind  base.Kind
	value string
}

// contents are the versions of keys, newest first, and range deletes.
type contents struct {
	keys    map[string][]item
	deletes ranges.List
}

func (c *contents) add(key string, i item) {
	if c.keys == nil {
		c.keys = make(map[string][]item)
	}
	c.keys[key] = append(c.keys[key], i)
}

// see returns what a reader sees of a key; items are its versions, newest first.
func (c *contents) see(key string, items []item, at base.Seq, now int64) string {
	covered := c.deletes.Newest([]byte(key), at)
	var operands []string
	value := ""
	for _, i := range items {
		if i.seq > at {
			continue
		}
		if i.seq < covered {
			break
		}
		if i.kind == base.KindMerge {
			operands = append(operands, i.value)
			continue
		}
		switch {
		case i.kind == base.KindSet:
			value = "=" + i.value
		case i.kind == base.KindSetExpiring && now < base.Until([]byte(i.value)):
			value = "=" + i.value[base.ExpiryBytes:]
		}
		break
	}
	if value == "" && len(operands) > 0 {
		value = "=^"
	}
	for _, o := range slices.Backward(operands) {
		value += o
	}
	return value
}

// snapshot is what somebody reads at.
type snapshot struct {
	seq base.Seq
	now int64
}

// flight is a job that was run and whose edit is yet to be applied.
type flight struct {
	job     *compactor.Job
	outputs []*manifest.TableMeta
}

// world is a tree, its history and its readers.
type world struct {
	t         *testing.T
	rng       *rand.Rand
	directory *output.Directory
	policy    compactor.Policy
	version   *manifest.Version
	deletes   *compactor.Deletes
	memtable  *memtable.Memtable
	history   contents
	snapshots []snapshot
	now       int64
	lastSeq   base.Seq
	running   []flight
	setAside  map[uint64]error
	stored    map[uint64]contents // of tables
	space     int                 // how many keys there are
	blockRead map[string]int      // jobs by reason
}

func newWorld(t *testing.T, seed uint64) *world {
	disk := vfstest.NewDisk()
	if err := errors.Join(disk.MkdirAll("/db"), disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	opened, err := disk.OpenDirectory("/db")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 5)), version: &manifest.Version{}, setAside: make(map[uint64]error),
		stored: make(map[uint64]contents), now: 1000, blockRead: make(map[string]int),
		directory: &output.Directory{
			FS: opened, Dir: "/db", DatabaseID: 9, Numbers: output.NewFileNumbers(1), Files: new(sstable.OpenFiles), Merger: chain,
			Tables: sstable.WriterOptions{FilterBitsPerKey: 10, BlockBytes: 128},
		},
		policy: compactor.NewPolicy(1 << 10),
	}
	w.policy.L0Trigger, w.policy.BaseBytes, w.policy.TableBytes, w.policy.TableLimitBytes = 4, 1<<10+int64(w.rng.IntN(6<<10)), 1500, 3000
	w.policy.Multiplier = 2 + int64(w.rng.IntN(4))
	w.space = 30 + w.rng.IntN(800)
	w.memtable = memtable.New(1 << 20)
	return w
}

func (w *world) key() string { return fmt.Sprintf("%03d", w.rng.IntN(w.space))[:1+w.rng.IntN(3)] }

// write applies one operation.
func (w *world) write(kind base.Kind) {
	w.lastSeq++
	key, value := w.key(), fmt.Sprintf("%d,", w.lastSeq)
	switch kind {
	case base.KindRangeDelete:
		value = w.key()
		if w.rng.IntN(3) > 0 {
			value = key + "3" // a narrow one
		}
		if w.rng.IntN(20) == 0 {
			value = ""
		}
		end := []byte(value)
		if value == "" {
			end = nil
		}
		w.history.deletes = ranges.Merge(w.history.deletes, ranges.Of([]byte(key), end, w.lastSeq))
	case base.KindSetExpiring:
		op, _, _ := base.DecodeOp(base.AppendOp(nil, base.KindSetExpiring, nil, []byte(value+strings.Repeat("x", w.rng.IntN(80))), w.now+int64(w.rng.IntN(300))))
		value = string(op.Value)
	case base.KindDelete:
		value = ""
	case base.KindSet:
		value += strings.Repeat("x", w.rng.IntN(80))
	}
	w.memtable.Apply(base.Op{Kind: kind, Key: []byte(key), Value: []byte(value)}, w.lastSeq)
	if kind != base.KindRangeDelete {
		w.history.add(key, item{})
		items := w.history.keys[key]
		copy(items[1:], items)
		items[0] = item{w.lastSeq, kind, value}
	}
}

func (w *world) readers() (r output.Readers) {
	for _, s := range w.snapshots {
		if n := len(r.Snapshots); n == 0 || r.Snapshots[n-1] < s.seq {
			r.Snapshots, r.Nows = append(r.Snapshots, s.seq), append(r.Nows, s.now)
		}
	}
	r.Nows = append(r.Nows, w.now)
	return r
}

func (w *world) flush() {
	w.t.Helper()
	it := w.memtable.NewIterator()
	tables, err := flusher.Run(w.t.Context(), w.directory, it, flusher.RangeDeletes(w.memtable, w.version, w.readers()), w.readers(), func(_, _ int64) {})
	if err = errors.Join(err, it.Close()); err != nil {
		w.t.Fatal(err)
	}
	w.memtable = memtable.New(1 << 20)
	edit := &manifest.Edit{}
	for _, m := range tables {
		edit.Added = append(edit.Added, manifest.AddedTable{Level: 0, Meta: m})
	}
	w.apply(edit)
}

func (w *world) apply(e *manifest.Edit) {
	w.t.Helper()
	for _, a := range e.Added {
		w.directory.Attach(a.Meta)
	}
	v, err := w.version.Apply(e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.version = v
}

func (w *world) load(m *manifest.TableMeta) *sstable.Table {
	w.t.Helper()
	table, err := m.Handle.Table()
	if err != nil {
		w.t.Fatal(err)
	}
	return table
}

func (w *world) situation() compactor.Situation {
	s := compactor.Situation{
		Policy: w.policy, Version: w.version, SetAside: w.setAside, Readers: w.readers(),
		Share: func(m *manifest.TableMeta, start, end []byte) float64 { return w.load(m).Share(start, end) },
	}
	w.deletes = compactor.Gather(w.version, func(m *manifest.TableMeta) ranges.List { return w.load(m).Ranges() }, w.deletes)
	s.Deletes = w.deletes
	for _, f := range w.running {
		s.Running = append(s.Running, f.job)
	}
	return s
}

// launch runs a job; its edit lands later.
func (w *world) launch(job *compactor.Job) {
	w.t.Helper()
	f := flight{job: job}
	w.blockRead[job.Reason]++
	for _, m := range job.Inputs {
		if w.setAside[m.Number] != nil && !job.Drop {
			w.t.Fatalf("%s takes a table that is set aside", job)
		}
	}
	if !job.Unread() {
		var err error
		if f.outputs, err = job.Run(w.t.Context(), w.directory, w.readers(), w.version, func(_, _ int64) {}); err != nil {
			w.t.Fatal(job, err)
		}
	}
	w.running = append(w.running, f)
}

func (w *world) land(i int) {
	w.t.Helper()
	f := w.running[i]
	w.running = slices.Delete(w.running, i, i+1)
	w.apply(f.job.Edit(f.outputs))
}

// read returns what a table holds.
func (w *world) read(m *manifest.TableMeta) contents {
	w.t.Helper()
	if c, ok := w.stored[m.Number]; ok {
		return c
	}
	table := w.load(m)
	c := contents{deletes: table.Ranges()}
	it := table.NewIterator(sstable.IteratorOptions{})
	for ok := it.First(); ok; ok = it.Next() {
		c.add(string(it.Key().UserKey()), item{it.Key().Seq(), it.Key().Kind(), string(it.Value())})
	}
	if err := errors.Join(it.Close(), table.Verify(nil)); err != nil {
		w.t.Fatal(m, err)
	}
	w.stored[m.Number] = c
	return c
}

// check compares what every reader sees in the tree with the history, and that nothing new
// lies below something old.
func (w *world) check() {
	w.t.Helper()
	var tree contents
	for _, tables := range w.version.Levels {
		var level contents
		for _, m := range tables {
			c := w.read(m)
			for key, items := range c.keys {
				if above := tree.keys[key]; len(above) > 0 && above[len(above)-1].seq <= items[0].seq || !m.Overlaps([]byte(key), []byte(key)) {
					w.t.Fatalf("%s of %s lies below something older, or outside", key, m)
				}
				for _, i := range items {
					tree.add(key, i)
				}
			}
			if len(c.deletes) > 0 {
				w.checkPlace(&tree, c, m)
			}
			level.deletes = ranges.Merge(level.deletes, c.deletes)
		}
		tree.deletes = ranges.Merge(tree.deletes, level.deletes)
	}
	readers := append(slices.Clone(w.snapshots), snapshot{w.lastSeq, w.now}, snapshot{w.lastSeq, w.now + 100}, snapshot{w.lastSeq, w.now + 1000})
	for key, items := range w.history.keys {
		for _, r := range readers {
			want, got := w.history.see(key, items, r.seq, r.now), tree.see(key, tree.keys[key], r.seq, r.now)
			if want != got {
				w.t.Fatalf("reader %+v should see %s%s, sees %q\nwritten %v %v\nstored %v %v\n%+v", r, key, want, got,
					items, w.history.deletes, tree.keys[key], tree.deletes, w.readers())
			}
		}
	}
}

// checkPlace checks the range deletes of a table: none is newer than what above it covers,
// and the table's bounds enclose them.
func (w *world) checkPlace(above *contents, c contents, m *manifest.TableMeta) {
	w.t.Helper()
	start, end := c.deletes.Bounds()
	if bytes.Compare(start, m.Smallest.UserKey()) < 0 || !m.LargestExcluded() && bytes.Compare(end, m.Largest.UserKey()) > 0 ||
		m.LargestExcluded() && !bytes.Equal(end, m.Largest.UserKey()) {
		w.t.Fatalf("range deletes from %q to %q in %s", start, end, m)
	}
	for key, items := range above.keys {
		own := len(c.keys[key])
		for _, i := range items[:len(items)-own] {
			if c.deletes.Newest([]byte(key), base.MaxSeq) > i.seq {
				w.t.Fatalf("%s#%d lies above a newer range delete in %s", key, i.seq, m)
			}
		}
	}
}
