package db

import "lsmdb/internal/view"

// Get returns a copy of the value of key, or ErrNotFound. A damaged block gives a
// *CorruptionError for the keys that need it; others can still be read.
func (d *DB) Get(key []byte) ([]byte, error) { return d.AppendValue(nil, key) }

// AppendValue appends the value of key to dst and returns the result, so that a
// caller with a large enough buffer causes no allocation. On an error, ErrNotFound
// included, it returns dst as it was.
func (d *DB) AppendValue(dst, key []byte) ([]byte, error) {
	if d.closed.Load() {
		return dst, ErrClosed
	}
	// The state is loaded before the sequence number: see view.Published.
	r := d.published.Enter()
	return appendValue(dst, r, view.At{Seq: d.published.Visible()}, key)
}

// Has reports whether key has a value.
func (d *DB) Has(key []byte) (bool, error) {
	if d.closed.Load() {
		return false, ErrClosed
	}
	r := d.published.Enter()
	return has(r, view.At{Seq: d.published.Visible()}, key)
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
	_, found, err := r.Get(at, key)
	return found, err
}
