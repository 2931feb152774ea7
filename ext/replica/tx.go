package replica

import (
	"bytes"
	"time"

	"lsmdb/db"
)

// Tx is a transaction of Update. It reads the state of this node as it was when the run of fn
// began, and its own changes over that. Each key that was read from the state, found or not, is
// compared when the changes are applied. It is used by one goroutine, until fn returns; then its
// methods return db.ErrClosed.
type Tx struct {
	fsm      *FSM
	state    *generation
	snapshot *db.Snapshot
	sight    sight
	began    int64

	own     overlay
	read    map[string]bool
	command *Command
	err     error // of the first change that was refused
}

// begin begins a transaction on what the state machine holds.
func (f *FSM) begin() (*Tx, error) {
	g, err := f.acquire()
	if err != nil {
		return nil, err
	}
	published := g.published.Load()
	s, err := g.db.NewSnapshot()
	if err != nil {
		f.release(g)
		return nil, err
	}
	tx := &Tx{fsm: f, state: g, snapshot: s, began: nanoseconds(time.Now()), read: make(map[string]bool), command: NewCommand()}
	at, err := readPosition(s.In(g.meta))
	if err != nil {
		tx.end()
		return nil, err
	}
	tx.sight = sight{s.In(g.data), at, published}
	return tx, nil
}

// end gives up what the transaction holds.
func (tx *Tx) end() {
	if tx.snapshot != nil {
		_ = tx.snapshot.Close() // which only gives up a reference
		tx.fsm.release(tx.state)
		tx.snapshot = nil
	}
}

// commit returns the transaction as a command.
func (tx *Tx) commit() (*Command, error) { return tx.command, tx.err }

// Get returns a copy of the value of key, or db.ErrNotFound.
func (tx *Tx) Get(key []byte) ([]byte, error) {
	if tx.snapshot == nil {
		return nil, db.ErrClosed
	}
	value, changed := tx.own.get(key, tx.began)
	if changed {
		value = bytes.Clone(value)
	} else {
		var err error
		if value, _, err = tx.sight.get(key); err != nil {
			return nil, err
		}
		if !tx.read[string(key)] {
			tx.read[string(key)] = true
			tx.command.Expect(key, value)
		}
	}
	if value == nil {
		return nil, db.ErrNotFound
	}
	return value, nil
}

// Put stores value under key when the transaction is applied; its own reads see it from now
// on. Key and value are copied. Beyond the limits it is db.ErrKeyTooLarge or
// db.ErrValueTooLarge, and Update fails with the same error.
func (tx *Tx) Put(key, value []byte) error {
	return tx.change(operation{kind: kindPut, key: key, value: value})
}

// PutUntil stores value under key until a time; see Command.PutUntil. Otherwise it is like Put.
func (tx *Tx) PutUntil(key, value []byte, until time.Time) error {
	if until.IsZero() {
		return tx.Put(key, value)
	}
	return tx.change(operation{kind: kindPutUntil, key: key, value: value, until: max(1, nanoseconds(until))})
}

// Delete removes key, whether it exists or not. Otherwise it is like Put.
func (tx *Tx) Delete(key []byte) error { return tx.change(operation{kind: kindDelete, key: key}) }

// DeleteRange removes the keys in [start, end) as of when the transaction is applied; a nil end
// is no bound. Otherwise it is like Put.
func (tx *Tx) DeleteRange(start, end []byte) error {
	return tx.change(operation{kind: kindDeleteRange, key: start, value: end})
}

// change notes a change for the transaction's own reads, and for the command.
func (tx *Tx) change(o operation) error {
	if tx.snapshot == nil {
		return db.ErrClosed
	}
	err := o.check()
	if err != nil {
		if tx.err == nil {
			tx.err = err
		}
		return err
	}
	o.key = bytes.Clone(o.key)
	if o.value != nil {
		o.value = bytes.Clone(o.value)
	}
	tx.own.add(o)
	tx.command.add(o)
	return nil
}
