package raftlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

// maxIndex is the largest index that an entry can have.
const maxIndex = math.MaxUint64

// maxKeptBytes bounds the memory that a Store keeps between two StoreLogs.
const maxKeptBytes = 1 << 20

// FirstIndex returns the index of the first entry, 0 if there is none. It reads memory only.
func (s *Store) FirstIndex() (uint64, error) {
	if s.closed.Load() {
		return 0, db.ErrClosed
	}
	return s.first.Load(), nil
}

// LastIndex returns the index of the last entry, 0 if there is none. It reads memory only.
func (s *Store) LastIndex() (uint64, error) {
	if s.closed.Load() {
		return 0, db.ErrClosed
	}
	return s.last.Load(), nil
}

// keys holds buffers for keys of entries, as *[]byte.
var keys = sync.Pool{New: func() any { return new([]byte) }}

// GetLog reads the entry of an index into l, all of whose fields it sets. Data and Extensions
// are l's own: they share one piece of memory with each other, and with nobody else. An
// AppendedAt comes back without its monotonic part.
//
// Errors: raft.ErrLogNotFound if there is no such entry; db.ErrCorrupt; db.ErrIncompatible for
// an entry that a newer version has written. After an error l is as it was.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	switch {
	case s.closed.Load():
		return db.ErrClosed
	case index < s.first.Load() || index > s.last.Load():
		return raft.ErrLogNotFound
	}
	key := keys.Get().(*[]byte)
	*key = s.appendKey((*key)[:0], index)
	value, err := s.db.AppendValue(nil, *key)
	keys.Put(key)
	if errors.Is(err, db.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err == nil {
		err = decodeEntry(value, index, l)
	}
	if err != nil {
		return fmt.Errorf("raftlog: get log %d: %w", index, err)
	}
	return nil
}

// StoreLog is StoreLogs for one entry.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries, and with them the commit index that was staged. It returns when
// they survive a power failure: all of them, or after an error none. An entry replaces the one
// with the same index. Indexes may have gaps. What logs points to is copied.
//
// Errors are those of db.DB.Apply. If that is db.ErrReadOnly, because the disk has failed,
// the entries may or may not be there after the next Open; until then nothing more is written.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed.Load() {
		return db.ErrClosed
	}
	if len(logs) == 0 {
		return nil
	}
	defer s.reset()
	next := s.state
	for _, l := range logs {
		if err := s.add(l); err != nil {
			return fmt.Errorf("raftlog: store log %d: %w", l.Index, err)
		}
		next.include(l.Index)
	}
	next.commit = min(s.staged, next.last)
	if err := s.write(next); err != nil {
		return fmt.Errorf("raftlog: store logs %d to %d: %w", logs[0].Index, logs[len(logs)-1].Index, err)
	}
	return nil
}

// DeleteRange removes the entries from one index to another, both included, and returns when
// that survives a power failure. If it removes the end of the log, the commit index does not stay
// behind the entry that is the last one then. Errors are those of db.DB.Apply; after one nothing
// was removed, but see StoreLogs.
func (s *Store) DeleteRange(from, to uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed.Load() {
		return db.ErrClosed
	}
	// No more than there is: the database would have to keep ranges apart that lie in each other.
	from, to = max(from, s.state.first), min(to, s.state.last)
	if !s.state.holds || from > to {
		return nil
	}
	defer s.reset()
	before := s.state
	next, err := s.without(from, to)
	if err == nil {
		err = s.batch.DeleteRange(s.key(from), after(s.key(to)))
	}
	if err == nil {
		s.show(next) // first, so that whatever lies between both ends can be read
		err = s.write(next)
	}
	if err != nil {
		s.show(before)
		return fmt.Errorf("raftlog: delete logs %d to %d: %w", from, to, err)
	}
	return nil
}

// IsMonotonic returns true, which makes Raft remove all entries when it restores a snapshot. A
// Store could do without, as gaps do it no harm. But that costs one small write, and nothing
// stays of the old log that could be taken for a part of the new one.
func (s *Store) IsMonotonic() bool { return true }

// StageCommitIndex has the next StoreLogs store a commit index along with its entries. It writes
// nothing itself. Raft calls it, and GetCommitIndex, only with Config.RestoreCommittedLogs. Of raft
// v1.8.0 beware: a node that starts so takes its members from a snapshot, or from entries that are
// not known to be committed. Without a snapshot it has none and waits forever.
func (s *Store) StageCommitIndex(index uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed.Load() {
		return db.ErrClosed
	}
	s.staged = index
	return nil
}

// GetCommitIndex returns the commit index that was last stored, which is never larger than the
// index of the last entry; 0 if there is none.
func (s *Store) GetCommitIndex() (uint64, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed.Load() {
		return 0, db.ErrClosed
	}
	return s.state.commit, nil
}

// add adds an entry to the batch.
func (s *Store) add(l *raft.Log) (err error) {
	if s.value, err = appendEntry(s.value[:0], l); err != nil {
		return err
	}
	s.buffer = s.appendKey(s.buffer[:0], l.Index)
	return s.batch.Put(s.buffer, s.value)
}

// write applies the batch, after which the log is in its next state.
func (s *Store) write(next state) error {
	if next.commit != s.state.commit {
		if err := s.batch.Put(s.commitKey, binary.BigEndian.AppendUint64(nil, next.commit)); err != nil {
			return err
		}
	}
	if err := s.db.Apply(context.Background(), s.batch, db.Sync); err != nil {
		return err
	}
	if next.last < s.state.last { // what was committed behind it is not known any more
		s.staged = min(s.staged, next.last)
	}
	s.state = next
	s.show(next)
	return nil
}

// reset empties the batch, and gives back the memory of a large one.
func (s *Store) reset() {
	if s.batch.Bytes() > maxKeptBytes {
		s.batch = s.db.NewBatch()
	}
	if cap(s.value) > maxKeptBytes {
		s.value = nil
	}
	s.batch.Reset()
}

// include adds an entry to the state.
func (st *state) include(index uint64) {
	if !st.holds {
		st.holds, st.first, st.last = true, index, index
		return
	}
	st.first, st.last = min(st.first, index), max(st.last, index)
}

// without returns the state without the entries of a range, both ends included.
func (s *Store) without(from, to uint64) (next state, err error) {
	next = s.state
	switch first, last := from == next.first, to == next.last; {
	case first && last:
		return state{}, nil
	case first:
		next.first = to + 1
		if there, err := s.db.Has(s.key(next.first)); there || err != nil { // nearly always
			return next, err
		}
		next.first, _, err = s.entryFrom(to + 1)
	case last:
		next.last, _, err = s.entryUpTo(from - 1)
		next.commit = min(next.commit, next.last)
	}
	return next, err
}

// entryFrom returns the index of the first entry at or behind an index.
func (s *Store) entryFrom(index uint64) (found uint64, ok bool, err error) {
	return s.find(s.key(index), after(s.key(maxIndex)), (*db.Iterator).First)
}

// entryUpTo returns the index of the last entry at or before an index.
func (s *Store) entryUpTo(index uint64) (found uint64, ok bool, err error) {
	return s.find(s.key(0), after(s.key(index)), (*db.Iterator).Last)
}

// find returns the index of the entry in [lower, upper) that an iterator is moved to.
func (s *Store) find(lower, upper []byte, move func(*db.Iterator) bool) (index uint64, ok bool, err error) {
	it, err := s.db.NewIterator(&db.IterOptions{Lower: lower, Upper: upper, KeysOnly: true})
	if err != nil {
		return 0, false, err
	}
	if ok = move(it); ok {
		index, err = number(it.Key()[len(s.log):])
	}
	return index, ok, errors.Join(err, it.Close())
}

// key returns the key of an entry.
func (s *Store) key(index uint64) []byte { return s.appendKey(nil, index) }

func (s *Store) appendKey(dst []byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, s.log...), index)
}

// after returns the key that follows a key immediately.
func after(key []byte) []byte { return append(key, 0) }
