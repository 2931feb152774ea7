package db

import (
	"context"
	"errors"
	"fmt"
)

// View calls fn with a snapshot of what is visible now, and closes it when fn returns or
// panics. It returns fn's error unchanged. Fn may read for as long as it likes; nobody
// waits for it.
func (d *DB) View(fn func(*Snapshot) error) error {
	s, err := d.NewSnapshot()
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
func (d *DB) Update(ctx context.Context, fn func(*Tx) error, w ...Durability) error {
	if ctx == nil {
		return errNilContext
	}
	var conflict error
	for ctx.Err() == nil {
		again, err := d.update(ctx, fn, w)
		if !again {
			return err
		}
		conflict = err
	}
	if conflict != nil {
		return fmt.Errorf("%w after a conflict: %w", ctx.Err(), conflict)
	}
	return ctx.Err()
}

// update runs fn once. With again, the commit met a conflict.
func (d *DB) update(ctx context.Context, fn func(*Tx) error, w []Durability) (again bool, err error) {
	tx, err := d.Begin()
	if err != nil {
		return false, err
	}
	defer tx.Discard()
	if err := fn(tx); err != nil {
		return false, err
	}
	err = tx.Commit(ctx, w...)
	return errors.Is(err, ErrConflict), err
}
