package engine

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// Many is several open databases of one kind that are used as one: each key belongs to one
// of them. It has neither iterators nor batches.
type Many []Engine

var _ Engine = Many(nil)

// OpenMany opens so many databases below o.Dir.
func OpenMany(kind Kind, o Options, count int) (Many, error) {
	var m Many
	for range count {
		opened, err := m.Open(kind, o)
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		m = append(m, opened)
	}
	return m, nil
}

// Open opens the next database below o.Dir. It does not belong to m yet.
func (m Many) Open(kind Kind, o Options) (Engine, error) {
	o.Dir = filepath.Join(o.Dir, fmt.Sprint(len(m)))
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	return kind.Open(o)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (m Many) of(key []byte) Engine {
	return m[crc32.Checksum(key, castagnoli)%uint32(len(m))]
}

func (m Many) Get(dst, key []byte) ([]byte, error) { return m.of(key).Get(dst, key) }
func (m Many) Put(key, value []byte) error         { return m.of(key).Put(key, value) }
func (m Many) Delete(key []byte) error             { return m.of(key).Delete(key) }
func (m Many) Flush() error                        { return m.each(Engine.Flush) }
func (m Many) Persist() error                      { return m.each(Engine.Persist) }
func (m Many) Close() error                        { return m.each(Engine.Close) }

func (m Many) NewBatch() Batch { panic("invariant: several databases have no common batch") }

func (m Many) NewIterator(bool) (Iterator, error) {
	return nil, errors.New("several databases have no common iterator")
}

func (m Many) each(do func(Engine) error) (err error) {
	for _, e := range m {
		err = errors.Join(err, do(e))
	}
	return err
}
