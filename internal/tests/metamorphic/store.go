package metamorphic

// Store is what a history runs against. It is used by one goroutine. Errors are told
// apart by base.ErrNotFound, ErrClosed and ErrReadOnly; any other is a failure.
type Store interface {
	Reader
	Put(key, value []byte, d Durability) error
	Delete(key []byte, d Durability) error
	Apply(writes []Write, d Durability) error
	// Submit starts a write and returns how to wait for it.
	Submit(writes []Write, d Durability) (wait func() error, err error)
	Sync() error
	Flush() error
	Compact(start, end []byte) error
	NewSnapshot() (Snapshot, error)
	// Restart ends the database and opens it again, as a Restart operation says.
	// Snapshots and iterators then say base.ErrClosed.
	Restart(o Operation) error
	// Close ends the database for good and removes it.
	Close() error
}

// Reader is what can be read: a database or a snapshot.
type Reader interface {
	Get(key []byte) ([]byte, error)
	Has(key []byte) (bool, error)
	NewIterator(lower, upper, prefix []byte) (Iterator, error)
}

// Snapshot is a Reader of one instant.
type Snapshot interface {
	Reader
	Close() error
}

// Iterator behaves like db.Iterator: new ones stand before the first and after the
// last key at once, and a move that left the range comes back into it.
type Iterator interface {
	First() bool
	Last() bool
	Next() bool
	Prev() bool
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	Valid() bool
	Key() []byte
	Value() []byte
	Err() error
	Close() error
}

// Subject is one way of running histories, for example one set of options.
type Subject struct {
	Name string
	// Open makes a new, empty store.
	Open func() (Store, error)
}
