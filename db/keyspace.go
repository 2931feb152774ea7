package db

import (
	"bytes"
	"context"
	"sync"
	"time"

	"lsmdb/internal/base"
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

// whole joins a prefix and a key in a buffer.
func whole(buffer *[]byte, prefix, key []byte) []byte {
	*buffer = append(append((*buffer)[:0], prefix...), key...)
	return *buffer
}

// Get is DB.Get for a key of the keyspace.
func (k *Keyspace) Get(key []byte) ([]byte, error) { return k.AppendValue(nil, key) }

// AppendValue is DB.AppendValue for a key of the keyspace.
func (k *Keyspace) AppendValue(dst, key []byte) ([]byte, error) {
	return k.db.look(new(look).within(k.prefix, key)).appendValue(dst)
}

// Has is DB.Has for a key of the keyspace.
func (k *Keyspace) Has(key []byte) (bool, error) {
	return k.db.look(new(look).within(k.prefix, key)).has()
}

// Put is DB.Put for a key of the keyspace.
func (k *Keyspace) Put(key, value []byte, w ...Durability) error {
	return k.db.write(w, k.prefix, &operation{kind: base.KindSet, key: key, value: value})
}

// Delete is DB.Delete for a key of the keyspace.
func (k *Keyspace) Delete(key []byte, w ...Durability) error {
	return k.db.write(w, k.prefix, &operation{kind: base.KindDelete, key: key})
}

// DeleteRange is DB.DeleteRange for keys of the keyspace: an end that is nil is its border.
func (k *Keyspace) DeleteRange(start, end []byte, w ...Durability) error {
	return k.db.write(w, k.prefix, &operation{kind: base.KindRangeDelete, key: start, value: end})
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
	return k.db.write(w, k.prefix, &operation{kind: base.KindMerge, key: key, value: operand})
}

// PutUntil is DB.PutUntil for a key of the keyspace.
func (k *Keyspace) PutUntil(key, value []byte, until time.Time, w ...Durability) error {
	return k.db.write(w, k.prefix, &operation{kind: base.KindSet, key: key, value: value, until: until})
}

// GetSize is DB.GetSize for a key of the keyspace.
func (k *Keyspace) GetSize(key []byte) (int, error) {
	return k.db.look(new(look).within(k.prefix, key)).size()
}

// NewIterator is DB.NewIterator for the keys of the keyspace. The bounds and the prefix of
// o are without the keyspace's prefix, as the keys that it shows and seeks. It never leaves
// the keyspace, and moves as fast as one of the database.
func (k *Keyspace) NewIterator(o *IterOptions) (*Iterator, error) {
	k.db.catchUp()
	return k.db.iterate(k.prefix, nil, nil, &k.db.closed, o)
}
