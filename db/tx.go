package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/view"
	"lsmdb/memtable"
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
// a value or not. What the transaction's own Put, PutUntil, Delete or DeleteRange answers
// is no read of the database; after its own Merge it is one.
//
// What counts as changed: every write to the key, be it the delete of a key that had no
// value, or undone since; and a DeleteRange that covers it, though not beyond the last key
// that exists. A value that ends is no change.
//
// A transaction that writes nothing never conflicts, nor does one that reads nothing. Until
// it ends it keeps what it can see, as a Snapshot does; what it reads and writes is kept in
// memory. Nothing limits its age. It is used by one goroutine at a time, together with its
// iterators, and ends with Commit or Discard: then reads, writes and iterators return
// ErrClosed.
type Tx struct {
	*txSpace // nil: it has ended
	db       *DB

	// A view has its original and a prefix, and nothing else; see In. An original is its own.
	of     *Tx
	prefix []byte
}

// txSpace is all of a transaction but its handle, which says for good that it has ended.
// Later ones get it then.
type txSpace struct {
	base  Snapshot // what there was at Begin
	shown *Snapshot
	own   *call // writes
	err   error // of the first write that was refused
	reads view.Reads

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
func (d *DB) Begin() (*Tx, error) { return d.begin(context.Background(), view.Caller(2)) }

// begin begins a transaction that was asked for in a place, unless ctx ends before.
func (d *DB) begin(ctx context.Context, pc uintptr) (*Tx, error) {
	if err := d.writable(ctx); err != nil {
		return nil, err
	}
	if err := d.catchUpUntil(ctx); err != nil {
		return nil, err
	}
	d.begun.Add(1)
	tx := &Tx{txSpace: txSpaces.Get().(*txSpace), db: d}
	tx.of, tx.own, tx.base.db, tx.base.held.Opened = tx, d.takeCall(), d, view.Opened{Since: d.clock.Now(), PC: pc}
	tx.base.at = d.pipeline.Begin(&tx.base.held).At()
	return tx, nil
}

// View calls fn with a snapshot of what is visible now, and closes it when fn returns or
// panics. It returns fn's error unchanged. Fn may read for as long as it likes; nobody
// waits for it.
func (d *DB) View(fn func(*Snapshot) error) error {
	s, err := d.snapshot(context.Background(), view.PlaceOf(&fn, 2))
	if err != nil {
		return err
	}
	defer s.Close()
	return fn(s)
}

// Update runs fn in a transaction and commits it. After a conflict it does so again, in a
// new transaction, until ctx ends; so fn may be called several times, and must do nothing
// that cannot be done twice. Nothing of a failed run stays.
//
// An error of fn discards the transaction and is returned unchanged, as is an error of the
// commit that is no conflict: see Tx.Commit. When ctx ends, errors.Is finds its error and,
// after a conflict, ErrConflict. A panic of fn passes through, and the transaction is
// discarded. Fn must neither commit the transaction nor use it later.
//
// A transaction that reads much and takes long may meet a conflict each time, while others
// write what it reads. They get on with it: of those that conflict, one always commits.
//
// Within fn, nothing but tx must write what fn has read: d.Put and an Update of its own are
// others. The transaction would conflict with them in each run, until ctx ends.
func (d *DB) Update(ctx context.Context, fn func(*Tx) error, w ...Durability) error {
	if ctx == nil {
		return errNilContext
	}
	var conflict error
	for ctx.Err() == nil {
		again, err := d.update(ctx, fn, w)
		switch {
		case !again:
			return err
		case errors.Is(err, ErrConflict):
			conflict = err
		}
	}
	if conflict != nil {
		return fmt.Errorf("%w after a conflict: %w", ctx.Err(), conflict)
	}
	return ctx.Err()
}

// update runs fn once. With again, the commit met a conflict, or ctx has ended.
func (d *DB) update(ctx context.Context, fn func(*Tx) error, w []Durability) (again bool, err error) {
	tx, err := d.begin(ctx, view.PlaceOf(&fn, 3))
	if err != nil {
		return ctx.Err() != nil, err
	}
	defer tx.Discard()
	if err := fn(tx); err != nil {
		return false, err
	}
	err = tx.Commit(ctx, w...)
	return errors.Is(err, ErrConflict), err
}

// In returns the same transaction as it is seen from a keyspace: keys are those of k,
// whatever keyspace tx is seen from. Ending either ends both.
func (tx *Tx) In(k *Keyspace) *Tx { return &Tx{of: tx.of, prefix: k.prefix} }

// Get returns a copy of the value of key, or ErrNotFound: what the transaction's own
// writes make of what there was at Begin.
func (tx *Tx) Get(key []byte) ([]byte, error) { return tx.AppendValue(nil, key) }

// AppendValue appends the value of key to dst; see DB.AppendValue and Tx.Get.
func (tx *Tx) AppendValue(dst, key []byte) ([]byte, error) {
	return tx.read(&look{key: key}).appendValue(dst)
}

// Has reports whether key has a value; see Tx.Get.
func (tx *Tx) Has(key []byte) (bool, error) { return tx.read(&look{key: key}).has() }

// GetSize returns the length of the value of key, or ErrNotFound; see Tx.Get.
func (tx *Tx) GetSize(key []byte) (int, error) { return tx.read(&look{key: key}).size() }

// NewIterator returns an iterator over the transaction as it is now; what it writes later
// does not appear. Nothing is read before the first move: see Tx.
func (tx *Tx) NewIterator(options *IterOptions) (*Iterator, error) {
	o := tx.of
	if o.txSpace == nil {
		return nil, ErrClosed
	}
	o.sort()
	at := o.base.at
	at.Own = o.newest
	it, err := o.db.iterate(tx.prefix, &at, o.sorted, &o.db.closed, options)
	if err != nil {
		return nil, err
	}
	if it.part == nil {
		it.part = new(part)
	}
	it.part.tx, it.part.reads = o, o.reads.NewWalk()
	o.walked++
	return it, nil
}

// Snapshot shows the database as it was at Begin, without the transaction's own writes.
// What is read there may be changed by others: it never makes the commit fail. The
// snapshot ends with the transaction.
func (tx *Tx) Snapshot() *Snapshot {
	o := tx.of
	if o.txSpace == nil {
		ended := &Snapshot{db: o.db}
		ended.held.Closed.Store(true)
		return &Snapshot{of: ended, prefix: tx.prefix}
	}
	if o.shown == nil || o.shown.held.Closed.Load() {
		o.shown = &Snapshot{db: o.db, at: o.base.at}
	}
	return &Snapshot{of: o.shown, prefix: tx.prefix}
}

// Put stores value under key when the transaction is committed; its own reads see it from
// now on. Key and value are copied. A write beyond a limit is refused with ErrKeyTooLarge,
// ErrValueTooLarge or ErrBatchTooLarge, and Commit fails with the same error then.
func (tx *Tx) Put(key, value []byte) error {
	return tx.add(&operation{kind: base.KindSet, key: key, value: value})
}

// PutUntil stores value under key until a time; the zero time means that it stays. The
// transaction's own reads show it if it has not ended at Begin or, where none of the values
// that the database held then may end, at the first PutUntil. Otherwise it is like Put.
func (tx *Tx) PutUntil(key, value []byte, until time.Time) error {
	return tx.add(&operation{kind: base.KindSet, key: key, value: value, until: until})
}

// Delete removes key, whether it exists or not. Otherwise it is like Put.
func (tx *Tx) Delete(key []byte) error { return tx.add(&operation{kind: base.KindDelete, key: key}) }

// DeleteRange removes the keys in [start, end), as of the transaction's commit; a nil end
// is open. Where end is not behind start, it does nothing. Otherwise it is like Put.
func (tx *Tx) DeleteRange(start, end []byte) error {
	return tx.add(&operation{kind: base.KindRangeDelete, key: start, value: end})
}

// Merge merges operand onto the value of key with Options.Merger, without which it fails.
// Otherwise it is like Put.
func (tx *Tx) Merge(key, operand []byte) error {
	return tx.add(&operation{kind: base.KindMerge, key: key, value: operand})
}

// add adds an own write; see the function add. An error is noted, if it is the first.
func (tx *Tx) add(op *operation) (err error) {
	o := tx.of
	if o.txSpace == nil {
		return ErrClosed
	}
	if !op.until.IsZero() && o.base.at.Now == 0 { // nothing else that it sees ends
		o.base.at.Now = o.db.published.Now()
	}
	if err = ErrNoMerger; op.kind != base.KindMerge || o.db.published.Merger != nil {
		err = o.own.add(tx.prefix, op)
	}
	if o.err == nil {
		o.err = err
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
func (tx *Tx) Commit(ctx context.Context, w ...Durability) (err error) {
	o := tx.of
	if o.txSpace == nil {
		return ErrClosed
	}
	d, c := o.db, o.own
	defer func() {
		c.Drop()
		o.Discard()
		switch {
		case err == nil:
			d.committed.Add(1)
		case errors.Is(err, ErrConflict):
			d.conflicted.Add(1)
		}
	}()
	switch {
	case ctx == nil:
		return errNilContext
	case ctx.Err() != nil:
		return ctx.Err()
	case d.closed.Load():
		return ErrClosed
	case o.err != nil:
		return o.err
	case c.Len() == 0:
		return nil
	}
	if o.reads.Seal(); o.reads.Empty() {
		return d.commit(ctx, c.Commit, w)
	}
	c.Reads, c.Through = &o.reads, o.base.at.Seq
	if err := d.pipeline.Prepare(ctx, c.Commit); err != nil { // which may take long, so that Look comes behind it
		return err
	}
	for {
		err := d.pipeline.Look(c.Commit)
		if err == nil {
			err = d.commit(ctx, c.Commit, w)
		}
		if !c.CameLate(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Discard ends the transaction without a trace, unless it has ended already. It is good
// to defer it behind Begin.
func (tx *Tx) Discard() {
	o := tx.of
	if o.txSpace == nil {
		return
	}
	if o.shown != nil {
		o.shown.held.Closed.Store(true) // before what it shows may go
	}
	o.db.pipeline.End(&o.base.held)
	if !o.own.Abandoned() { // then the Writer will still come across it
		o.db.giveBack(o.own)
	}
	o.recycle()
	o.txSpace = nil
}

// recycle leaves the space to another transaction, without what somebody may still
// look at.
func (s *txSpace) recycle() {
	if n := len(s.sorted); n > 0 {
		if first := s.sorted[n-1]; s.walked == 0 && first.CapacityBytes() <= pooledOwnBytes {
			s.spare = first
		}
		s.sorted, s.through, s.newest = nil, 0, 0
	}
	s.base.db, s.shown, s.own, s.err, s.walked = nil, nil, nil, nil, 0
	s.reads.Reset()
	txSpaces.Put(s)
}

// read looks at a key, and notes that it was read, unless an own write answers.
func (tx *Tx) read(l *look) *look {
	o := tx.of
	if o.look(tx.prefix, l); l.State != nil && !o.answers(l.key) && len(l.key) <= MaxKeyBytes { // nobody can write longer ones
		o.reads.Add(l.key)
	}
	return l
}

// look looks at what the transaction shows now.
func (tx *Tx) look(prefix []byte, l *look) *look {
	if tx.txSpace != nil {
		tx.sort()
		tx.base.look(prefix, l)
		l.Reading, l.at.Own = l.Over(&tx.sorted), tx.newest
	}
	return l
}

// answers reports whether the own writes say what value key has.
func (s *txSpace) answers(key []byte) bool {
	if len(s.sorted) == 0 {
		return false
	}
	hash, cover := base.Hash(key), base.Seq(0)
	for _, m := range s.sorted {
		cover = max(cover, m.RangeDeletes.Newest(key, s.newest))
		if _, t, ok := m.Get(key, hash, s.newest); ok {
			return t.Seq() < cover || t.Kind() != base.KindMerge
		}
	}
	return cover > 0
}

// sort sorts the own writes that are not sorted yet.
func (s *txSpace) sort() {
	if s.through == s.own.Bytes() {
		return
	}
	for op := range s.own.From(s.through) {
		s.newest = max(s.newest+1, view.OwnBase)
		s.room(memtable.FootprintBytes(1, int64(len(op.Key)+len(op.Value)))).Apply(op, s.newest)
	}
	s.through = s.own.Bytes()
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
