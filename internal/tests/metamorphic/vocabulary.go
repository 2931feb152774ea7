package metamorphic

import (
	"errors"
	"time"

	"lsmdb/internal/tests/fixture"
)

// Vocabulary is a Store that knows more than puts and deletes.
type Vocabulary interface {
	Store
	Wide
	Write(w Write, d Durability) error
	// Load stores puts of ascending keys.
	Load(writes []Write) error
	Begin() (Tx, error)
	// Checkpoint makes a checkpoint and a database of it, which is closed and removed with
	// the snapshot.
	Checkpoint() (Snapshot, error)
	// SetClock sets the clock, in seconds since the beginning. It may run back: what was
	// seen on it counts.
	SetClock(seconds int)
}

// Wide is a Reader that knows more than gets and iterators.
type Wide interface {
	Reader
	Size(key []byte) (int, error)
	// NewKeyIterator returns one without values.
	NewKeyIterator(lower, upper, prefix []byte) (Iterator, error)
	// In is the same, seen from the keyspace of a prefix. It is Wide, too.
	In(space []byte) Reader
}

// Tx is a transaction. Close discards it.
type Tx interface {
	Wide
	Write(w Write) error
	Commit(d Durability) error
	Close() error
}

// Ending is an Iterator that tells when values end.
type Ending interface {
	Until() int64 // nanoseconds since 1970; 0: never
}

// ErrConflict is the answer to a commit that others have forestalled.
var ErrConflict = errors.New("conflict")

// Operation is what a write does, on whole keys.
func (w Write) Operation() fixture.Operation {
	o := fixture.Operation{Key: string(w.Space) + string(w.Key), Delete: w.Delete, Range: w.Range, Merge: w.Merge}
	switch {
	case w.Range && w.End == nil && len(w.Space) > 0:
		o.Value, _ = fixture.BehindPrefix(string(w.Space))
	case w.Range && w.End == nil:
	case w.Range && len(w.Space)+len(w.End) == 0: // the bound "", which nothing lies before
		o.Key, o.Value = "\x01", "\x01"
	case w.Range:
		o.Value = string(w.Space) + string(w.End)
	case !w.Delete:
		o.Value = string(w.Value.Bytes())
	}
	if w.Until != 0 {
		o.Until = fixture.Epoch.UnixNano() + int64(w.Until)*int64(time.Second)
	}
	return o
}

// vocabulary carries out what only such a store can do.
func (s *session) vocabulary(o Operation) string {
	store, ok := s.store.(Vocabulary)
	if !ok {
		return "not in its vocabulary"
	}
	switch o.Kind {
	case SetClock:
		return outcome(s.setClock(store, o.Seconds))
	case Load:
		return outcome(store.Load(o.Writes))
	case Begin:
		return s.begin(store, o)
	case Commit:
		tx := s.transactions[o.On]
		if tx == nil {
			return nothing
		}
		return outcome(tx.Commit(o.Durability))
	}
	copied, err := store.Checkpoint()
	if err != nil {
		return outcome(err)
	}
	it, err := copied.NewIterator(nil, nil, nil)
	if err != nil {
		copied.Close()
		return outcome(err)
	}
	shown := scan(it)
	if err := copied.Close(); err != nil {
		return outcome(err)
	}
	return shown
}

// setClock moves the clock. Before it runs back, the store looks at it: what it never saw
// would not count.
func (s *session) setClock(store Vocabulary, seconds int) error {
	if seconds < s.seconds {
		key := []byte(fixture.ClockKey)
		err := store.Write(Write{Key: key, Until: 1 << 30}, Unsynced)
		if err != nil {
			return err
		}
		if _, err := store.Get(key); err != nil {
			return err
		}
	}
	s.seconds = seconds
	store.SetClock(seconds)
	return nil
}

// lastKey lies behind all others. While a transaction sees it, a range delete concerns every
// key, also those behind all that have a value.
const lastKey = "\xff\xff\xff\xff"

func (s *session) begin(store Vocabulary, o Operation) string {
	if err := store.Write(Write{Key: []byte(lastKey)}, Unsynced); err != nil {
		return outcome(err)
	}
	tx, err := store.Begin()
	if err != nil {
		return outcome(err)
	}
	if old := s.transactions[o.On]; old != nil {
		old.Close()
	}
	s.transactions[o.On] = tx
	return outcome(nil)
}

// one makes one change: to the database, or in a transaction.
func (s *session) one(o Operation) error {
	if o.On != "" {
		tx := s.transactions[o.On]
		if tx == nil {
			return nil
		}
		return tx.Write(o.Writes[0])
	}
	store, ok := s.store.(Vocabulary)
	if !ok {
		return errors.New("not in its vocabulary")
	}
	return store.Write(o.Writes[0], o.Durability)
}
