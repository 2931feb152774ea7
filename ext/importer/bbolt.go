package importer

import (
	"errors"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Prefix is the prefix of the keyspace that a bucket becomes, given the names of the buckets
// that it lies in and its own. No prefix begins with another one, so keyspaces never
// share keys, and the order of prefixes is that in which bbolt shows buckets: first the keys of
// a bucket, then the buckets in it. Use it as d.Keyspace(importer.Prefix(names...)).
//
// In a name, a zero byte becomes 0x00 0xFF. Behind each name comes 0x00 0x01 if another follows,
// and 0x00 0x00 at the end. (FoundationDB's tuples write byte strings like that.)
func Prefix(path ...[]byte) []byte {
	var prefix []byte
	for i, name := range path {
		for _, b := range name {
			if prefix = append(prefix, b); b == 0 {
				prefix = append(prefix, 0xFF)
			}
		}
		if i < len(path)-1 {
			prefix = append(prefix, 0, 1)
		}
	}
	return append(prefix, 0, 0)
}

// lockPatience is how long a source that is locked is waited for.
const lockPatience = 3 * time.Second

// bboltSource shows all of it as of one transaction.
type bboltSource struct {
	d  *bbolt.DB
	tx *bbolt.Tx
}

func openBbolt(path string) (source, error) {
	d, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockPatience})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, errors.New("it is locked: another process has it open")
	}
	if err != nil {
		return nil, err
	}
	tx, err := d.Begin(false)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &bboltSource{d, tx}, nil
}

func (s *bboltSource) Close() error { return errors.Join(s.tx.Rollback(), s.d.Close()) }

// errEnough ends a walk.
var errEnough = errors.New("enough")

func (s *bboltSource) entries(yield func(entry, error) bool) {
	var key []byte
	err := s.walk(func(path [][]byte, b *bbolt.Bucket) error {
		prefix := Prefix(path...)
		return b.ForEach(func(k, v []byte) error {
			if v == nil { // a bucket
				return nil
			}
			key = append(append(key[:0], prefix...), k...)
			if !yield(entry{key: key, value: v}, nil) {
				return errEnough
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, errEnough) {
		yield(entry{}, err)
	}
}

func (s *bboltSource) keyspaces() (all []Keyspace, err error) {
	err = s.walk(func(path [][]byte, _ *bbolt.Bucket) error {
		k := Keyspace{Prefix: Prefix(path...)}
		for _, name := range path {
			k.Path = append(k.Path, append([]byte(nil), name...))
		}
		all = append(all, k)
		return nil
	})
	return all, err
}

// walk visits all buckets, each before those in it. Damage, which makes bbolt panic, is an error.
func (s *bboltSource) walk(visit func(path [][]byte, b *bbolt.Bucket) error) (err error) {
	defer recoverDamage(&err)
	var descend func(path [][]byte, b *bbolt.Bucket) error
	descend = func(path [][]byte, b *bbolt.Bucket) error {
		if err := visit(path, b); err != nil {
			return err
		}
		return b.ForEachBucket(func(name []byte) error {
			return descend(append(path[:len(path):len(path)], name), b.Bucket(name))
		})
	}
	return s.tx.ForEach(func(name []byte, b *bbolt.Bucket) error { return descend([][]byte{name}, b) })
}
