package view

import (
	"bytes"
	"math/rand/v2"
	"sync"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// Get looks for what key has at an instant. The value is valid until Leave.
func (r Reading) Get(at At, key []byte) (value []byte, found bool, err error) {
	hash := base.Hash(key)
	if r.own != nil || r.Active.HasRanges() {
		return r.get(at, key, hash)
	}
	value, t, found := r.Active.Get(key, hash, at.Seq)
	for i := 0; i < len(r.Sealed) && !found; i++ {
		if r.Sealed[i].HasRanges() {
			return r.get(at, key, hash)
		}
		value, t, found = r.Sealed[i].Get(key, hash, at.Seq)
	}
	if !found && len(key) <= base.MaxKeyBytes { // otherwise no buffer of that size is kept for it
		value, t, err = r.published.first(r.Version, at.Seq, key, hash)
	}
	if t.Kind() > base.KindDelete { // nearly never
		return r.get(at, key, hash)
	}
	return value, t.Kind() == base.KindSet, err
}

// get is Get where it is not plain that the first version that is met decides.
func (r Reading) get(at At, key []byte, hash uint64) (value []byte, found bool, err error) {
	l := lookup{at: at, key: key, hash: hash}
	err = r.find(&l)
	return l.value, l.found, err
}

// first returns the newest version of key in tables that is visible at seq, newest run
// first. Without one, the trailer is 0; where a range delete may hide it, that is one's.
func (p *Published) first(v *manifest.Version, seq base.Seq, key []byte, hash uint64) (value []byte, t base.Trailer, err error) {
	search := searchKeys.Get().(*base.InternalKey)
	defer searchKeys.Put(search)
	*search = base.AppendSearchKey((*search)[:0], key, seq)
	p.payGet(v)
	for _, m := range v.Levels[0] {
		if bytes.Compare(key, m.Smallest.UserKey()) < 0 || bytes.Compare(key, m.Largest.UserKey()) > 0 {
			continue
		}
		if value, t, found, err := firstIn(m, *search, hash); found || err != nil {
			return value, t, err
		}
	}
	for level := 1; level < manifest.NumLevels; level++ {
		m := v.Find(level, key)
		if m == nil {
			continue
		}
		if value, t, found, err := firstIn(m, *search, hash); found || err != nil {
			return value, t, err
		}
	}
	return nil, 0, nil
}

func firstIn(m *manifest.TableMeta, search base.InternalKey, hash uint64) (value []byte, t base.Trailer, found bool, err error) {
	if m.RangeDeletes > 0 {
		return nil, base.MakeTrailer(0, base.KindRangeDelete), true, nil
	}
	table, err := m.Handle.Table()
	if err != nil {
		return nil, 0, false, err
	}
	value, _, t, found, err = table.Find(search, hash, true)
	return value, t, found, err
}

// Has reports whether key has a value, which is not read. So an operand that cannot be
// merged counts as one.
func (r Reading) Has(at At, key []byte) (found bool, err error) {
	l := lookup{at: at, key: key, hash: base.Hash(key), wanted: nothing}
	err = r.find(&l)
	return l.found, err
}

// Size returns the length of the value of key, which is not read if it is large, unless
// there are operands.
func (r Reading) Size(at At, key []byte) (bytes int, found bool, err error) {
	l := lookup{at: at, key: key, hash: base.Hash(key), wanted: length}
	err = r.find(&l)
	return l.bytes, l.found, err
}

// lookup is the search for what one key has. It goes from the newest run to the oldest
// one. The first version that it meets decides, unless a range delete that was met before,
// or in the same run, is newer. Below an operand it goes on.
type lookup struct {
	at     At
	key    []byte
	hash   uint64
	wanted wanted

	cover    base.Seq // newest range delete met that covers key
	operands [][]byte // newest first
	value    []byte   // that they are merged onto; nil: there is none
	bytes    int      // its length
	found    bool     // there is one
}

// wanted is what a lookup is to find out of the value.
type wanted uint8

const (
	everything wanted = iota
	length
	nothing
)

// find searches all runs, and merges.
func (r *Reading) find(l *lookup) error {
	err := r.search(l)
	if err != nil || len(l.operands) == 0 {
		l.found = l.found && err == nil
		return err
	}
	if l.wanted == nothing && r.published.Merger != nil {
		l.found = true
		return nil
	}
	l.value, err = new(base.Fold).Onto(r.published.Merger, l.key, l.value, l.operands)
	l.bytes, l.found = len(l.value), err == nil
	return err
}

// search searches all runs.
func (r *Reading) search(l *lookup) error {
	for _, m := range r.ownTables() {
		if r.inMemtable(l, m, l.at.Own) {
			return nil
		}
	}
	if r.inMemtable(l, r.Active, l.at.Seq) {
		return nil
	}
	for _, m := range r.Sealed {
		if r.inMemtable(l, m, l.at.Seq) {
			return nil
		}
	}
	if len(l.key) > base.MaxKeyBytes {
		return nil // and no buffer of that size is kept for it
	}
	return r.inTables(l)
}

// inMemtable looks at the versions of a memtable that are visible at seq. It reports
// whether older ones do not matter.
func (r *Reading) inMemtable(l *lookup, m *memtable.Memtable, seq base.Seq) (done bool) {
	l.cover = max(l.cover, m.Covered(l.key, seq))
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
	switch t.Kind() {
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

func (r *Reading) inTables(l *lookup) error {
	search := searchKeys.Get().(*base.InternalKey)
	defer searchKeys.Put(search)
	*search = base.AppendSearchKey((*search)[:0], l.key, l.at.Seq)
	r.published.payGet(r.Version)
	for _, t := range r.Version.Levels[0] {
		if bytes.Compare(l.key, t.Smallest.UserKey()) < 0 || t.EndsBefore(l.key) {
			continue
		}
		if done, err := r.inTable(l, t, search); done || err != nil {
			return err
		}
	}
	for level := 1; level < manifest.NumLevels; level++ {
		t := r.Version.Find(level, l.key)
		if t == nil {
			continue
		}
		if done, err := r.inTable(l, t, search); done || err != nil {
			return err
		}
	}
	return nil
}

// inTable is inMemtable for a table. Its filter knows nothing of range deletes.
func (r *Reading) inTable(l *lookup, t *manifest.TableMeta, search *base.InternalKey) (done bool, err error) {
	table, err := t.Handle.Table()
	if err != nil {
		return false, err
	}
	if t.RangeDeletes > 0 {
		l.cover = max(l.cover, table.Ranges().Newest(l.key, l.at.Seq))
	}
	for {
		value, bytes, trailer, found, err := table.Find(*search, l.hash, l.wanted == everything)
		if err != nil || !found {
			return l.cover > 0, err
		}
		if l.wanted == length && trailer.Kind() == base.KindMerge {
			l.wanted = everything
			continue
		}
		if r.meet(l, value, bytes, trailer) {
			return true, nil
		}
		*search = base.AppendSearchKey((*search)[:0], l.key, trailer.Seq()-1)
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
		p.detour(v, detourSample*getDetourBytes*int64(n))
	}
}

// detour tells what reads have spent on level 0: see manifest.Version.Detour. When it
// is time to do something about it, somebody hears of it.
func (p *Published) detour(v *manifest.Version, bytes int64) {
	if v.Detour(bytes) && p.Detoured != nil {
		p.Detoured()
	}
}
