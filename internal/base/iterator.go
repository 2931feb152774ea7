package base

// Iterator walks internal keys in order. Memtables, tables, levels and merges
// implement it. An iterator starts unpositioned; First, Last and the seeks
// position it, and each move reports whether it now stands on an entry. Once a
// move returned false, only First, Last and the seeks may move it again; Next and
// Prev keep returning false. A false move means the end or an error: ask Err.
//
// Key and Value belong to the iterator and are valid until its next move. An
// iterator is used by one goroutine at a time.
type Iterator interface {
	First() bool
	Last() bool
	SeekGE(key InternalKey) bool // first entry at or after key
	SeekLT(key InternalKey) bool // last entry before key
	Next() bool
	Prev() bool
	Valid() bool
	Key() InternalKey
	Value() []byte
	Err() error
	Close() error // idempotent; returns Err
}
