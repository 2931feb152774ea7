package view

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// Get looks for what key has at an instant. The value is valid until Leave.
func (r Reading) Get(at At, key []byte) (value []byte, found bool, err error) {
	hash, absent := base.Hash(key), false
	if r.own == &nothingOwn && r.Active.RangeDeletes.Empty() { // nearly always: then the first version that is met decides
		value, t, ok := r.Active.Get(key, hash, at.Seq)
		if ok && t.Kind() <= base.KindDelete {
			return value, t.Kind() == base.KindSet, nil
		}
		absent = !ok && len(r.Sealed) == 0
	}
	return r.get(at, key, hash, absent)
}

// get is Get where that is not plain. The memtables are known to hold nothing of an absent key.
func (r Reading) get(at At, key []byte, hash uint64, absent bool) (value []byte, found bool, err error) {
	l := lookup{at: at, key: key, hash: hash, absent: absent}
	r.find(&l)
	return l.value, l.found, l.err
}

// Has reports whether key has a value, which is not read. So an operand that cannot be
// merged counts as one.
func (r Reading) Has(at At, key []byte) (found bool, err error) {
	l := lookup{at: at, key: key, hash: base.Hash(key), wanted: nothing}
	r.find(&l)
	return l.found, l.err
}

// Size returns the length of the value of key, which is not read if it is large, unless
// there are operands.
func (r Reading) Size(at At, key []byte) (bytes int, found bool, err error) {
	l := lookup{at: at, key: key, hash: base.Hash(key), wanted: length}
	r.find(&l)
	return l.bytes, l.found, l.err
}

// lookup is the search for what one key has. It goes from the newest run to the oldest
// one. The first version that it meets decides, unless a range delete that was met before,
// or in the same run, is newer. Below an operand it goes on.
type lookup struct {
	at     At
	key    []byte
	hash   uint64
	wanted wanted
	absent bool      // from all memtables
	kind   base.Kind // of the last version that was met and counts; 0: none

	cover    base.Seq // newest range delete met that covers key
	operands [][]byte // newest first
	value    []byte   // that they are merged onto; nil: there is none
	bytes    int      // its length
	found    bool     // there is one
	err      error    // that ended the search
}

// wanted is what a lookup is to find out of the value.
type wanted uint8

const (
	everything wanted = iota
	length
	nothing
)

// find searches all runs, and merges.
func (r *Reading) find(l *lookup) {
	if (l.absent || !r.inMemtables(l)) && len(l.key) <= base.MaxKeyBytes { // otherwise no buffer of that size is kept for it
		r.inTables(l)
	}
	switch {
	case l.err != nil:
		l.found = false
	case len(l.operands) == 0:
	case l.wanted == nothing && r.published.Merger != nil:
		l.found = true
	default:
		l.value, l.err = new(base.Fold).Onto(r.published.Merger, l.key, l.value, l.operands)
		l.bytes, l.found = len(l.value), l.err == nil
	}
}

// inMemtables searches the memtables. It reports whether what is older does not matter, as
// the other searches do.
func (r *Reading) inMemtables(l *lookup) (done bool) {
	own := func(m *memtable.Memtable) bool { return r.inMemtable(l, m, l.at.Own) }
	shared := func(m *memtable.Memtable) bool { return r.inMemtable(l, m, l.at.Seq) }
	return slices.ContainsFunc(*r.own, own) || shared(r.Active) || slices.ContainsFunc(r.Sealed, shared)
}

// inMemtable looks at the versions of a memtable that are visible at seq. It reports
// whether older ones do not matter.
func (r *Reading) inMemtable(l *lookup, m *memtable.Memtable, seq base.Seq) (done bool) {
	l.cover = max(l.cover, m.RangeDeletes.Newest(l.key, seq))
	for {
		value, t, ok := m.Get(l.key, l.hash, seq)
		if !ok {
			return l.cover > 0
		}
		if r.meet(l, value, len(value), t) {
			return true
		}
		seq = t.Seq() - 1
	}
}

// meet looks at the next older visible version. It reports whether those that are older
// still do not matter.
func (r *Reading) meet(l *lookup, value []byte, bytes int, t base.Trailer) (done bool) {
	if t.Seq() < l.cover {
		return true
	}
	l.kind = t.Kind()
	switch l.kind {
	case base.KindSet:
		l.value, l.bytes, l.found = value, bytes, true
	case base.KindMerge:
		l.operands = append(l.operands, value)
		if l.wanted == length {
			l.wanted = everything // the length of what they are merged onto does not tell
		}
		return l.wanted == nothing
	case base.KindSetExpiring:
		if l.at.Now == 0 {
			l.at.Now = r.published.Now()
		}
		if l.at.Now < base.Until(value) {
			l.value, l.bytes, l.found = value[base.ExpiryBytes:], bytes-base.ExpiryBytes, true
		}
	}
	return true
}

// searchKeys recycles the internal keys that tables are searched for.
var searchKeys = sync.Pool{New: func() any { return new(base.InternalKey) }}

func (r *Reading) inTables(l *lookup) {
	search := searchKeys.Get().(*base.InternalKey)
	defer searchKeys.Put(search)
	*search = base.AppendSearchKey((*search)[:0], l.key, l.at.Seq)
	r.published.payGet(r.Version)
	for _, t := range r.Version.Levels[0] {
		if t.Overlaps(l.key, l.key) && r.inTable(l, t, search) {
			return
		}
	}
	for level := 1; level < manifest.NumLevels; level++ {
		if t := r.Version.Find(level, l.key); t != nil && r.inTable(l, t, search) {
			return
		}
	}
}

// inTable is inMemtable for a table. Its filter knows nothing of range deletes. It is done
// after an error, too.
func (r *Reading) inTable(l *lookup, t *manifest.TableMeta, search *base.InternalKey) (done bool) {
	table, err := t.Handle.Table()
	if err != nil {
		l.err = err
		return true
	}
	if t.RangeDeletes > 0 {
		l.cover = max(l.cover, table.Ranges().Newest(l.key, l.at.Seq))
	}
	for {
		value, bytes, trailer, found, err := table.Find(*search, l.hash, l.wanted == everything)
		switch {
		case err != nil || !found:
			l.err = err
			return err != nil || l.cover > 0
		case l.wanted == length && trailer.Kind() == base.KindMerge:
			l.wanted = everything
		case r.meet(l, value, bytes, trailer):
			return true
		default:
			*search = base.AppendSearchKey((*search)[:0], l.key, trailer.Seq()-1)
		}
	}
}

// What a read spends on each table of level 0, in bytes that a compaction could have
// merged meanwhile: a filter to ask, or a block to search. Only one get in detourSample
// counts, for all, so that gets need not meet at a counter.
const (
	getDetourBytes  = 64
	seekDetourBytes = 1 << 10
	detourSample    = 64
)

// payGet counts what a get spends on level 0.
func (p *Published) payGet(v *manifest.Version) {
	if n := len(v.Levels[0]); n > 0 && rand.Uint32()%detourSample == 0 {
		p.detour(v.Detour(detourSample * getDetourBytes * int64(n)))
	}
}

// detour tells somebody when it is time to do something about what reads have spent on
// detours: see manifest.Version.Detour.
func (p *Published) detour(due bool) {
	if due && p.Detoured != nil {
		p.Detoured()
	}
}

// Explanation tells how a Get came to its answer.
type Explanation struct {
	Found     bool
	DecidedBy string // put, delete, range-delete, expiry, merge, nothing; empty after an error
	Level     int    // of the table that holds what decided; -1: a memtable does, or nothing decided
	Table     uint64 // 0 likewise
	Steps     []Step
	Time      time.Duration
}

// Step is a memtable or a table that was asked.
type Step struct {
	Place  string // memtable, sealed memtable, table
	Level  int    // -1: it is no table
	Table  uint64
	Filter string // absent, maybe; empty: no filter was asked
	Read   bool   // the block that was searched first came from the file
	Cached bool   // it was in the cache
	Time   time.Duration
}

// Explain is a Get that notes what it does: it asks the same in the same order.
func (r Reading) Explain(at At, key []byte) (x Explanation, err error) {
	start := time.Now()
	if key == nil {
		key = []byte{} // nil is no bound
	}
	t := trace{lookup: lookup{at: at, key: key, hash: base.Hash(key)}, began: start}
	if !t.memtables(&r) && len(key) <= base.MaxKeyBytes {
		r.published.payGet(r.Version)
		t.tables(&r)
	}
	if t.err == nil && len(t.operands) > 0 {
		_, t.err = new(base.Fold).Onto(r.published.Merger, key, t.value, t.operands)
		t.found = true
	}
	x = Explanation{Found: t.found && t.err == nil, DecidedBy: t.decision(), Level: -1, Steps: t.steps, Time: time.Since(start)}
	decisive := len(t.steps)
	switch x.DecidedBy {
	case "", "nothing":
		return x, t.err
	case "merge":
		decisive = t.operand
	}
	x.Level, x.Table = t.steps[decisive-1].Level, t.steps[decisive-1].Table
	return x, nil
}

// decision says what decided a search that is over.
func (l *lookup) decision() string {
	switch {
	case l.err != nil:
		return ""
	case len(l.operands) > 0:
		return "merge"
	case l.found:
		return "put"
	case l.kind == base.KindDelete:
		return "delete"
	case l.kind == base.KindSetExpiring:
		return "expiry"
	case l.cover > 0: // nothing newer was met
		return "range-delete"
	}
	return "nothing"
}

// trace is a lookup that notes its steps.
type trace struct {
	lookup
	steps   []Step
	began   time.Time // the step under way
	operand int       // how many steps it took to meet the newest operand; 0: none was met
}

// memtables is Reading.inMemtables.
func (t *trace) memtables(r *Reading) (done bool) {
	search := func(m *memtable.Memtable, place string, seq base.Seq) bool {
		return t.end(Step{Place: place, Level: -1}, r.inMemtable(&t.lookup, m, seq))
	}
	own := func(m *memtable.Memtable) bool { return search(m, "memtable", t.at.Own) }
	sealed := func(m *memtable.Memtable) bool { return search(m, "sealed memtable", t.at.Seq) }
	return slices.ContainsFunc(*r.own, own) || search(r.Active, "memtable", t.at.Seq) || slices.ContainsFunc(r.Sealed, sealed)
}

// tables is Reading.inTables.
func (t *trace) tables(r *Reading) {
	search := base.AppendSearchKey(nil, t.key, t.at.Seq)
	for level := range r.Version.Levels {
		for _, m := range r.Version.Overlapping(level, t.key, t.key) {
			var f sstable.Foresight
			if table, err := m.Handle.Table(); err == nil {
				f = table.Foresee(search, t.hash)
			}
			s := Step{Place: "table", Level: level, Table: m.Number, Read: f.Read, Cached: f.Cached}
			switch {
			case f.Absent:
				s.Filter = "absent"
			case f.Filtered:
				s.Filter = "maybe"
			}
			if t.end(s, r.inTable(&t.lookup, m, &search)) {
				return
			}
		}
	}
}

// end ends a step. It passes on whether the search is done.
func (t *trace) end(s Step, done bool) bool {
	now := time.Now()
	s.Time, t.began = now.Sub(t.began), now
	t.steps = append(t.steps, s)
	if t.operand == 0 && len(t.operands) > 0 {
		t.operand = len(t.steps)
	}
	return done
}
