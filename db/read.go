package db

import "lsmdb/internal/view"

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
	r, at, err := d.enter()
	if err != nil {
		return dst, err
	}
	return appendValue(dst, r, at, key)
}

// Has reports whether key has a value; see Get. It reads no large value, and does not
// merge operands: a key that has some has a value.
func (d *DB) Has(key []byte) (bool, error) {
	r, at, err := d.enter()
	if err != nil {
		return false, err
	}
	return has(r, at, key)
}

// GetSize returns the length of the value of key, or ErrNotFound; see Get. It reads no
// large value; operands are merged.
func (d *DB) GetSize(key []byte) (int, error) {
	r, at, err := d.enter()
	if err != nil {
		return 0, err
	}
	return getSize(r, at, key)
}

// enter returns what to search, and to leave then, and the instant that is visible now. The
// state is loaded before the sequence number: see view.Published. Whether the database is
// closed is asked last: who comes before that is waited for with the memory that it needs.
func (d *DB) enter() (view.Reading, view.At, error) {
	r := d.published.Enter()
	if d.closed.Load() {
		r.Leave()
		return view.Reading{}, view.At{}, ErrClosed
	}
	return r, view.At{Seq: d.published.Visible()}, nil
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

// has reads at an instant and leaves.
func has(r view.Reading, at view.At, key []byte) (bool, error) {
	defer r.Leave()
	return r.Has(at, key)
}

// getSize reads at an instant and leaves.
func getSize(r view.Reading, at view.At, key []byte) (int, error) {
	defer r.Leave()
	bytes, found, err := r.Size(at, key)
	if err == nil && !found {
		err = ErrNotFound
	}
	return bytes, err
}
