package db

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// Keyspace is the part of a database whose keys begin with a prefix, with the API of a
// database of its own: keys are given and come back without the prefix, and iterators
// end at the border. It is a way of looking at the database and nothing more: it costs
// nothing, there is nothing to close, and it leaves no trace in the files. The database
// itself shows all keys. Two keyspaces share keys if one prefix begins with the other; so
// give prefixes of one length, or ones that end with a byte that none has inside.
//
// Snapshot.In reads several keyspaces at one instant, Batch.In changes several at once. A
// Keyspace is safe for concurrent use; its methods give the errors of those of DB.
type Keyspace struct {
	db     *DB
	prefix []byte
}

// Keyspace returns the keyspace of a prefix, which is copied. The empty prefix is that of
// all keys. MaxKeyBytes counts the prefix as part of every key.
func (d *DB) Keyspace(prefix []byte) *Keyspace { return &Keyspace{d, bytes.Clone(prefix)} }

// wholes holds buffers for keys with their prefixes, as *[]byte.
var wholes = sync.Pool{New: func() any { return new([]byte) }}

// whole joins a prefix and a key in one of these buffers. Put it back.
func whole(prefix, key []byte) *[]byte {
	w := wholes.Get().(*[]byte)
	*w = append(append((*w)[:0], prefix...), key...)
	return w
}

// Get is DB.Get for a key of the keyspace.
func (k *Keyspace) Get(key []byte) ([]byte, error) { return k.AppendValue(nil, key) }

// AppendValue is DB.AppendValue for a key of the keyspace.
func (k *Keyspace) AppendValue(dst, key []byte) ([]byte, error) {
	w := whole(k.prefix, key)
	defer wholes.Put(w)
	return k.db.AppendValue(dst, *w)
}

// Has is DB.Has for a key of the keyspace.
func (k *Keyspace) Has(key []byte) (bool, error) {
	w := whole(k.prefix, key)
	defer wholes.Put(w)
	return k.db.Has(*w)
}

// Put is DB.Put for a key of the keyspace.
func (k *Keyspace) Put(key, value []byte, w ...Durability) error {
	b := whole(k.prefix, key)
	defer wholes.Put(b)
	return k.db.Put(*b, value, w...)
}

// Delete is DB.Delete for a key of the keyspace.
func (k *Keyspace) Delete(key []byte, w ...Durability) error {
	b := whole(k.prefix, key)
	defer wholes.Put(b)
	return k.db.Delete(*b, w...)
}

// DeleteRange is DB.DeleteRange for keys of the keyspace: an end that is nil is its border.
func (k *Keyspace) DeleteRange(start, end []byte, w ...Durability) error {
	start, end = rangeIn(k.prefix, start, end)
	return k.db.DeleteRange(start, end, w...)
}

// Drop removes all keys of the keyspace, by one DeleteRange. If ctx ends before that is
// being written, nothing is removed.
func (k *Keyspace) Drop(ctx context.Context) error {
	var b Batch
	if err := b.In(k).DeleteRange(nil, nil); err != nil {
		return err
	}
	return k.db.Apply(ctx, &b)
}

// Merge is DB.Merge for a key of the keyspace. The Merger gets the whole key.
func (k *Keyspace) Merge(key, operand []byte, w ...Durability) error {
	b := whole(k.prefix, key)
	defer wholes.Put(b)
	return k.db.Merge(*b, operand, w...)
}

// PutUntil is DB.PutUntil for a key of the keyspace.
func (k *Keyspace) PutUntil(key, value []byte, until time.Time, w ...Durability) error {
	b := whole(k.prefix, key)
	defer wholes.Put(b)
	return k.db.PutUntil(*b, value, until, w...)
}

// GetSize is DB.GetSize for a key of the keyspace.
func (k *Keyspace) GetSize(key []byte) (int, error) {
	b := whole(k.prefix, key)
	defer wholes.Put(b)
	return k.db.GetSize(*b)
}

// NewIterator is DB.NewIterator for the keys of the keyspace. The bounds and the prefix of
// o are without the keyspace's prefix, as the keys that it shows and seeks. It never leaves
// the keyspace, and moves as fast as one of the database.
func (k *Keyspace) NewIterator(o *IterOptions) (*Iterator, error) {
	r, at, err := k.db.enter()
	if err != nil {
		return nil, err
	}
	return newIterator(k.db, r, at, k.prefix, o)
}
