// Package raftlog keeps what a node of hashicorp/raft must not forget in an lsmdb database: the
// log, the stable values (term and vote), and how far the log is known to be committed.
//
//	store, err := raftlog.Open(dir, nil)
//	r, err := raft.NewRaft(config, fsm, store, store, snapshots, transport)
//
// A Store is both the raft.LogStore and the raft.StableStore of a node. Whatever a method has
// acknowledged survives a power failure. StoreLogs is one synced batch, which is there whole or
// not at all. DeleteRange costs one small write however much it covers, and the space comes
// back by itself.
//
// A process with many Raft groups keeps them in one database, with a Store and a prefix for
// each (StoreIn). Then what the groups write at the same time shares one sync, and all of them
// share one cache and one memory budget.
//
// # What lies in the database
//
// Behind the prefix of the Store a byte says what a key belongs to. So no stable value can
// come between the entries of the log, whatever its name is:
//
//	l + index (8 bytes, big endian)   an entry of the log
//	s + key                           a stable value; a number has 8 bytes, big endian
//	c                                 the commit index (8 bytes, big endian)
//
// An entry begins with its format, 1, and a byte of flags. Then follow
//
//	type (1 byte) | term (uvarint) | AppendedAt | extensions | data
//
// AppendedAt, if flag 4 is set, is a length of one byte and what time.Time.MarshalBinary makes.
// Extensions, if flag 2 is set, are a length (uvarint) and bytes. The data is all of the rest;
// without flag 1 it is nil.
package raftlog

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

var (
	_ raft.LogStore               = (*Store)(nil)
	_ raft.StableStore            = (*Store)(nil)
	_ raft.CommitTrackingLogStore = (*Store)(nil)
	_ raft.MonotonicLogStore      = (*Store)(nil)
)

// ErrNotFound: there is no stable value of that key. Its text is the one that raft knows.
var ErrNotFound = errors.New("not found")

// What a key belongs to.
const (
	ofLog    = 'l'
	ofStable = 's'
	ofCommit = 'c'
)

// Store is the log and the stable values of one Raft node. All methods may be called
// concurrently. There must be one Store at a time for each prefix of a database: it keeps in
// memory where its log begins and ends.
type Store struct {
	db     *db.DB
	close  func() error
	closed atomic.Bool

	log       []byte // what the keys of entries begin with
	stable    *db.Keyspace
	commitKey []byte

	// What readers see of state, each for itself. Of an empty log both are 0. Every entry
	// between them can be read: they grow after it was written, and shrink before it is deleted.
	first, last atomic.Uint64

	// writing lets in one writer at a time, as each goes on from the state that the one before
	// has left. Raft has one that appends, and now and then one that trims.
	writing sync.Mutex
	state   state
	staged  uint64 // what StageCommitIndex has said, or else what is stored
	batch   *db.Batch
	buffer  []byte // the key in hand
	value   []byte // the entry in hand
}

// state is what a writer must know of the log.
type state struct {
	holds       bool   // entries; without, the others are 0
	first, last uint64 // index of the first and of the last entry
	commit      uint64 // the commit index that is stored
}

// Open opens the Store that has a database of its own in dir, and creates it if there is none.
// A nil o means the defaults. Whatever o.Durability is, what a Store writes is synced. Close
// closes the database. Errors are those of db.Open, and of StoreIn.
func Open(dir string, o *db.Options) (*Store, error) {
	d, err := db.Open(dir, o)
	if err != nil {
		return nil, err
	}
	s, err := StoreIn(d, nil)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	s.close = d.Close
	return s, nil
}

// StoreIn opens the Store whose keys in d begin with a prefix, which is copied. Others may keep
// what they like under other prefixes. None of these may begin with another one: give prefixes
// of one length, or ones that end with a byte that none has inside.
//
// Opening finds the first and the last entry and reads nothing else. Close leaves d open. When d
// is closed, what needs it returns db.ErrClosed.
//
// Errors: db.ErrClosed; db.ErrCorrupt, also where under the prefix lies what no Store has
// written there.
func StoreIn(d *db.DB, prefix []byte) (*Store, error) {
	under := func(kind byte) []byte { return append(slices.Clone(prefix), kind) }
	s := &Store{
		db:        d,
		close:     func() error { return nil },
		log:       under(ofLog),
		stable:    d.Keyspace(under(ofStable)),
		commitKey: under(ofCommit),
		batch:     d.NewBatch(),
	}
	var err error
	if s.state, err = s.recover(); err != nil {
		return nil, fmt.Errorf("raftlog: open: %w", err)
	}
	s.staged = s.state.commit
	s.show(s.state)
	return s, nil
}

// Close waits for what is being written and ends the Store, whose methods return db.ErrClosed
// from then on. It is idempotent.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	return s.close()
}

// recover finds out what state the database holds.
func (s *Store) recover() (found state, err error) {
	if found.first, found.holds, err = s.entryFrom(0); err != nil {
		return state{}, err
	}
	if found.last, _, err = s.entryUpTo(maxIndex); err != nil {
		return state{}, err
	}
	commit, err := s.db.Get(s.commitKey)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return found, nil
	case err != nil:
		return state{}, err
	}
	if found.commit, err = number(commit); err == nil && found.commit > found.last {
		err = fmt.Errorf("the commit index is %d, but the last entry has %d: %w", found.commit, found.last, db.ErrCorrupt)
	}
	return found, err
}

// show shows readers where the log begins and ends.
func (s *Store) show(now state) {
	s.first.Store(now.first)
	s.last.Store(now.last)
}
