package db

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync"

	"lsmdb/internal/base"
	"lsmdb/manifest"
	"lsmdb/stages"
)

// Get returns a copy of the value of key, or ErrNotFound. A damaged block gives a
// *CorruptionError for the keys that need it; others can still be read.
func (d *DB) Get(key []byte) ([]byte, error) { return d.AppendValue(nil, key) }

// AppendValue appends the value of key to dst and returns the result, so that a
// caller with a large enough buffer causes no allocation. On an error, ErrNotFound
// included, it returns dst as it was.
func (d *DB) AppendValue(dst, key []byte) ([]byte, error) {
	if d.closed.Load() {
		return dst, ErrClosed
	}
	// The state is loaded before the sequence number: see stages.Published.
	state := d.published.Enter()
	return appendValue(dst, state, d.published.Visible(), key)
}

// Has reports whether key has a value.
func (d *DB) Has(key []byte) (bool, error) {
	if d.closed.Load() {
		return false, ErrClosed
	}
	state := d.published.Enter()
	return has(state, d.published.Visible(), key)
}

func appendValue(dst []byte, state stages.Reading, seq base.Seq, key []byte) ([]byte, error) {
	defer state.Leave()
	value, found, err := find(state.ReadState, seq, key)
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return dst, err
	}
	if dst == nil && len(value) == 0 {
		dst = []byte{} // an empty value is a value
	}
	dst = append(dst, value...)
	// What find returned lies in files and memory that the state keeps open.
	runtime.KeepAlive(state.ReadState)
	return dst, nil
}

func has(state stages.Reading, seq base.Seq, key []byte) (bool, error) {
	defer state.Leave()
	_, found, err := find(state.ReadState, seq, key)
	runtime.KeepAlive(state.ReadState)
	return found, err
}

// find looks for the newest version of key that is visible at seq, newest run
// first: the first version it meets decides. The value must not outlive state.
func find(state *stages.ReadState, seq base.Seq, key []byte) (value []byte, found bool, err error) {
	hash := base.Hash(key)
	if value, t, ok := state.Active.Get(key, hash, seq); ok {
		return value, t.Kind() == base.KindSet, nil
	}
	for _, m := range state.Sealed {
		if value, t, ok := m.Get(key, hash, seq); ok {
			return value, t.Kind() == base.KindSet, nil
		}
	}
	return findInTables(state, seq, key, hash)
}

// What a read spends on each table of level 0, in bytes that a compaction could have
// merged meanwhile: a filter to ask, or a block to search.
const (
	getDetourBytes  = 64
	seekDetourBytes = 1 << 10
)

// searchKeys recycles the internal keys that tables are searched for.
var searchKeys = sync.Pool{New: func() any { return new(base.InternalKey) }}

func findInTables(state *stages.ReadState, seq base.Seq, key []byte, hash uint64) (value []byte, found bool, err error) {
	if len(key) > MaxKeyBytes {
		return nil, false, nil // and no buffer of that size is kept for it
	}
	s := searchKeys.Get().(*base.InternalKey)
	defer searchKeys.Put(s)
	*s = base.AppendSearchKey((*s)[:0], key, seq)
	v := state.Version
	if level0 := len(v.Levels[0]); level0 > 0 && rand.Uint32()%64 == 0 {
		state.Detoured(64 * getDetourBytes * int64(level0)) // a sample: gets need not meet at a counter
	}
	for _, t := range v.Levels[0] {
		if bytes.Compare(key, t.Smallest.UserKey()) < 0 || bytes.Compare(key, t.Largest.UserKey()) > 0 {
			continue
		}
		value, trailer, ok, err := findInTable(t, *s, hash)
		if ok || err != nil {
			return value, ok && trailer.Kind() == base.KindSet, err
		}
	}
	for level := 1; level < manifest.NumLevels; level++ {
		t := v.Find(level, key)
		if t == nil {
			continue
		}
		value, trailer, ok, err := findInTable(t, *s, hash)
		if ok || err != nil {
			return value, ok && trailer.Kind() == base.KindSet, err
		}
	}
	return nil, false, nil
}

func findInTable(t *manifest.TableMeta, search base.InternalKey, hash uint64) ([]byte, base.Trailer, bool, error) {
	table, err := t.Handle.Table()
	if err != nil {
		return nil, 0, false, err
	}
	return table.Get(search, hash)
}
