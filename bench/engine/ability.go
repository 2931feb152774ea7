package engine

import (
	"iter"
	"slices"
	"time"
)

// Ability is something that not every engine can do. Kind.Can names those of an engine.
type Ability string

// The abilities, and the interface that goes with each.
const (
	Transactions Ability = "transactions"  // serializable: Transactor
	Loads        Ability = "loads"         // Loader
	RangeDeletes Ability = "range deletes" // RangeDeleter
	Expiry       Ability = "expiry"        // its batches are an ExpiringBatch
	Checkpoints  Ability = "checkpoints"   // Checkpointer
	Zstd         Ability = "Zstandard"     // Options.Zstd
	Memtables    Ability = "memtables"     // every log-structured merge tree
)

// Able reports whether the engine can do that; every engine can do what needs no ability.
func (k Kind) Able(a Ability) bool {
	return a == "" || a == Memtables && k.LSM || slices.Contains(k.Can, a)
}

// Reader finds values, as Engine.Get does.
type Reader interface {
	Get(dst, key []byte) ([]byte, error)
}

// Tx is a transaction. It belongs to one goroutine. An Engine has these methods too, and
// does without the transaction.
type Tx interface {
	Reader
	Put(key, value []byte) error
}

// Transactor is an engine with serializable transactions. It is opened with
// Options.Conflicts.
type Transactor interface {
	// Update commits what fn writes; after a conflict it calls fn again.
	Update(fn func(Tx) error) error
	// View calls fn with what one instant shows.
	View(fn func(Reader) error) error
}

// Loader is an engine that takes in what is sorted, past its log.
type Loader interface {
	Load(sorted iter.Seq2[[]byte, []byte]) error
}

// RangeDeleter is an engine that removes the keys of [start, end) by one write.
type RangeDeleter interface {
	DeleteRange(start, end []byte) error
}

// ExpiringBatch is a batch of values that end.
type ExpiringBatch interface {
	Batch
	// PutUntil stores an entry that ends at until, or up to a second later.
	PutUntil(key, value []byte, until time.Time) error
}

// Checkpointer is an engine that copies its files while it is used.
type Checkpointer interface {
	// Checkpoint makes a database of what there is now, in a directory that is absent.
	Checkpoint(dir string) error
}
