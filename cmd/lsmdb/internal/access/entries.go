package access

import (
	"bytes"
	"time"

	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
	"lsmdb/internal/base"
)

// Reader is what reads: a database, or a transaction.
type Reader interface {
	Get(key []byte) ([]byte, error)
	GetSize(key []byte) (int, error)
	NewIterator(o *db.IterOptions) (*db.Iterator, error)
}

// Writer is what takes writes: a batch, or a transaction.
type Writer interface {
	Put(key, value []byte) error
	PutUntil(key, value []byte, until time.Time) error
	Delete(key []byte) error
	DeleteRange(start, end []byte) error
	Merge(key, operand []byte) error
}

// Put stores an entry, for ever or until it ends.
func Put(w Writer, key, value []byte, until time.Time) error {
	if until.IsZero() {
		return w.Put(key, value)
	}
	return w.PutUntil(key, value, until)
}

// CheckRange refuses a range without keys: whoever gives one has mistaken something. An
// end of nil is open.
func CheckRange(start, end []byte) error {
	for _, bound := range [][]byte{start, end} {
		if err := CheckEntry(bound, nil); err != nil {
			return err
		}
	}
	if end != nil && bytes.Compare(start, end) >= 0 {
		return exit.Usagef("no key lies between them: START, which is included, must come before END, which is not")
	}
	return nil
}

// CheckEntry refuses what exceeds the limits, in words for a person.
func CheckEntry(key, value []byte) error {
	if len(key) > base.MaxKeyBytes {
		return &exit.Error{Code: exit.Failed, Cause: db.ErrKeyTooLarge,
			Sentence: "the key is too large: " + units.Count(len(key)) + " bytes; at most " + units.Count(base.MaxKeyBytes) + " are allowed"}
	}
	if len(value) > base.MaxValueBytes {
		return &exit.Error{Code: exit.Failed, Cause: db.ErrValueTooLarge,
			Sentence: "the value is too large; at most " + units.Count(base.MaxValueBytes) + " bytes are allowed"}
	}
	return nil
}

// Durability is what --no-sync asks for.
func Durability(noSync bool) db.Durability {
	if noSync {
		return db.NoSync
	}
	return db.Sync
}
