//go:build rocksdb

package engine

// The functions that are called for every operation neither call back into Go nor
// keep what they are given; saying so makes the crossing as cheap as it can be.

// #cgo LDFLAGS: -lrocksdb
// #include <stdlib.h>
// #include "rocksdb.h"
//
// #cgo noescape bench_get
// #cgo nocallback bench_get
// #cgo noescape bench_put
// #cgo nocallback bench_put
// #cgo noescape bench_write
// #cgo nocallback bench_write
// #cgo noescape bench_seek
// #cgo nocallback bench_seek
// #cgo noescape bench_next
// #cgo nocallback bench_next
import "C"

import (
	"encoding/binary"
	"errors"
	"unsafe"
)

// missing tells how to get the engines that this build lacks.
const missing = ""

func optional() []Kind { return []Kind{rocksdbKind} }

var rocksdbKind = Kind{
	Name: "rocksdb", Fixed: C.GoString(C.bench_version()), LSM: true,
	Can:  []Ability{RangeDeletes, Checkpoints, Zstd},
	Open: openRocksdb,
	Settings: func(Options) []string {
		return []string{
			"max_background_jobs=2", "level_compaction_dynamic_level_bytes", "bytes_per_sync=1 MiB",
			"max_write_buffer_number=4", "max_open_files=-1", "format_version=5", "block 4 KiB, full filters",
			"called through cgo, one crossing per operation",
		}
	},
}

type rocksdbEngine struct{ d *C.bench_db }

func openRocksdb(o Options) (Engine, error) {
	dir := C.CString(o.Dir)
	defer C.free(unsafe.Pointer(dir))
	var sync, zstd C.int
	if o.Sync {
		sync = 1
	}
	if o.Zstd {
		zstd = 1
	}
	var message *C.char
	d := C.bench_open(dir, C.size_t(o.MemtableBytes), C.size_t(o.CacheBytes), C.double(o.FilterBits), sync, zstd, &message)
	if d == nil {
		return nil, cError(message)
	}
	return &rocksdbEngine{d: d}, nil
}

// cError turns a message of RocksDB into an error and frees it; nil stays nil.
func cError(message *C.char) error {
	if message == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(message))
	return errors.New(C.GoString(message))
}

func pointer(b []byte) *C.char { return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))) }

func (e *rocksdbEngine) Get(dst, key []byte) ([]byte, error) {
	for {
		room := dst[len(dst):cap(dst)]
		got := C.bench_get(e.d, pointer(key), C.size_t(len(key)), pointer(room), C.size_t(len(room)))
		n := int(got.value_bytes)
		switch {
		case got.message != nil:
			return dst, cError(got.message)
		case n < 0:
			return dst, ErrNotFound
		case n <= len(room):
			return dst[:len(dst)+n], nil
		}
		dst = append(make([]byte, 0, len(dst)+n), dst...) // too small a buffer: once
	}
}

func (e *rocksdbEngine) Put(key, value []byte) error {
	return cError(C.bench_put(e.d, pointer(key), C.size_t(len(key)), pointer(value), C.size_t(len(value))))
}

// Delete takes a batch of one, which is one crossing as well.
func (e *rocksdbEngine) Delete(key []byte) error {
	b := e.NewBatch()
	if err := b.Delete(key); err != nil {
		return err
	}
	return b.Commit()
}

// DeleteRange takes a batch of one, like Delete.
func (e *rocksdbEngine) DeleteRange(start, end []byte) error {
	b := &rocksdbBatch{e: e}
	b.reset()
	b.add(15, start, end)
	return b.Commit()
}

func (e *rocksdbEngine) Checkpoint(dir string) error {
	name := C.CString(dir)
	defer C.free(unsafe.Pointer(name))
	return cError(C.bench_checkpoint(e.d, name))
}

func (e *rocksdbEngine) Flush() error { return cError(C.bench_flush(e.d)) }

func (e *rocksdbEngine) Close() error {
	C.bench_close(e.d)
	return nil
}

func (e *rocksdbEngine) Persist() error { return nil } // write(2), or a map, before every answer
func (e *rocksdbEngine) NewBatch() Batch {
	b := &rocksdbBatch{e: e}
	b.reset()
	return b
}

// rocksdbBatch builds RocksDB's own batch format (db/write_batch.cc): sequence
// number, count, then records, so that a batch costs one call.
type rocksdbBatch struct {
	e     *rocksdbEngine
	rep   []byte
	count uint32
}

const batchHeaderBytes = 12

func (b *rocksdbBatch) reset() {
	b.rep = append(b.rep[:0], make([]byte, batchHeaderBytes)...)
	b.count = 0
}

func (b *rocksdbBatch) Put(key, value []byte) error {
	b.add(1, key, value)
	return nil
}

// add appends a record of a kind (db/dbformat.h).
func (b *rocksdbBatch) add(kind byte, parts ...[]byte) {
	b.rep = append(b.rep, kind)
	for _, part := range parts {
		b.rep = append(binary.AppendUvarint(b.rep, uint64(len(part))), part...)
	}
	b.count++
}

func (b *rocksdbBatch) Delete(key []byte) error {
	b.add(0, key)
	return nil
}

func (b *rocksdbBatch) Commit() error {
	binary.LittleEndian.PutUint32(b.rep[8:], b.count)
	err := cError(C.bench_write(b.e.d, pointer(b.rep), C.size_t(len(b.rep))))
	b.reset()
	return err
}

type rocksdbIterator struct {
	it      *C.bench_iter
	reverse C.int
}

func (e *rocksdbEngine) NewIterator(reverse bool) (Iterator, error) {
	i := &rocksdbIterator{it: C.bench_iterate(e.d)}
	if reverse {
		i.reverse = 1
	}
	return i, nil
}

func (i *rocksdbIterator) First() bool { return C.bench_first(i.it, i.reverse) != 0 }
func (i *rocksdbIterator) Next() bool  { return C.bench_next(i.it, i.reverse) != 0 }

func (i *rocksdbIterator) Seek(key []byte) bool {
	return C.bench_seek(i.it, pointer(key), C.size_t(len(key))) != 0
}

func (i *rocksdbIterator) Key() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(i.it.key)), int(i.it.key_bytes))
}

func (i *rocksdbIterator) Value() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(i.it.value)), int(i.it.value_bytes))
}

func (i *rocksdbIterator) Close() error { return cError(C.bench_iter_close(i.it)) }
