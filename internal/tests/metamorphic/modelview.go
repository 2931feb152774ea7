package metamorphic

import (
	"strings"

	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
)

// modelView is what one instant looks like.
type modelView struct {
	state  fixture.State
	now    int64
	closed *bool    // of the database that it belongs to
	tx     *modelTx // the transaction that reads; nil: none
	space  string   // keys have this prefix, which is not shown
}

func (v *modelView) isClosed() bool { return *v.closed || v.tx != nil && *v.tx.ended }

func (v *modelView) find(key []byte) (value string, found bool) {
	if whole := v.space + string(key); v.tx != nil {
		return v.tx.tx.Get(whole)
	} else {
		return v.state.Get(whole, v.now)
	}
}

func (v *modelView) Get(key []byte) ([]byte, error) {
	if v.isClosed() {
		return nil, base.ErrClosed
	}
	value, found := v.find(key)
	if !found {
		return nil, base.ErrNotFound
	}
	return []byte(value), nil
}

func (v *modelView) Has(key []byte) (bool, error) {
	if v.isClosed() {
		return false, base.ErrClosed
	}
	_, found := v.find(key)
	return found, nil
}

func (v *modelView) Size(key []byte) (int, error) {
	value, err := v.Get(key)
	return len(value), err
}

func (v *modelView) In(space []byte) Reader {
	within := *v
	within.space = string(space)
	return &within
}

func (v *modelView) NewIterator(lower, upper, prefix []byte) (Iterator, error) {
	return v.iterator(lower, upper, prefix, false)
}

func (v *modelView) NewKeyIterator(lower, upper, prefix []byte) (Iterator, error) {
	return v.iterator(lower, upper, prefix, true)
}

func (v *modelView) iterator(lower, upper, prefix []byte, keysOnly bool) (Iterator, error) {
	if v.isClosed() {
		return nil, base.ErrClosed
	}
	b := fixture.Bounds{Lower: v.whole(lower), Upper: upper, Prefix: v.whole(prefix)}
	if upper != nil {
		b.Upper = v.whole(upper)
	}
	instant := *v // which the model leaves behind
	it := &modelIterator{view: &instant, keysOnly: keysOnly}
	if v.tx != nil {
		it.Cursor = v.tx.tx.Cursor(b)
	} else {
		it.Cursor = fixture.NewCursor(v.state, v.now, b)
	}
	return it, nil
}

func (v *modelView) whole(key []byte) []byte { return []byte(v.space + string(key)) }

func (v *modelView) Close() error { return nil }

// modelIterator is a Cursor over a view.
type modelIterator struct {
	*fixture.Cursor
	view     *modelView
	keysOnly bool
	err      error
}

func (it *modelIterator) move(op byte, key []byte) bool {
	it.Move(op, it.view.space+string(key))
	if it.view.isClosed() {
		it.err = base.ErrClosed
	}
	return it.Valid()
}

func (it *modelIterator) First() bool            { return it.move('f', nil) }
func (it *modelIterator) Last() bool             { return it.move('l', nil) }
func (it *modelIterator) Next() bool             { return it.move('n', nil) }
func (it *modelIterator) Prev() bool             { return it.move('p', nil) }
func (it *modelIterator) SeekGE(key []byte) bool { return it.move('g', key) }
func (it *modelIterator) SeekLT(key []byte) bool { return it.move('s', key) }
func (it *modelIterator) Valid() bool            { return it.err == nil && it.Cursor.Valid() }

func (it *modelIterator) Key() []byte {
	if !it.Valid() {
		return nil
	}
	return []byte(strings.TrimPrefix(it.Cursor.Key(), it.view.space))
}

func (it *modelIterator) Value() []byte {
	if !it.Valid() {
		return nil
	}
	if it.keysOnly {
		return []byte{}
	}
	value, _ := it.at()
	return []byte(value)
}

// Until implements Ending.
func (it *modelIterator) Until() int64 {
	if !it.Valid() {
		return 0
	}
	_, until := it.at()
	return until
}

func (it *modelIterator) at() (value string, until int64) {
	key := it.Cursor.Key()
	value, until, _ = it.view.state[key].At(key, it.view.now)
	return value, until
}

func (it *modelIterator) Err() error   { return it.err }
func (it *modelIterator) Close() error { return nil }
