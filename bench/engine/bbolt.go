package engine

import (
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

var bboltKind = Kind{
	Name: "bbolt", Module: "go.etcd.io/bbolt", Go: true, SortedLoad: true,
	Can:  []Ability{Transactions},
	Open: openBbolt,
	Settings: func(Options) []string {
		return []string{
			"FreelistType=map", "NoFreelistSync=true", "InitialMmapSize=8 GiB",
			"DB.Batch with MaxBatchSize=clients, MaxBatchDelay=1 ms when clients > 1",
			"no memtable, cache, filters, compression or log: a B+tree in a memory map",
		}
	},
}

var bucketName = []byte("bench")

type bboltEngine struct {
	d      *bbolt.DB
	update func(func(*bbolt.Tx) error) error // DB.Update for one client, DB.Batch for more
}

func openBbolt(o Options) (Engine, error) {
	d, err := bbolt.Open(filepath.Join(o.Dir, "data.bbolt"), 0o600, &bbolt.Options{
		NoSync:          !o.Sync,
		NoFreelistSync:  true,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: 8 << 30,
		NoStatistics:    true,
	})
	if err != nil {
		return nil, err
	}
	e := &bboltEngine{d: d, update: d.Update}
	if o.Clients > 1 {
		d.MaxBatchSize, d.MaxBatchDelay = o.Clients, time.Millisecond
		e.update = d.Batch
	}
	err = d.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketName)
		return err
	})
	if err != nil {
		d.Close()
		return nil, err
	}
	return e, nil
}

func (e *bboltEngine) Get(dst, key []byte) ([]byte, error) {
	tx, err := e.d.Begin(false)
	if err != nil {
		return dst, err
	}
	dst, err = bboltTx{tx.Bucket(bucketName)}.Get(dst, key)
	if rollbackErr := tx.Rollback(); err == nil {
		err = rollbackErr
	}
	return dst, err
}

type bboltTx struct{ bucket *bbolt.Bucket }

func (t bboltTx) Get(dst, key []byte) ([]byte, error) {
	value := t.bucket.Get(key)
	if value == nil {
		return dst, ErrNotFound
	}
	return append(dst, value...), nil
}

func (t bboltTx) Put(key, value []byte) error { return t.bucket.Put(key, value) }

// Update does not wait for other clients, as DB.Batch would.
func (e *bboltEngine) Update(fn func(Tx) error) error {
	return e.d.Update(func(tx *bbolt.Tx) error { return fn(bboltTx{tx.Bucket(bucketName)}) })
}

func (e *bboltEngine) View(fn func(Reader) error) error {
	return e.d.View(func(tx *bbolt.Tx) error { return fn(bboltTx{tx.Bucket(bucketName)}) })
}

func (e *bboltEngine) Put(key, value []byte) error {
	return e.update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketName).Put(key, value) })
}

func (e *bboltEngine) Delete(key []byte) error {
	return e.update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketName).Delete(key) })
}

func (e *bboltEngine) Flush() error    { return e.d.Sync() }
func (e *bboltEngine) Close() error    { return e.d.Close() }
func (e *bboltEngine) Persist() error  { return nil } // write(2), or a map, before every answer
func (e *bboltEngine) NewBatch() Batch { return &bboltBatch{e: e} }

// bboltBatch gathers operations in one buffer and applies them in one transaction,
// so that the write lock is held no longer than by a program that does the same.
type bboltBatch struct {
	e   *bboltEngine
	buf []byte
	ops []bboltOp
}

// bboltOp names a key and a value in the buffer by where they end; valueEnd is -1
// for a deletion.
type bboltOp struct{ start, keyEnd, valueEnd int }

func (b *bboltBatch) Put(key, value []byte) error {
	start := len(b.buf)
	b.buf = append(append(b.buf, key...), value...)
	b.ops = append(b.ops, bboltOp{start, start + len(key), len(b.buf)})
	return nil
}

func (b *bboltBatch) Delete(key []byte) error {
	start := len(b.buf)
	b.buf = append(b.buf, key...)
	b.ops = append(b.ops, bboltOp{start, len(b.buf), -1})
	return nil
}

func (b *bboltBatch) Commit() error {
	err := b.e.d.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketName)
		for _, op := range b.ops {
			key := b.buf[op.start:op.keyEnd]
			var err error
			if op.valueEnd < 0 {
				err = bucket.Delete(key)
			} else {
				err = bucket.Put(key, b.buf[op.keyEnd:op.valueEnd])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	b.buf, b.ops = b.buf[:0], b.ops[:0]
	return err
}

type bboltIterator struct {
	tx         *bbolt.Tx
	cursor     *bbolt.Cursor
	reverse    bool
	key, value []byte
}

func (e *bboltEngine) NewIterator(reverse bool) (Iterator, error) {
	tx, err := e.d.Begin(false)
	if err != nil {
		return nil, err
	}
	return &bboltIterator{tx: tx, cursor: tx.Bucket(bucketName).Cursor(), reverse: reverse}, nil
}

func (i *bboltIterator) First() bool {
	if i.reverse {
		i.key, i.value = i.cursor.Last()
	} else {
		i.key, i.value = i.cursor.First()
	}
	return i.key != nil
}

func (i *bboltIterator) Seek(key []byte) bool {
	i.key, i.value = i.cursor.Seek(key)
	return i.key != nil
}

func (i *bboltIterator) Next() bool {
	if i.reverse {
		i.key, i.value = i.cursor.Prev()
	} else {
		i.key, i.value = i.cursor.Next()
	}
	return i.key != nil
}

func (i *bboltIterator) Key() []byte   { return i.key }
func (i *bboltIterator) Value() []byte { return i.value }
func (i *bboltIterator) Close() error  { return i.tx.Rollback() }
