package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"lsmdb/db"
)

// Set stores a stable value and returns when it survives a power failure. Key and value are
// copied. Errors are those of db.DB.Put.
func (s *Store) Set(key, value []byte) error {
	if s.closed.Load() {
		return db.ErrClosed
	}
	if err := s.stable.Put(key, value, db.Sync); err != nil {
		return fmt.Errorf("raftlog: set %q: %w", key, err)
	}
	return nil
}

// Get returns a copy of a stable value, or nil and ErrNotFound. Other errors are those of
// db.DB.Get.
func (s *Store) Get(key []byte) ([]byte, error) {
	if s.closed.Load() {
		return nil, db.ErrClosed
	}
	value, err := s.stable.Get(key)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("raftlog: get %q: %w", key, err)
	}
	return value, nil
}

// SetUint64 is Set for a number. Numbers and other values share their keys.
func (s *Store) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 is Get for a number, 0 and ErrNotFound if there is none. A value of another length
// than 8 bytes is an error.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	n, err := number(value)
	if err != nil {
		return 0, fmt.Errorf("raftlog: get %q: %w", key, err)
	}
	return n, nil
}

func number(p []byte) (uint64, error) {
	if len(p) != 8 {
		return 0, fmt.Errorf("a number of %d bytes instead of 8: %w", len(p), db.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(p), nil
}
