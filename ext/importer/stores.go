package importer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dgraph-io/badger/v4"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// open opens a database of a kind for reading only.
func open(kind, path string) (s source, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	defer recoverDamage(&err)
	switch kind {
	case Bbolt:
		return openBbolt(path)
	case Badger:
		return openBadger(path)
	case LevelDB:
		return openLevelDB(path)
	case Pebble:
		return openPebble(path)
	case RocksDB:
		if s, err = openLevelDB(path); err != nil {
			return nil, fmt.Errorf("only what LevelDB can read of RocksDB is read here (no column families, the block format of LevelDB, the default comparator): %w; "+
				"otherwise write it with the programs of RocksDB (ldb dump) and read that with lsmdb load", err)
		}
		return s, nil
	}
	return nil, fmt.Errorf("unknown kind %q: there are %s", kind, strings.Join(Kinds(), ", "))
}

// Probe opens a source and closes it again.
func Probe(kind, path string) error {
	s, err := open(kind, path)
	if err != nil {
		return err
	}
	return s.Close()
}

// recoverDamage makes an error of a panic: some stores panic where they find damage, and some of
// them where a page is gone, which the system tells by a fault.
func recoverDamage(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("it is damaged: %v", r)
	}
}

// nobodysBuckets is for stores that have none.
type nobodysBuckets struct{}

func (nobodysBuckets) keyspaces() ([]Keyspace, error) { return nil, nil }

// badgerSource shows the newest version of every key.
type badgerSource struct {
	nobodysBuckets
	d *badger.DB
}

func openBadger(dir string) (source, error) {
	d, err := badger.Open(badger.DefaultOptions(dir).WithReadOnly(true).WithLogger(nil).WithMetricsEnabled(false))
	if err != nil {
		return nil, err
	}
	return &badgerSource{d: d}, nil
}

func (s *badgerSource) Close() error { return s.d.Close() }

func (s *badgerSource) entries(yield func(entry, error) bool) {
	err := s.walk(yield)
	if err != nil {
		yield(entry{}, err)
	}
}

func (s *badgerSource) walk(yield func(entry, error) bool) (err error) {
	defer recoverDamage(&err)
	txn := s.d.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.DefaultIteratorOptions)
	defer it.Close()
	var value []byte
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		if value, err = item.ValueCopy(value); err != nil {
			return fmt.Errorf("key %q: %w", item.Key(), err)
		}
		e := entry{key: item.Key(), value: value}
		if at := item.ExpiresAt(); at != 0 {
			e.until = time.Unix(int64(at), 0)
		}
		if !yield(e, nil) {
			return nil
		}
	}
	return nil
}

// levelSource shows a database of LevelDB or goleveldb.
type levelSource struct {
	nobodysBuckets
	d *leveldb.DB
}

func openLevelDB(dir string) (source, error) {
	d, err := leveldb.OpenFile(dir, &opt.Options{ReadOnly: true, ErrorIfMissing: true, Strict: opt.StrictAll})
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		return nil, fmt.Errorf("it is locked: another process has it open, or may not be read: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return &levelSource{d: d}, nil
}

func (s *levelSource) Close() error { return s.d.Close() }

func (s *levelSource) entries(yield func(entry, error) bool) {
	it := s.d.NewIterator(nil, &opt.ReadOptions{DontFillCache: true, Strict: opt.StrictAll})
	defer it.Release()
	for it.Next() {
		if !yield(entry{key: it.Key(), value: it.Value()}, nil) {
			return
		}
	}
	if err := it.Error(); err != nil {
		yield(entry{}, err)
	}
}

// pebbleSource shows a database of Pebble, with its default comparer and merger.
type pebbleSource struct {
	nobodysBuckets
	d *pebble.DB
}

func openPebble(dir string) (source, error) {
	d, err := pebble.Open(dir, &pebble.Options{ReadOnly: true, ErrorIfNotExists: true, Logger: quiet{}})
	if err != nil {
		return nil, err
	}
	return &pebbleSource{d: d}, nil
}

func (s *pebbleSource) Close() error { return s.d.Close() }

func (s *pebbleSource) entries(yield func(entry, error) bool) {
	if err := s.walk(yield); err != nil {
		yield(entry{}, err)
	}
}

func (s *pebbleSource) walk(yield func(entry, error) bool) (err error) {
	defer recoverDamage(&err)
	it, err := s.d.NewIterWithContext(context.Background(), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if !yield(entry{key: it.Key(), value: value}, nil) {
			return nil
		}
	}
	return it.Error()
}

// quiet is a logger of Pebble that says nothing. What is fatal to Pebble is a panic.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(string, ...any)             {}
func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
