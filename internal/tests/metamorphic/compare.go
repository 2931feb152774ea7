package metamorphic

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"runtime/debug"

	"lsmdb/internal/base"
)

// Failure is the first operation whose result differs from the model's.
type Failure struct {
	At        int // index of the operation
	Operation Operation
	Got, Want string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("operation %d, %s: got %s, want %s", f.At+1, f.Operation, f.Got, f.Want)
}

// Compare runs a history on a new store and on a Model, side by side, and returns the
// first difference, nil if there is none.
func (s Subject) Compare(h History) *Failure {
	store, err := s.Open()
	if err != nil {
		return &Failure{Got: "open: " + err.Error(), Want: "a new store"}
	}
	failure := compare(store, h)
	if err := store.Close(); err != nil && failure == nil {
		failure = &Failure{At: len(h), Got: "close: " + err.Error(), Want: "nothing"}
	}
	return failure
}

func compare(store Store, h History) *Failure {
	model, tested := newSession(NewModel()), newSession(store)
	defer model.end()
	defer tested.end()
	for i, o := range h {
		want, got := model.do(o), tested.do(o)
		if got != want {
			return &Failure{At: i, Operation: o, Got: got, Want: want}
		}
	}
	return nil
}

// session carries out operations and writes their results as text.
type session struct {
	store        Store
	snapshots    map[Handle]Snapshot
	iterators    map[Handle]Iterator
	transactions map[Handle]Tx
	seconds      int            // where the clock stands
	pending      []func() error // writes that nobody has waited for
}

func newSession(s Store) *session {
	return &session{store: s, snapshots: make(map[Handle]Snapshot), iterators: make(map[Handle]Iterator), transactions: make(map[Handle]Tx)}
}

// end releases what is open still.
func (s *session) end() {
	s.settle()
	for _, it := range s.iterators {
		it.Close()
	}
	for _, snapshot := range s.snapshots {
		snapshot.Close()
	}
	for _, tx := range s.transactions {
		tx.Close()
	}
}

// settle waits for what was submitted.
func (s *session) settle() error {
	var errs []error
	for _, wait := range s.pending {
		errs = append(errs, wait())
	}
	s.pending = nil
	return errors.Join(errs...)
}

// do carries out an operation. A panic is a result like others, so that it can be
// shrunk.
func (s *session) do(o Operation) (result string) {
	defer func() {
		if p := recover(); p != nil {
			result = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	switch o.Kind {
	case Put, Delete, DeleteRange, Merge, PutUntil, Batch, Submit, Sync, Flush, Compact:
		return outcome(s.write(o))
	}
	if err := s.settle(); err != nil {
		return "submitted before: " + outcome(err)
	}
	switch o.Kind {
	case SetClock, Load, Begin, Commit, Checkpoint:
		return s.vocabulary(o)
	case Get, Has, Size, Scan, NewIterator:
		return s.read(o)
	case NewSnapshot:
		return s.snapshot(o)
	case Close:
		return s.close(o)
	case Restart:
		s.seconds = math.MaxInt // it may have been set
		return outcome(s.store.Restart(o))
	}
	return s.move(o)
}

// nothing is the result of acting on what is not open.
const nothing = "nothing"

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	for _, known := range []error{base.ErrNotFound, base.ErrClosed, base.ErrReadOnly, ErrConflict} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "error: " + err.Error()
}

func (s *session) write(o Operation) error {
	switch o.Kind {
	case Put, Delete, DeleteRange, Merge, PutUntil:
		if o.On != "" || !o.Writes[0].isPlain() {
			return s.one(o)
		}
	}
	switch o.Kind {
	case Put:
		key, value := clone(o.Writes[0].Key), o.Writes[0].Value.Bytes()
		defer clobber(key, value)
		return s.store.Put(key, value, o.Durability)
	case Delete:
		key := clone(o.Writes[0].Key)
		defer clobber(key)
		return s.store.Delete(key, o.Durability)
	case Batch:
		return s.store.Apply(o.Writes, o.Durability)
	case Submit:
		wait, err := s.store.Submit(o.Writes, o.Durability)
		if err == nil {
			s.pending = append(s.pending, wait)
		}
		return err
	case Sync:
		return s.store.Sync()
	case Flush:
		return s.store.Flush()
	}
	return s.store.Compact(o.Lower, o.Upper)
}

func clone(key []byte) []byte { return append([]byte{}, key...) }

// clobber spoils arguments that were given back: nobody may look at them any more.
func clobber(arguments ...[]byte) {
	for _, a := range arguments {
		for i := range a {
			a[i] = 0xee
		}
	}
}

func (s *session) read(o Operation) string {
	var from Reader = s.store
	if tx := s.transactions[o.From]; tx != nil {
		from = tx
	} else if snapshot := s.snapshots[o.From]; snapshot != nil {
		from = snapshot
	} else if o.From != Database {
		return nothing
	}
	if o.Space != nil {
		from = from.(Wide).In(o.Space)
	}
	key := clone(o.Key)
	defer clobber(key)
	switch o.Kind {
	case Get:
		value, err := from.Get(key)
		if err != nil {
			return outcome(err)
		}
		return show(value)
	case Has:
		has, err := from.Has(key)
		if err != nil {
			return outcome(err)
		}
		return fmt.Sprint(has)
	case Size:
		size, err := from.(Wide).Size(key)
		if err != nil {
			return outcome(err)
		}
		return fmt.Sprint(size)
	}
	open := from.NewIterator
	if o.KeysOnly {
		open = from.(Wide).NewKeyIterator
	}
	it, err := open(o.Lower, o.Upper, o.Prefix)
	if err != nil {
		return outcome(err)
	}
	if o.Kind == Scan {
		return scan(it)
	}
	if old := s.iterators[o.On]; old != nil {
		old.Close()
	}
	s.iterators[o.On] = it
	return outcome(nil)
}

func (s *session) snapshot(o Operation) string {
	snapshot, err := s.store.NewSnapshot()
	if err != nil {
		return outcome(err)
	}
	if old := s.snapshots[o.On]; old != nil {
		old.Close()
	}
	s.snapshots[o.On] = snapshot
	return outcome(nil)
}

func (s *session) close(o Operation) string {
	if snapshot := s.snapshots[o.On]; snapshot != nil {
		delete(s.snapshots, o.On)
		return outcome(snapshot.Close())
	}
	if it := s.iterators[o.On]; it != nil {
		delete(s.iterators, o.On)
		return outcome(it.Close())
	}
	if tx := s.transactions[o.On]; tx != nil {
		delete(s.transactions, o.On)
		return outcome(tx.Close())
	}
	return nothing
}

func (s *session) move(o Operation) string {
	it := s.iterators[o.On]
	if it == nil {
		return nothing
	}
	key := clone(o.Key)
	defer clobber(key)
	var ok bool
	switch o.Kind {
	case First:
		ok = it.First()
	case Last:
		ok = it.Last()
	case Next:
		ok = it.Next()
	case Prev:
		ok = it.Prev()
	case SeekGE:
		ok = it.SeekGE(key)
	case SeekLT:
		ok = it.SeekLT(key)
	default:
		return fmt.Sprintf("no operation %q", o.Kind)
	}
	return position(it, ok)
}

// position says where an iterator stands after a move that returned ok.
func position(it Iterator, ok bool) string {
	switch valid := it.Valid(); {
	case valid != ok:
		return fmt.Sprintf("the move says %v, Valid %v", ok, valid)
	case valid:
		if ending, ok := it.(Ending); ok && ending.Until() != 0 {
			return fmt.Sprint(show(it.Key()), " = ", show(it.Value()), " until ", ending.Until())
		}
		return show(it.Key()) + " = " + show(it.Value())
	case it.Key() != nil || it.Value() != nil:
		return "not valid, but shows " + show(it.Key())
	case it.Err() != nil:
		return outcome(it.Err())
	}
	return "no key"
}

// scan reads everything in both directions, and closes the iterator.
func scan(it Iterator) string {
	forward := crc32.NewIEEE()
	var keys []string
	for ok := it.First(); ok; ok = it.Next() {
		keys = append(keys, position(it, ok))
		fmt.Fprintln(forward, keys[len(keys)-1])
	}
	i := len(keys)
	for ok := it.Prev(); ok && i >= 0; ok = it.Prev() {
		if i--; i < 0 || position(it, ok) != keys[i] {
			it.Close()
			return fmt.Sprintf("key %d of %d is another one backward: %s", i, len(keys), position(it, ok))
		}
	}
	if err := errors.Join(it.Err(), it.Close()); err != nil {
		return outcome(err)
	}
	if i != 0 {
		return fmt.Sprintf("%d keys forward, %d fewer backward", len(keys), i)
	}
	return fmt.Sprintf("%d keys, CRC %08x", len(keys), forward.Sum32())
}

// show tells byte strings apart without repeating long ones.
func show(b []byte) string {
	if len(b) <= 40 {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q... (%d bytes, CRC %08x)", b[:16], len(b), crc32.ChecksumIEEE(b))
}
