// Package differential runs metamorphic histories on other databases, so that the
// model which lsmdb is held to is checked by systems that others have trusted for
// years. Where their calls differ in form, a peer is given lsmdb's form here: bounds
// as a range, iterators that come back from their ends, and an error, instead of a
// crash, for what is used after a Close.
package differential

import (
	"bytes"

	"lsmdb/internal/base"
	"lsmdb/internal/tests/metamorphic"
)

// database is an open peer. A range of it is never impossible.
type database interface {
	source
	write(writes []metamorphic.Write, values [][]byte, sync bool) error
	flush() error
	compact(start, end []byte) error
	snapshot() (snapshot, error)
	close() error
}

type source interface {
	get(key []byte) ([]byte, error) // base.ErrNotFound
	cursor(lower, upper []byte) (cursor, error)
}

type snapshot interface {
	source
	close() error
}

// cursor is an iterator of a peer, which is never moved beyond its ends.
type cursor interface {
	First() bool
	Last() bool
	Next() bool
	Prev() bool
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	Key() []byte
	Value() []byte
	Error() error
	Close() error
}

// peer is a database as a Store. Kills and power failures are clean ends for it.
type peer struct {
	reader
	database database
	reopen   func(readOnly bool) (database, error)
	readOnly bool
	open     map[closer]bool // what its Close must not meet
}

type closer interface{ Close() error }

func openPeer(reopen func(readOnly bool) (database, error)) (metamorphic.Store, error) {
	p := &peer{reopen: reopen}
	return p, p.begin(false)
}

func (p *peer) begin(readOnly bool) error {
	var err error
	p.database, err = p.reopen(readOnly)
	p.open, p.readOnly = make(map[closer]bool), readOnly
	p.reader = reader{peer: p, source: p.database}
	return err
}

// Put implements metamorphic.Store, like the rest of the methods.
func (p *peer) Put(key, value []byte, d metamorphic.Durability) error {
	return p.write([]metamorphic.Write{{Key: key}}, [][]byte{value}, d)
}

func (p *peer) Delete(key []byte, d metamorphic.Durability) error {
	return p.write([]metamorphic.Write{{Key: key, Delete: true}}, [][]byte{nil}, d)
}

func (p *peer) Apply(writes []metamorphic.Write, d metamorphic.Durability) error {
	var values [][]byte
	for _, w := range writes {
		values = append(values, w.Value.Bytes())
	}
	return p.write(writes, values, d)
}

func (p *peer) Submit(writes []metamorphic.Write, d metamorphic.Durability) (func() error, error) {
	return func() error { return nil }, p.Apply(writes, d)
}

func (p *peer) write(writes []metamorphic.Write, values [][]byte, d metamorphic.Durability) error {
	if p.readOnly {
		return base.ErrReadOnly
	}
	return p.database.write(writes, values, d == metamorphic.Synced)
}

func (p *peer) Sync() error { return p.Apply(nil, metamorphic.Synced) }

func (p *peer) Flush() error {
	if p.readOnly {
		return base.ErrReadOnly
	}
	return p.database.flush()
}

func (p *peer) Compact(start, end []byte) error {
	if p.readOnly {
		return base.ErrReadOnly
	}
	if start != nil && end != nil && bytes.Compare(start, end) >= 0 {
		return nil
	}
	return p.database.compact(start, end)
}

func (p *peer) NewSnapshot() (metamorphic.Snapshot, error) {
	inner, err := p.database.snapshot()
	if err != nil {
		return nil, err
	}
	s := &peerSnapshot{reader: reader{peer: p, source: inner}, inner: inner}
	p.open[s] = true
	return s, nil
}

func (p *peer) Restart(o metamorphic.Operation) error {
	if err := p.Close(); err != nil {
		return err
	}
	return p.begin(o.ReadOnly)
}

func (p *peer) Close() error {
	for c := range p.open {
		if err := c.Close(); err != nil {
			return err
		}
	}
	if p.database == nil {
		return nil // it could not be opened again
	}
	return p.database.close()
}

// reader implements metamorphic.Reader.
type reader struct {
	peer   *peer
	source source
	closed bool
}

func (r *reader) Get(key []byte) ([]byte, error) {
	if r.closed {
		return nil, base.ErrClosed
	}
	return r.source.get(key)
}

func (r *reader) Has(key []byte) (bool, error) {
	_, err := r.Get(key)
	if err == base.ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

func (r *reader) NewIterator(lower, upper, prefix []byte) (metamorphic.Iterator, error) {
	if r.closed {
		return nil, base.ErrClosed
	}
	if len(prefix) > 0 {
		if bytes.Compare(prefix, lower) > 0 {
			lower = prefix
		}
		if end := afterPrefix(prefix); end != nil && (upper == nil || bytes.Compare(end, upper) < 0) {
			upper = end
		}
	}
	it := &iterator{peer: r.peer, lower: lower, upper: upper, place: nowhere}
	if upper == nil || bytes.Compare(lower, upper) < 0 {
		var err error
		if it.inner, err = r.source.cursor(lower, upper); err != nil {
			return nil, err
		}
	}
	r.peer.open[it] = true
	return it, nil
}

// afterPrefix returns the first key after all that have the prefix, nil where none is.
func afterPrefix(prefix []byte) []byte {
	trimmed := bytes.TrimRight(prefix, "\xff")
	if len(trimmed) == 0 {
		return nil
	}
	end := bytes.Clone(trimmed)
	end[len(end)-1]++
	return end
}

type peerSnapshot struct {
	reader
	inner snapshot
}

func (s *peerSnapshot) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	delete(s.peer.open, s)
	return s.inner.close()
}

// iterator keeps a cursor within its range.
type iterator struct {
	peer         *peer
	inner        cursor // nil: the range is empty
	lower, upper []byte
	place        place
	closed       bool
	used         bool // after the Close
}

type place int

const (
	nowhere place = iota // not moved yet
	onKey
	atStart
	atEnd
)

// move moves the cursor; beyond is the place where it stands if no key is there.
func (it *iterator) move(do func() bool, beyond place) bool {
	it.place = beyond
	it.used = it.closed
	if !it.closed && it.inner != nil && do() {
		it.place = onKey
	}
	return it.Valid()
}

func (it *iterator) First() bool {
	return it.move(func() bool { return it.inner.First() }, atEnd)
}

func (it *iterator) Last() bool {
	return it.move(func() bool { return it.inner.Last() }, atStart)
}

func (it *iterator) Next() bool {
	switch it.place {
	case onKey:
		return it.move(func() bool { return it.inner.Next() }, atEnd)
	case atEnd:
		return it.move(func() bool { return false }, atEnd)
	}
	return it.First()
}

func (it *iterator) Prev() bool {
	switch it.place {
	case onKey:
		return it.move(func() bool { return it.inner.Prev() }, atStart)
	case atStart:
		return it.move(func() bool { return false }, atStart)
	}
	return it.Last()
}

func (it *iterator) SeekGE(key []byte) bool {
	if bytes.Compare(key, it.lower) < 0 {
		return it.First()
	}
	return it.move(func() bool { return (it.upper == nil || bytes.Compare(key, it.upper) < 0) && it.inner.SeekGE(key) }, atEnd)
}

func (it *iterator) SeekLT(key []byte) bool {
	if it.upper != nil && bytes.Compare(key, it.upper) >= 0 {
		return it.Last()
	}
	return it.move(func() bool { return bytes.Compare(key, it.lower) > 0 && it.inner.SeekLT(key) }, atStart)
}

func (it *iterator) Valid() bool { return it.place == onKey && !it.closed }

func (it *iterator) Key() []byte {
	if !it.Valid() {
		return nil
	}
	return it.inner.Key()
}

func (it *iterator) Value() []byte {
	if !it.Valid() {
		return nil
	}
	return it.inner.Value()
}

func (it *iterator) Err() error {
	switch {
	case it.used:
		return base.ErrClosed
	case it.closed || it.inner == nil:
		return nil
	}
	return it.inner.Error()
}

func (it *iterator) Close() error {
	if it.closed {
		return nil
	}
	it.closed = true
	delete(it.peer.open, it)
	if it.inner == nil {
		return nil
	}
	return it.inner.Close()
}
