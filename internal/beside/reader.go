// Package beside reads a database for somebody who need not know who has it open: this
// process (Direct), or another one that serves it on a socket in its directory (Client).
// It also has what both ends of that socket agree on; package attach is the other end.
package beside

import (
	"context"
	"time"

	"lsmdb/db"
)

// Reader is a database that can be looked at. Whatever one call returns is of one instant.
// Its methods may be called concurrently.
type Reader interface {
	// Get returns the entry of a key, or db.ErrNotFound.
	Get(ctx context.Context, key []byte) (Entry, error)
	// GetSize returns the length of the value of a key, or db.ErrNotFound.
	GetSize(ctx context.Context, key []byte) (int, error)
	// Scan calls visit for each entry until that returns an error, which Scan returns. The
	// slices are valid until visit returns.
	Scan(ctx context.Context, q Query, visit func(Entry) error) error
	// Count is a Scan that only counts.
	Count(ctx context.Context, q Query) (Counts, error)
	// Metrics returns what the database counts.
	Metrics(ctx context.Context) (db.Metrics, error)
	// Health says what keeps the database from its work; "" if nothing does. See db.DB.Health.
	Health(ctx context.Context) (wrong string, err error)
	// Pins lists what keeps something; see db.DB.Pins.
	Pins(ctx context.Context) ([]db.Pin, error)
	// SpaceOf tells what a range of keys takes; see db.DB.SpaceOf.
	SpaceOf(ctx context.Context, start, end []byte) (db.Space, error)
	// Explain tells how a key is looked up; see db.DB.Explain.
	Explain(ctx context.Context, key []byte) (db.Explanation, error)
	// Checkpoint makes a copy of the database in dir, which must be absent or empty. The
	// process that has the database open makes it, so dir must not be relative.
	Checkpoint(ctx context.Context, dir string) (Copied, error)
	// Close ends the use of the database.
	Close() error
}

// Entry is what the database has of a key.
type Entry struct {
	Key, Value []byte
	Until      time.Time // when the value ends; zero: it stays
}

// Query says what a Scan shows, as db.IterOptions does.
type Query struct {
	Prefix      []byte `json:"prefix"`
	Lower       []byte `json:"lower"`
	Upper       []byte `json:"upper"`
	KeysOnly    bool   `json:"keys_only"`
	NoCacheFill bool   `json:"no_cache_fill"`
	Reverse     bool   `json:"reverse"`
	Limit       int64  `json:"limit"` // 0: none
}

// Counts is what a Count comes to.
type Counts struct {
	Entries    int64 `json:"entries"`
	KeyBytes   int64 `json:"key_bytes"`
	ValueBytes int64 `json:"value_bytes"`
	Ending     int64 `json:"ending"` // values that end
}

// Copied describes what a Checkpoint made.
type Copied struct {
	Sequence uint64 `json:"sequence"` // of the newest write in it
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
}

// options is the part that an iterator knows.
func (q Query) options() *db.IterOptions {
	return &db.IterOptions{Prefix: q.Prefix, Lower: q.Lower, Upper: q.Upper, KeysOnly: q.KeysOnly, NoCacheFill: q.NoCacheFill}
}
