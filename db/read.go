package db

import (
	"context"

	"lsmdb/internal/view"
	"lsmdb/stages"
)

// Get returns a copy of the value of key, or ErrNotFound: also where the key, or a range
// that it lies in, was deleted, and where its value has ended (PutUntil). Operands are
// merged onto the value below them, or onto none; where that fails, that is the error of
// this key alone. A damaged block gives a *CorruptionError for the keys that need it;
// others can still be read.
func (d *DB) Get(key []byte) ([]byte, error) { return d.AppendValue(nil, key) }

// AppendValue appends the value of key to dst and returns the result, so that a
// caller with a large enough buffer causes no allocation. On an error, ErrNotFound
// included, it returns dst as it was.
func (d *DB) AppendValue(dst, key []byte) ([]byte, error) {
	d.catchUp()
	r := d.published.Enter() // like look, but with nothing on the heap
	if d.closed.Load() {
		r.Leave()
		return dst, ErrClosed
	}
	return appendValue(dst, r, view.At{Seq: d.published.Visible()}, key)
}

// Has reports whether key has a value; see Get. It reads no large value, and does not
// merge operands: a key that has some has a value.
func (d *DB) Has(key []byte) (bool, error) { return d.look(&look{key: key}).has() }

// GetSize returns the length of the value of key, or ErrNotFound; see Get. It reads no
// large value; operands are merged.
func (d *DB) GetSize(key []byte) (int, error) { return d.look(&look{key: key}).size() }

// look is one look at a key, or an iterator's at all of them, at one instant. Whatever is
// read ends it. Without a State, what is looked at is closed.
type look struct {
	view.Reading
	at    view.At
	key   []byte
	whole *[]byte // the buffer that key is in; nil: it is the caller's
}

// within makes the key one with a prefix.
func (l *look) within(prefix, key []byte) *look {
	l.whole = wholes.Get().(*[]byte)
	l.key = whole(l.whole, prefix, key)
	return l
}

// catchUp waits until everything can be seen that was acknowledged, if some of it was when it
// was Queued. Where that fails, the database has, or is closed: then there is nothing to wait
// for.
func (d *DB) catchUp() {
	if d.pipeline != nil && d.pipeline.Behind() {
		d.wait(context.Background())
	}
}

// catchUpUntil is catchUp for somebody who may leave: when ctx ends it returns its error, as
// the Writer may take as long as the disk is full, or hangs.
func (d *DB) catchUpUntil(ctx context.Context) error {
	if d.pipeline == nil || !d.pipeline.Behind() {
		return nil
	}
	d.wait(ctx)
	return ctx.Err()
}

func (d *DB) wait(ctx context.Context) {
	c := d.takeCall() // an empty one
	if d.pipeline.Enqueue(ctx, c.Commit) != nil || c.WaitOrLeave(ctx) {
		d.giveBack(c)
	}
}

// look begins a look at what can be seen now.
func (d *DB) look(l *look) *look {
	d.catchUp()
	return d.lookAt(l)
}

// lookUntil is look for somebody who may leave.
func (d *DB) lookUntil(ctx context.Context, l *look) error {
	switch {
	case ctx == nil:
		return errNilContext
	case d.closed.Load():
		return ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if err := d.catchUpUntil(ctx); err != nil {
		return err
	}
	if d.lookAt(l); l.State == nil {
		return ErrClosed
	}
	return nil
}

// lookAt begins a look at what is visible. The state is loaded before the sequence number:
// see view.Published. Whether the database is closed is asked last: Close waits with what
// memory it frees for those who came before that.
func (d *DB) lookAt(l *look) *look {
	if r := d.published.Enter(); d.closed.Load() {
		r.Leave()
	} else {
		l.Reading, l.at.Seq = r, d.published.Visible()
	}
	return l
}

// free frees the buffer, when the key is not looked at any more. Nothing bounds the keys that
// are asked for: a long one is not kept.
func (l *look) free() {
	if l.whole != nil && cap(*l.whole) <= maxPooledBytes {
		wholes.Put(l.whole)
	}
}

// appendValue appends the value to dst.
func (l *look) appendValue(dst []byte) ([]byte, error) {
	if l.State == nil {
		return dst, ErrClosed
	}
	defer l.free()
	return appendValue(dst, l.Reading, l.at, l.key)
}

// appendValue reads at an instant and leaves.
func appendValue(dst []byte, r view.Reading, at view.At, key []byte) ([]byte, error) {
	defer r.Leave()
	value, found, err := r.Get(at, key)
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return dst, err
	}
	if dst == nil && len(value) == 0 {
		dst = []byte{} // an empty value is a value
	}
	return append(dst, value...), nil
}

// has reports whether there is a value.
func (l *look) has() (bool, error) {
	if l.State == nil {
		return false, ErrClosed
	}
	defer l.Leave()
	found, err := l.Has(l.at, l.key)
	l.free()
	return found, err
}

// size returns the length of the value.
func (l *look) size() (int, error) {
	if l.State == nil {
		return 0, ErrClosed
	}
	defer l.Leave()
	bytes, found, err := l.Size(l.at, l.key)
	l.free()
	if err == nil && !found {
		err = ErrNotFound
	}
	return bytes, err
}

// Snapshot shows the database as it was at one instant: values that had not ended then
// stay, and later deletes of keys or ranges change nothing. Until it is closed, every
// version it can see is kept, which costs space. It is safe for concurrent use.
type Snapshot struct {
	db   *DB
	at   view.At
	held stages.Snapshot

	// A view has its original and a prefix, and nothing else; see In. An original is its own.
	of     *Snapshot
	prefix []byte
}

// NewSnapshot returns a snapshot of what is visible now. Close it.
func (d *DB) NewSnapshot() (*Snapshot, error) {
	return d.snapshot(context.Background(), view.Caller(2))
}

// snapshot returns a snapshot that was asked for in a place, unless ctx ends before.
func (d *DB) snapshot(ctx context.Context, pc uintptr) (*Snapshot, error) {
	if d.closed.Load() {
		return nil, ErrClosed
	}
	if err := d.catchUpUntil(ctx); err != nil {
		return nil, err
	}
	s := &Snapshot{db: d}
	s.of, s.held.Opened = s, view.Opened{Since: d.clock.Now(), PC: pc}
	if d.pipeline == nil {
		s.at = d.unused.Register(&s.held, d.published.At).At()
	} else {
		s.at = d.pipeline.Acquire(&s.held).At()
	}
	return s, nil
}

// In returns the same snapshot as it is seen from a keyspace: keys are those of k, whatever
// keyspace s is seen from. Closing either closes both.
func (s *Snapshot) In(k *Keyspace) *Snapshot { return &Snapshot{of: s.of, prefix: k.prefix} }

// Get returns a copy of the value that key had, or ErrNotFound.
func (s *Snapshot) Get(key []byte) ([]byte, error) { return s.AppendValue(nil, key) }

// AppendValue appends the value that key had to dst; see DB.AppendValue.
func (s *Snapshot) AppendValue(dst, key []byte) (value []byte, err error) {
	return s.of.look(s.prefix, &look{key: key}).appendValue(dst)
}

// Has reports whether key had a value.
func (s *Snapshot) Has(key []byte) (found bool, err error) {
	return s.of.look(s.prefix, &look{key: key}).has()
}

// GetSize returns the length of the value that key had; see DB.GetSize.
func (s *Snapshot) GetSize(key []byte) (bytes int, err error) {
	return s.of.look(s.prefix, &look{key: key}).size()
}

// NewIterator returns an iterator over what the snapshot shows. It stays usable
// when the snapshot is closed.
func (s *Snapshot) NewIterator(o *IterOptions) (*Iterator, error) {
	return s.of.db.iterate(s.prefix, &s.of.at, nil, &s.of.held.Closed, o)
}

// Close releases what only the snapshot needed. It is idempotent.
func (s *Snapshot) Close() error {
	s = s.of
	switch {
	case !s.held.Closed.CompareAndSwap(false, true):
	case s.db.pipeline == nil:
		s.db.unused.Unregister(&s.held)
	default:
		s.db.pipeline.Release(&s.held)
	}
	return nil
}

// look looks at what the snapshot shows. The state is loaded before the snapshot is asked
// whether it is open: what is published after a Close may lack versions that only this
// snapshot needed.
func (s *Snapshot) look(prefix []byte, l *look) *look {
	if len(prefix) > 0 {
		l.within(prefix, l.key)
	}
	if s.db.lookAt(l); l.State != nil && s.held.Closed.Load() {
		l.Leave()
		l.State = nil
	}
	l.at = s.at
	return l
}
