package engine

import (
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

var goleveldbKind = Kind{
	Name: "goleveldb", Module: "github.com/syndtr/goleveldb", Go: true, LSM: true,
	Open: openGoleveldb,
	Settings: func(Options) []string {
		return []string{"OpenFilesCacheCapacity=4096", "block 4 KiB", "defaults otherwise"}
	},
}

type goleveldbEngine struct {
	d     *leveldb.DB
	write *opt.WriteOptions
}

func openGoleveldb(o Options) (Engine, error) {
	d, err := leveldb.OpenFile(o.Dir, &opt.Options{
		BlockCacheCapacity:     int(o.CacheBytes),
		WriteBuffer:            int(o.MemtableBytes),
		Filter:                 filter.NewBloomFilter(o.FilterBits),
		Compression:            opt.SnappyCompression,
		OpenFilesCacheCapacity: 4096,
	})
	if err != nil {
		return nil, err
	}
	return &goleveldbEngine{d: d, write: &opt.WriteOptions{Sync: o.Sync}}, nil
}

func (e *goleveldbEngine) Get(dst, key []byte) ([]byte, error) {
	value, err := e.d.Get(key, nil)
	if err == leveldb.ErrNotFound {
		return dst, ErrNotFound
	}
	return append(dst, value...), err
}

func (e *goleveldbEngine) Put(key, value []byte) error { return e.d.Put(key, value, e.write) }
func (e *goleveldbEngine) Delete(key []byte) error     { return e.d.Delete(key, e.write) }
func (e *goleveldbEngine) Flush() error                { return nil } // no such call
func (e *goleveldbEngine) Close() error                { return e.d.Close() }
func (e *goleveldbEngine) Persist() error              { return nil } // write(2), or a map, before every answer
func (e *goleveldbEngine) NewBatch() Batch             { return &goleveldbBatch{e: e} }

func (e *goleveldbEngine) NewIterator(reverse bool) (Iterator, error) {
	it := goleveldbForward{e.d.NewIterator(nil, nil)}
	if reverse {
		return goleveldbReverse{it}, nil
	}
	return it, nil
}

type goleveldbForward struct{ iterator.Iterator }

func (f goleveldbForward) Close() error {
	err := f.Error()
	f.Release()
	return err
}

type goleveldbReverse struct{ goleveldbForward }

func (r goleveldbReverse) First() bool      { return r.Iterator.Last() }
func (r goleveldbReverse) Next() bool       { return r.Iterator.Prev() }
func (r goleveldbReverse) Seek([]byte) bool { panic("invariant: reverse iterators do not seek") }

type goleveldbBatch struct {
	e *goleveldbEngine
	b leveldb.Batch
}

func (b *goleveldbBatch) Put(key, value []byte) error {
	b.b.Put(key, value)
	return nil
}

func (b *goleveldbBatch) Delete(key []byte) error {
	b.b.Delete(key)
	return nil
}

func (b *goleveldbBatch) Commit() error {
	err := b.e.d.Write(&b.b, b.e.write)
	b.b.Reset()
	return err
}
