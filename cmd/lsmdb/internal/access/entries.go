package access

import (
	"bytes"
	"context"
	"iter"
	"time"

	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
	"lsmdb/internal/base"
)

// Walk calls visit for each entry in the direction until it returns false.
func Walk(ctx context.Context, it *db.Iterator, reverse bool, visit func(key, value []byte) (more bool, err error)) error {
	entries := iter.Seq2[[]byte, []byte](it.All())
	if reverse {
		entries = it.Backward()
	}
	n := 0
	for key, value := range entries {
		if n++; n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if more, err := visit(key, value); err != nil || !more {
			return err
		}
	}
	return it.Err()
}

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

// Until says when the value of a key ends; zero: never, or there is none.
func Until(r Reader, key []byte) (until time.Time, err error) {
	it, err := r.NewIterator(&db.IterOptions{Lower: key, Upper: append(bytes.Clone(key), 0), KeysOnly: true})
	if err != nil {
		return until, err
	}
	defer it.Close()
	if it.First() {
		until = it.Until()
	}
	return until, it.Err()
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
