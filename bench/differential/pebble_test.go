package differential

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"lsmdb/internal/base"
	"lsmdb/internal/tests/metamorphic"
)

// openPebble makes a new database in memory, with memtables so small that it flushes
// and compacts all the time.
func openPebble() (metamorphic.Store, error) {
	fs := vfs.NewMem()
	return openPeer(func(readOnly bool) (database, error) {
		d, err := pebble.Open("db", &pebble.Options{
			FS: fs, ReadOnly: readOnly, MemTableSize: 64 << 10, FormatMajorVersion: pebble.FormatNewest,
			L0CompactionThreshold: 2, LBaseMaxBytes: 256 << 10, Logger: silent{},
		})
		if err != nil {
			return nil, err
		}
		return pebbleDatabase{pebbleReader{d}, d}, nil
	})
}

// pebbleKey puts a letter before every key. A flush of Pebble 2.1.7 panics when the
// empty key, which it accepts, comes to lie in a block alone.
func pebbleKey(key []byte) []byte { return append([]byte("p"), key...) }

// behindAll is behind every pebbleKey.
var behindAll = []byte("q")

func pebbleUpper(key []byte) []byte {
	if key == nil {
		return behindAll
	}
	return pebbleKey(key)
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) { panic("fatal error of Pebble") }

type pebbleDatabase struct {
	pebbleReader
	d *pebble.DB
}

func (p pebbleDatabase) write(writes []metamorphic.Write, values [][]byte, sync bool) error {
	b := p.d.NewBatch()
	for i, w := range writes {
		var err error
		if w.Delete {
			err = b.Delete(pebbleKey(w.Key), nil)
		} else {
			err = b.Set(pebbleKey(w.Key), values[i], nil)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(b.Commit(&pebble.WriteOptions{Sync: sync}), b.Close())
}

func (p pebbleDatabase) flush() error { return p.d.Flush() }
func (p pebbleDatabase) close() error { return p.d.Close() }

func (p pebbleDatabase) compact(start, end []byte) error {
	return p.d.Compact(context.Background(), pebbleKey(start), pebbleUpper(end), false)
}

func (p pebbleDatabase) snapshot() (snapshot, error) {
	s := p.d.NewSnapshot()
	return pebbleSnapshot{pebbleReader{s}, s}, nil
}

type pebbleSnapshot struct {
	pebbleReader
	s *pebble.Snapshot
}

func (p pebbleSnapshot) close() error { return p.s.Close() }

type pebbleReader struct{ r pebble.Reader }

func (p pebbleReader) get(key []byte) ([]byte, error) {
	value, closer, err := p.r.Get(pebbleKey(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, base.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

func (p pebbleReader) cursor(lower, upper []byte) (cursor, error) {
	it, err := p.r.NewIter(&pebble.IterOptions{LowerBound: pebbleKey(lower), UpperBound: pebbleUpper(upper)})
	if err != nil {
		return nil, err
	}
	return pebbleCursor{it}, nil
}

type pebbleCursor struct{ *pebble.Iterator }

func (c pebbleCursor) SeekGE(key []byte) bool { return c.Iterator.SeekGE(pebbleKey(key)) }
func (c pebbleCursor) SeekLT(key []byte) bool { return c.Iterator.SeekLT(pebbleKey(key)) }
func (c pebbleCursor) Key() []byte            { return c.Iterator.Key()[1:] }
