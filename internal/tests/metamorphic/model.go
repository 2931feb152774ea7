package metamorphic

import (
	"maps"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
)

// Model is the Store that is right by being simple. Restarting it changes nothing but who
// is closed and what is refused.
type Model struct {
	modelView
	shared   bool // the state belongs to somebody else as well
	readOnly bool
	clock    int64            // may be behind the time that was seen already
	commits  []fixture.Commit // all there were
}

// NewModel returns an empty model.
func NewModel() *Model {
	now := fixture.Epoch.UnixNano()
	return &Model{modelView: modelView{state: fixture.State{}, now: now, closed: new(bool)}, clock: now}
}

// Put implements Store, like the rest of the methods.
func (m *Model) Put(key, value []byte, _ Durability) error {
	return m.commit(fixture.Commit{{Key: string(key), Value: string(value)}})
}

// Delete implements Store.
func (m *Model) Delete(key []byte, _ Durability) error {
	return m.commit(fixture.Commit{{Key: string(key), Delete: true}})
}

// Write implements Vocabulary.
func (m *Model) Write(w Write, d Durability) error { return m.Apply([]Write{w}, d) }

// Apply implements Store.
func (m *Model) Apply(writes []Write, _ Durability) error {
	var c fixture.Commit
	for _, w := range writes {
		c = append(c, w.Operation())
	}
	return m.commit(c)
}

// Submit implements Store.
func (m *Model) Submit(writes []Write, d Durability) (func() error, error) {
	return func() error { return nil }, m.Apply(writes, d)
}

// Load implements Vocabulary.
func (m *Model) Load(writes []Write) error { return m.Apply(writes, Synced) }

func (m *Model) commit(c fixture.Commit) error {
	if m.readOnly {
		return base.ErrReadOnly
	}
	if m.shared {
		m.state, m.shared = maps.Clone(m.state), false
	}
	m.state.Apply(c)
	m.commits = append(m.commits, c)
	return nil
}

// Sync implements Store.
func (m *Model) Sync() error { return m.commit(nil) }

// Flush implements Store.
func (m *Model) Flush() error { return m.commit(nil) }

// Compact implements Store.
func (m *Model) Compact(_, _ []byte) error { return m.commit(nil) }

// NewSnapshot implements Store.
func (m *Model) NewSnapshot() (Snapshot, error) {
	m.shared = true
	view := m.modelView
	return &view, nil
}

// NewIterator implements Reader.
func (m *Model) NewIterator(lower, upper, prefix []byte) (Iterator, error) {
	m.shared = true
	return m.modelView.NewIterator(lower, upper, prefix)
}

// NewKeyIterator implements Wide.
func (m *Model) NewKeyIterator(lower, upper, prefix []byte) (Iterator, error) {
	m.shared = true
	return m.modelView.NewKeyIterator(lower, upper, prefix)
}

// In implements Wide.
func (m *Model) In(space []byte) Reader {
	m.shared = true
	return m.modelView.In(space)
}

// Checkpoint implements Vocabulary.
func (m *Model) Checkpoint() (Snapshot, error) {
	if m.readOnly {
		return nil, base.ErrReadOnly
	}
	return m.NewSnapshot()
}

// SetClock implements Vocabulary.
func (m *Model) SetClock(seconds int) {
	m.clock = fixture.Epoch.UnixNano() + int64(seconds)*int64(time.Second)
	m.now = max(m.now, m.clock)
}

// Restart implements Store.
func (m *Model) Restart(o Operation) error {
	if o.End != CleanClose || m.readOnly {
		m.clock = m.now
	}
	*m.closed = true
	m.closed, m.readOnly = new(bool), o.ReadOnly
	return nil
}

// Close implements Store.
func (m *Model) Close() error { return nil }

// Begin implements Vocabulary.
func (m *Model) Begin() (Tx, error) {
	if m.readOnly {
		return nil, base.ErrReadOnly
	}
	return &modelTx{model: m, closed: m.closed, ended: new(bool), begun: len(m.commits), tx: fixture.BeginModel(m.state, m.now)}, nil
}

// modelTx is a transaction.
type modelTx struct {
	model  *Model
	closed *bool // of the database
	ended  *bool
	begun  int // commits
	tx     *fixture.Transaction
}

func (t *modelTx) isOver() bool { return *t.closed || *t.ended }

// view is what it sees now.
func (t *modelTx) view() *modelView {
	state, now := t.tx.State()
	return &modelView{state: state, now: now, closed: t.closed, tx: t}
}

func (t *modelTx) Get(key []byte) ([]byte, error) { return t.view().Get(key) }
func (t *modelTx) Has(key []byte) (bool, error)   { return t.view().Has(key) }
func (t *modelTx) Size(key []byte) (int, error)   { return t.view().Size(key) }
func (t *modelTx) In(space []byte) Reader         { return t.view().In(space) }
func (t *modelTx) NewIterator(lower, upper, prefix []byte) (Iterator, error) {
	return t.view().NewIterator(lower, upper, prefix)
}
func (t *modelTx) NewKeyIterator(lower, upper, prefix []byte) (Iterator, error) {
	return t.view().NewKeyIterator(lower, upper, prefix)
}

func (t *modelTx) Write(w Write) error {
	if t.isOver() {
		return base.ErrClosed
	}
	t.tx.Write(w.Operation())
	return nil
}

func (t *modelTx) Commit(Durability) error {
	if t.isOver() {
		return base.ErrClosed
	}
	*t.ended = true
	_, conflict := t.tx.Conflicts(t.model.commits[min(t.begun, len(t.model.commits)):])
	switch {
	case conflict:
		return ErrConflict
	case len(t.tx.Commit()) == 0:
		return nil
	}
	return t.model.commit(t.tx.Commit())
}

func (t *modelTx) Close() error {
	*t.ended = true
	return nil
}
