package view

import (
	"bytes"
	"math/rand/v2"
	"sync"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// shows reports whether a version is a value. The newest visible version of a key
// decides: a key that it deletes has none, whatever is older.
func shows(t base.Trailer) bool { return t.Kind() == base.KindSet }

// Get looks for the newest version of key that is visible at an instant, newest run
// first: the first version it meets decides. The value is valid until Leave.
func (r Reading) Get(at At, key []byte) (value []byte, found bool, err error) {
	hash, seq := base.Hash(key), at.Seq
	for _, m := range r.own {
		if value, t, ok := m.Get(key, hash, at.Own); ok {
			return value, shows(t), nil
		}
	}
	if value, t, ok := r.Active.Get(key, hash, seq); ok {
		return value, shows(t), nil
	}
	for _, m := range r.Sealed {
		if value, t, ok := m.Get(key, hash, seq); ok {
			return value, shows(t), nil
		}
	}
	if len(key) > base.MaxKeyBytes {
		return nil, false, nil // and no buffer of that size is kept for it
	}
	value, t, ok, err := r.getFromTables(seq, key, hash)
	return value, ok && shows(t), err
}

// searchKeys recycles the internal keys that tables are searched for.
var searchKeys = sync.Pool{New: func() any { return new(base.InternalKey) }}

func (r Reading) getFromTables(seq base.Seq, key []byte, hash uint64) (value []byte, t base.Trailer, found bool, err error) {
	search := searchKeys.Get().(*base.InternalKey)
	defer searchKeys.Put(search)
	*search = base.AppendSearchKey((*search)[:0], key, seq)
	level0 := r.Version.Levels[0]
	if len(level0) > 0 && rand.Uint32()%detourSample == 0 {
		r.published.detour(r.Version, detourSample*getDetourBytes*int64(len(level0)))
	}
	for _, t := range level0 {
		if bytes.Compare(key, t.Smallest.UserKey()) < 0 || bytes.Compare(key, t.Largest.UserKey()) > 0 {
			continue
		}
		if value, trailer, found, err := getFromTable(t, *search, hash); found || err != nil {
			return value, trailer, found, err
		}
	}
	for level := 1; level < manifest.NumLevels; level++ {
		t := r.Version.Find(level, key)
		if t == nil {
			continue
		}
		if value, trailer, found, err := getFromTable(t, *search, hash); found || err != nil {
			return value, trailer, found, err
		}
	}
	return nil, 0, false, nil
}

func getFromTable(t *manifest.TableMeta, search base.InternalKey, hash uint64) ([]byte, base.Trailer, bool, error) {
	table, err := t.Handle.Table()
	if err != nil {
		return nil, 0, false, err
	}
	return table.Get(search, hash)
}

// What a read spends on each table of level 0, in bytes that a compaction could have
// merged meanwhile: a filter to ask, or a block to search. Only one get in detourSample
// counts, for all, so that gets need not meet at a counter.
const (
	getDetourBytes  = 64
	seekDetourBytes = 1 << 10
	detourSample    = 64
)

// detour tells what reads have spent on level 0: see manifest.Version.Detour. When it
// is time to do something about it, somebody hears of it.
func (p *Published) detour(v *manifest.Version, bytes int64) {
	if v.Detour(bytes) && p.Detoured != nil {
		p.Detoured()
	}
}
