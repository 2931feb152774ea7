package engine

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

var pebbleKind = Kind{
	Name: "pebble", Module: "github.com/cockroachdb/pebble/v2", Go: true, LSM: true, Buffered: true,
	Can:  []Ability{RangeDeletes, Checkpoints, Zstd},
	Open: openPebble,
	Settings: func(Options) []string {
		return []string{
			"FormatMajorVersion=newest, columnar blocks", "L0CompactionThreshold=2", "L0StopWritesThreshold=1000",
			"LBaseMaxBytes=64 MiB", "MemTableStopWritesThreshold=4", "MaxOpenFiles=16384",
			"compactions 1 to 3 at once", "block 4 KiB, filter in every level",
		}
	},
}

type pebbleEngine struct {
	d     *pebble.DB
	write *pebble.WriteOptions
}

// openPebble follows cmd/pebble, the benchmark in Pebble's own repository, except
// where the comparison fixes a value for everyone: see the README.
func openPebble(o Options) (Engine, error) {
	options := &pebble.Options{
		CacheSize:                   o.CacheBytes,
		FormatMajorVersion:          pebble.FormatNewest,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                16384,
		MemTableSize:                uint64(o.MemtableBytes),
		MemTableStopWritesThreshold: 4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 3 },
		Logger:                      silent{},
		// By default it ends the process at damaged data, even where a compaction meets it.
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
	}
	codec := sstable.SnappyCompression
	if o.Zstd {
		codec = sstable.ZstdCompression
	}
	options.Experimental.EnableColumnarBlocks = func() bool { return true }
	for i := range options.Levels {
		options.Levels[i].BlockSize = 4 << 10
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(o.FilterBits)
		options.Levels[i].FilterType = pebble.TableFilter
		options.Levels[i].Compression = func() *sstable.CompressionProfile { return codec }
	}
	d, err := pebble.Open(o.Dir, options)
	if err != nil {
		return nil, err
	}
	write := pebble.NoSync
	if o.Sync {
		write = pebble.Sync
	}
	return &pebbleEngine{d: d, write: write}, nil
}

// silent drops log lines of every engine that wants a logger.
type silent struct{}

func (silent) Infof(string, ...any)    {}
func (silent) Warningf(string, ...any) {}
func (silent) Debugf(string, ...any)   {}
func (silent) Errorf(string, ...any)   {}
func (silent) Fatalf(string, ...any)   { panic("fatal error of an engine") }

func (e *pebbleEngine) Get(dst, key []byte) ([]byte, error) {
	value, closer, err := e.d.Get(key)
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			return dst, ErrNotFound
		}
		return dst, err
	}
	dst = append(dst, value...)
	return dst, closer.Close()
}

func (e *pebbleEngine) Put(key, value []byte) error { return e.d.Set(key, value, e.write) }
func (e *pebbleEngine) Delete(key []byte) error     { return e.d.Delete(key, e.write) }
func (e *pebbleEngine) Flush() error                { return e.d.Flush() }
func (e *pebbleEngine) Close() error                { return e.d.Close() }

func (e *pebbleEngine) DeleteRange(start, end []byte) error {
	return e.d.DeleteRange(start, end, e.write)
}

// Checkpoint syncs the log: what was acknowledged before is in it, as in lsmdb's.
func (e *pebbleEngine) Checkpoint(dir string) error {
	return e.d.Checkpoint(dir, pebble.WithFlushedWAL())
}

// Persist syncs an empty record: Pebble answers NoSync writes while they are still in
// a buffer of the process.
func (e *pebbleEngine) Persist() error { return e.d.LogData(nil, pebble.Sync) }

func (e *pebbleEngine) NewBatch() Batch { return &pebbleBatch{e: e, b: e.d.NewBatch()} }

func (e *pebbleEngine) NewIterator(reverse bool) (Iterator, error) {
	it, err := e.d.NewIter(nil)
	if err != nil {
		return nil, err
	}
	if reverse {
		return pebbleReverse{it}, nil
	}
	return pebbleForward{it}, nil
}

type pebbleForward struct{ *pebble.Iterator }

func (f pebbleForward) Seek(key []byte) bool { return f.SeekGE(key) }

type pebbleReverse struct{ *pebble.Iterator }

func (r pebbleReverse) First() bool      { return r.Iterator.Last() }
func (r pebbleReverse) Next() bool       { return r.Iterator.Prev() }
func (r pebbleReverse) Seek([]byte) bool { panic("invariant: reverse iterators do not seek") }

type pebbleBatch struct {
	e *pebbleEngine
	b *pebble.Batch
}

func (b *pebbleBatch) Put(key, value []byte) error { return b.b.Set(key, value, nil) }
func (b *pebbleBatch) Delete(key []byte) error     { return b.b.Delete(key, nil) }

func (b *pebbleBatch) Commit() error {
	if err := b.b.Commit(b.e.write); err != nil {
		return err
	}
	err := b.b.Close() // gives its memory back to Pebble's pool
	b.b = b.e.d.NewBatch()
	return err
}
