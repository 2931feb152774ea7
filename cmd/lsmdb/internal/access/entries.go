package access

import (
	"context"
	"iter"

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
