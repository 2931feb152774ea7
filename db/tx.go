package db

import (
	"context"
	"sync"

	"lsmdb/internal/base"
	"lsmdb/internal/view"
	"lsmdb/memtable"
	"lsmdb/stages"
)

// Tx is a transaction. It reads the database as it was at Begin, and its own writes over
// that. Commit makes the writes visible, all at one instant, if nothing that the
// transaction has read was changed by others since Begin; otherwise it stores nothing and
// says which key was. So transactions have the effect that they would have one after the
// other, in the order of their commits: they are serializable. None waits for another one,
// and nothing is locked.
//
// What counts as read: a key that was looked up, found or not; and of an iterator, every
// key from where it was asked to start to the one it stopped on, this included, be there
// a value or not. What the transaction's own Put or Delete answers is no read of the
// database. What counts as changed: every write to the key, also a delete of a key that
// had no value, and one that was undone since.
//
// A transaction that writes nothing never conflicts, nor does one that reads nothing. Until
// it ends it keeps what it can see, as a Snapshot does; what it reads and writes is kept in
// memory. Nothing limits its age. It is used by one goroutine at a time, together with its
// iterators, and ends with Commit or Discard: then reads, writes and iterators return
// ErrClosed.
type Tx struct {
	base  Snapshot // what there was at Begin
	shown *Snapshot
	ended bool
	err   error // of the first write that was refused
	*txSpace
}

// txSpace is what transactions pass on to later ones.
type txSpace struct {
	commit *stages.Commit // with the own writes
	reads  view.Reads

	// Own writes are sorted when something is read: those that only write never need it.
	sorted  []*memtable.Memtable // newest first
	through int                  // bytes of the commit's operations that are in there
	newest  base.Seq             // of these; 0: there are none
	walked  int                  // iterators that may still look at them
	spare   *memtable.Memtable   // of another transaction, to be used again; may be nil
}

const (
	leastOwnBytes  = 4 << 10 // of the first memtable of own writes; each further one is larger
	mostOwnBytes   = 4 << 20
	pooledOwnBytes = 64 << 10
)

var txSpaces = sync.Pool{New: func() any { return new(txSpace) }}

// Begin begins a transaction of what is visible now. It must be ended by Commit or
// Discard; Update does all of that. Errors: ErrClosed, and ErrReadOnly for a database that
// was opened so.
func (d *DB) Begin() (*Tx, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	tx := &Tx{txSpace: txSpaces.Get().(*txSpace)}
	tx.base.db, tx.base.held = d, d.pipeline.Begin()
	tx.base.seq = tx.base.held.Seq()
	tx.commit = d.takeCommit()
	return tx, nil
}

// Get returns a copy of the value of key, or ErrNotFound: that of the transaction's own
// newest write, or else what there was at Begin.
func (tx *Tx) Get(key []byte) ([]byte, error) { return tx.AppendValue(nil, key) }

// AppendValue appends the value of key to dst; see DB.AppendValue and Tx.Get.
func (tx *Tx) AppendValue(dst, key []byte) ([]byte, error) {
	r, err := tx.read(key)
	if err != nil {
		return dst, err
	}
	return appendValue(dst, r, tx.at(), key)
}

// Has reports whether key has a value; see Tx.Get.
func (tx *Tx) Has(key []byte) (bool, error) {
	r, err := tx.read(key)
	if err != nil {
		return false, err
	}
	return has(r, tx.at(), key)
}

// NewIterator returns an iterator over the transaction as it is now; what it writes later
// does not appear. Nothing is read before the first move: see Tx.
func (tx *Tx) NewIterator(o *IterOptions) (*Iterator, error) {
	r, err := tx.enter()
	if err != nil {
		return nil, err
	}
	it, err := newIterator(tx.base.db, r, tx.at(), o)
	it.tx = tx
	it.reads = tx.reads.NewWalk(o.bounds())
	tx.walked++
	return it, err
}

// Snapshot shows the database as it was at Begin, without the transaction's own writes.
// What is read there may be changed by others: it never makes the commit fail. The
// snapshot ends with the transaction.
func (tx *Tx) Snapshot() *Snapshot {
	if tx.shown == nil || tx.shown.closed.Load() {
		tx.shown = &Snapshot{db: tx.base.db, seq: tx.base.seq}
		tx.shown.closed.Store(tx.ended)
	}
	return tx.shown
}

// Put stores value under key when the transaction is committed; its own reads see it from
// now on. Key and value are copied. A write beyond a limit is refused with ErrKeyTooLarge,
// ErrValueTooLarge or ErrBatchTooLarge, and Commit fails with the same error then.
func (tx *Tx) Put(key, value []byte) error {
	if tx.ended {
		return ErrClosed
	}
	return tx.wrote(tx.commit.Put(key, value))
}

// Delete removes key, whether it exists or not. Otherwise it is like Put.
func (tx *Tx) Delete(key []byte) error {
	if tx.ended {
		return ErrClosed
	}
	return tx.wrote(tx.commit.Delete(key))
}

// wrote notes the first error.
func (tx *Tx) wrote(err error) error {
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// Commit ends the transaction, whatever it returns, and makes its writes part of the
// database, all or none. It waits like Apply: until the writes are as durable as w says,
// and no longer than ctx while they are queued.
//
// It returns a *ConflictError, for which errors.Is(err, ErrConflict) holds, if others have
// changed what the transaction has read. Then nothing was stored, and the whole
// transaction may be run again: Update does that. A *CorruptionError says that a damaged
// table does not let it tell. Other errors are those of Apply.
func (tx *Tx) Commit(ctx context.Context, w ...Durability) error {
	if tx.ended {
		return ErrClosed
	}
	defer tx.Discard()
	d, c := tx.base.db, tx.commit
	switch {
	case ctx == nil:
		return errNilContext
	case ctx.Err() != nil:
		return ctx.Err()
	case d.closed.Load():
		return ErrClosed
	case tx.err != nil:
		return tx.err
	case c.Len() == 0:
		return nil
	}
	if tx.reads.Seal(); tx.reads.Empty() {
		return d.commit(ctx, c, w)
	}
	c.Reads, c.Through = &tx.reads, tx.base.seq
	for {
		err := d.pipeline.Look(c)
		if err == nil {
			err = d.commit(ctx, c, w)
		}
		if !c.CameLate(err) {
			return err
		}
	}
}

// Discard ends the transaction without a trace, unless it has ended already. It is good
// to defer it behind Begin.
func (tx *Tx) Discard() {
	if tx.ended {
		return
	}
	tx.ended = true
	if tx.shown != nil {
		tx.shown.closed.Store(true) // before what it shows may go
	}
	d, space := tx.base.db, tx.txSpace
	d.pipeline.End(tx.base.held)
	if !space.commit.Abandoned() { // then the Writer will still come across it
		d.giveBack(space.commit)
	}
	tx.txSpace = nil
	space.recycle()
}

// recycle leaves the space to another transaction, without what somebody may still
// look at.
func (s *txSpace) recycle() {
	next := txSpace{reads: s.reads, spare: s.spare}
	if n := len(s.sorted); n > 0 && s.walked == 0 {
		if first := s.sorted[n-1]; !first.Shown() && first.CapacityBytes() <= pooledOwnBytes {
			next.spare = first
		}
	}
	next.reads.Reset()
	*s = next
	txSpaces.Put(s)
}

// read returns what to search for a key, and to leave then. It notes that the key was
// read, unless an own write answers.
func (tx *Tx) read(key []byte) (view.Reading, error) {
	r, err := tx.enter()
	if err == nil && !tx.answers(key) && len(key) <= MaxKeyBytes { // nobody can write longer ones
		tx.reads.Add(key)
	}
	return r, err
}

// answers reports whether the own writes say what value key has.
func (tx *Tx) answers(key []byte) bool {
	if len(tx.sorted) == 0 {
		return false
	}
	hash := base.Hash(key)
	for _, m := range tx.sorted {
		if _, t, ok := m.Get(key, hash, tx.newest); ok {
			return t.Kind() != base.KindMerge
		}
	}
	return false
}

// enter returns what to search, and to leave then.
func (tx *Tx) enter() (view.Reading, error) {
	if tx.ended {
		return view.Reading{}, ErrClosed
	}
	tx.sort()
	r, err := tx.base.enter()
	return r.Over(tx.sorted), err
}

// at is the instant that the transaction shows.
func (tx *Tx) at() view.At {
	at := tx.base.at()
	at.Own = tx.newest
	return at
}

// sort sorts the own writes that are not sorted yet.
func (s *txSpace) sort() {
	if s.through == s.commit.Bytes() {
		return
	}
	for op := range s.commit.From(s.through) {
		s.newest = max(s.newest+1, view.FirstOwn)
		s.room(memtable.FootprintBytes(1, int64(len(op.Key)+len(op.Value)))).Insert(op.Key, op.Value, s.newest, op.Kind)
	}
	s.through = s.commit.Bytes()
}

// room returns the newest memtable, which has room for so much.
func (s *txSpace) room(footprint int64) *memtable.Memtable {
	arenaBytes := int64(leastOwnBytes)
	if len(s.sorted) > 0 {
		if s.sorted[0].Fits(footprint) {
			return s.sorted[0]
		}
		arenaBytes = min(4*s.sorted[0].CapacityBytes(), mostOwnBytes)
	}
	m := s.spare
	if arenaBytes = max(arenaBytes, footprint); m != nil && m.CapacityBytes() >= arenaBytes {
		m, s.spare = m.Renew(), nil
	} else {
		m = memtable.New(arenaBytes)
	}
	s.sorted = append([]*memtable.Memtable{m}, s.sorted...) // iterators have the slice
	return m
}
