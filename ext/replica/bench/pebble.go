package main

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// pebbleStore is a log store as one writes it over an ordered store: entries and stable values
// in two ranges of keys, batches that are synced, and iterators that look for both ends.
type pebbleStore struct {
	d     *pebble.DB
	codec wal.BinaryCodec
}

func openPebble(dir string) (store, error) {
	cache := pebble.NewCache(64 << 20)
	defer cache.Unref() // the database holds it
	d, err := pebble.Open(dir, &pebble.Options{Logger: silent{}, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 64 << 20, Cache: cache})
	if err != nil {
		return nil, err
	}
	return &pebbleStore{d: d}, nil
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) { panic("fatal error of Pebble") }

func logKey(index uint64) []byte { return binary.BigEndian.AppendUint64([]byte("l"), index) }

func stableKey(key []byte) []byte { return append([]byte("s"), key...) }

func (s *pebbleStore) Close() error { return s.d.Close() }

func (s *pebbleStore) FirstIndex() (uint64, error) { return s.end((*pebble.Iterator).First) }
func (s *pebbleStore) LastIndex() (uint64, error)  { return s.end((*pebble.Iterator).Last) }

func (s *pebbleStore) end(move func(*pebble.Iterator) bool) (index uint64, err error) {
	it, err := s.d.NewIter(&pebble.IterOptions{LowerBound: []byte("l"), UpperBound: []byte("m")})
	if err != nil {
		return 0, err
	}
	if move(it) {
		index = binary.BigEndian.Uint64(it.Key()[1:])
	}
	return index, errors.Join(it.Error(), it.Close())
}

func (s *pebbleStore) GetLog(index uint64, l *raft.Log) error {
	value, closer, err := s.d.Get(logKey(index))
	if errors.Is(err, pebble.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	return s.codec.Decode(value, l)
}

func (s *pebbleStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *pebbleStore) StoreLogs(logs []*raft.Log) error {
	b := s.d.NewBatch()
	defer b.Close()
	var value bytes.Buffer
	for _, l := range logs {
		value.Reset()
		if err := s.codec.Encode(l, &value); err != nil {
			return err
		}
		if err := b.Set(logKey(l.Index), value.Bytes(), nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

func (s *pebbleStore) DeleteRange(from, to uint64) error {
	return s.d.DeleteRange(logKey(from), logKey(to+1), pebble.Sync)
}

func (s *pebbleStore) Set(key, value []byte) error {
	return s.d.Set(stableKey(key), value, pebble.Sync)
}

func (s *pebbleStore) Get(key []byte) ([]byte, error) {
	value, closer, err := s.d.Get(stableKey(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return bytes.Clone(value), nil
}

func (s *pebbleStore) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

func (s *pebbleStore) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil || len(value) == 0 {
		return 0, err
	}
	return binary.BigEndian.Uint64(value), nil
}
