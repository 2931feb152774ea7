package differential

import (
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	leveldbiterator "github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"lsmdb/internal/base"
	"lsmdb/internal/tests/metamorphic"
)

// openGoleveldb makes a new database in memory, with memtables so small that it
// flushes and compacts all the time. It is never opened read-only: that fails with EOF
// when a Close left two journals.
func openGoleveldb() (metamorphic.Store, error) {
	files := storage.NewMemStorage()
	return openPeer(func(bool) (database, error) {
		d, err := leveldb.Open(files, &opt.Options{
			WriteBuffer: 64 << 10, CompactionTableSize: 64 << 10, CompactionTotalSize: 256 << 10,
			Filter: filter.NewBloomFilter(10),
		})
		if err != nil {
			return nil, err
		}
		return goleveldbDatabase{goleveldbReader{d}, d}, nil
	})
}

type goleveldbDatabase struct {
	goleveldbReader
	d *leveldb.DB
}

func (g goleveldbDatabase) write(writes []metamorphic.Write, values [][]byte, sync bool) error {
	var b leveldb.Batch
	for i, w := range writes {
		if w.Delete {
			b.Delete(w.Key)
		} else {
			b.Put(w.Key, values[i])
		}
	}
	return g.d.Write(&b, &opt.WriteOptions{Sync: sync})
}

func (g goleveldbDatabase) flush() error { return nil } // no such call
func (g goleveldbDatabase) close() error { return g.d.Close() }

func (g goleveldbDatabase) compact(start, end []byte) error {
	return g.d.CompactRange(util.Range{Start: start, Limit: end})
}

func (g goleveldbDatabase) snapshot() (snapshot, error) {
	s, err := g.d.GetSnapshot()
	if err != nil {
		return nil, err
	}
	return goleveldbSnapshot{goleveldbReader{s}, s}, nil
}

type goleveldbSnapshot struct {
	goleveldbReader
	s *leveldb.Snapshot
}

func (g goleveldbSnapshot) close() error {
	g.s.Release()
	return nil
}

type goleveldbReader struct{ r leveldb.Reader }

func (g goleveldbReader) get(key []byte) ([]byte, error) {
	value, err := g.r.Get(key, nil)
	if err == leveldb.ErrNotFound {
		return nil, base.ErrNotFound
	}
	return value, err
}

func (g goleveldbReader) cursor(lower, upper []byte) (cursor, error) {
	return goleveldbCursor{g.r.NewIterator(&util.Range{Start: lower, Limit: upper}, nil)}, nil
}

type goleveldbCursor struct{ leveldbiterator.Iterator }

func (c goleveldbCursor) SeekGE(key []byte) bool { return c.Seek(key) }

func (c goleveldbCursor) SeekLT(key []byte) bool {
	if c.Seek(key) {
		return c.Prev()
	}
	return c.Last()
}

func (c goleveldbCursor) Close() error {
	err := c.Error()
	c.Release()
	return err
}
