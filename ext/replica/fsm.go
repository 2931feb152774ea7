// Package replica keeps an lsmdb database the same on several machines, by the Raft of
// github.com/hashicorp/raft.
//
// Start runs a node, with everything that it needs. Who has a Raft already takes Open alone:
// the FSM is its state machine. Package raftlog has the stores for Raft's log.
package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

// FSM is a state machine of Raft whose state is a database. It takes commands (see Command)
// and nothing else. Its methods that Raft calls are called as Raft promises to; View, Applied,
// Failed, Err and Close are safe for concurrent use.
//
// Each run of log entries is written as one batch, together with the index of the last one, and
// without a sync. A killed process loses nothing; a power failure takes the newest batches, and
// Raft's log brings them again. Entries that the database holds already are passed over.
type FSM struct {
	dir     string
	options db.Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	// mu guards what follows. It is held for as long as it takes to look and to count.
	mu      sync.Mutex
	current *generation
	closed  bool
	failure error
	waiting chan struct{} // closed and replaced when the applied index moves; nil: nobody waits

	failed  chan struct{} // closed with the first failure
	applied atomic.Uint64
	closing sync.Once
	end     error // of Close

	batch application // of whoever applies
}

var _ raft.BatchingFSM = (*FSM)(nil)

// Open opens the state machine in dir, and creates it there if there is none. Of the options,
// Now has no effect: values end by the clock that commands carry. InMemory and ReadOnly are
// refused.
//
// Errors are those of db.Open.
func Open(dir string, o *db.Options) (*FSM, error) {
	f := &FSM{dir: dir, failed: make(chan struct{})}
	if o != nil {
		f.options = *o
	}
	if f.options.InMemory || f.options.ReadOnly {
		return nil, errors.New("replica: a state machine can be neither InMemory nor ReadOnly: snapshots replace its directory")
	}
	g, err := openCurrent(dir, &f.options)
	if err != nil {
		return nil, fmt.Errorf("replica: open %s: %w", dir, err)
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.current = g
	f.applied.Store(g.position().applied)
	return f, nil
}

// View calls fn with a snapshot of what the commands have written that are applied here, and
// closes it when fn returns or panics. It returns fn's error unchanged. Values that have ended
// by the latest time that a command carried are not there. A Restore does not wait for fn, and
// fn does not see it.
func (f *FSM) View(fn func(*db.Snapshot) error) error {
	g, err := f.acquire()
	if err != nil {
		return err
	}
	defer f.release(g)
	// Where the engine's clock cannot be brought forward, because the database has failed,
	// values stay a little longer.
	_ = g.publish(f.ctx)
	return g.db.View(func(s *db.Snapshot) error { return fn(s.In(g.data)) })
}

// Applied returns the index of the newest log entry that the state holds. Raft does not pass
// on entries of its own, so it may lie below that of Raft.
func (f *FSM) Applied() uint64 { return f.applied.Load() }

// Failed is closed when an entry could not be applied, because the database failed: then
// nothing is applied any more, as a gap would make this node differ from the others, and no
// snapshot is taken. The program should end the node. What waits for room on a full disk is
// no failure.
func (f *FSM) Failed() <-chan struct{} { return f.failed }

// Err returns why nothing is applied any more, or nil.
func (f *FSM) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure
}

// Close closes the database. It does not wait for Views, whose reads fail then. Entries that
// Raft still applies get db.ErrClosed. It is idempotent.
func (f *FSM) Close() error {
	f.closing.Do(func() {
		f.cancel()
		f.mu.Lock()
		f.closed = true
		g := f.current
		f.mu.Unlock()
		f.end = g.db.Close()
		f.wake()
	})
	return f.end
}

// acquire returns the state as it is now, for as long as the caller needs it.
func (f *FSM) acquire() (*generation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, db.ErrClosed
	}
	f.current.users++
	return f.current, nil
}

// release gives back what acquire returned. The last user of a state that was replaced removes it.
func (f *FSM) release(g *generation) {
	f.mu.Lock()
	g.users--
	last := g.users == 0 && g.replaced
	f.mu.Unlock()
	if last {
		g.discard()
	}
}

// fail notes the first failure.
func (f *FSM) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failure == nil {
		f.failure = fmt.Errorf("replica: nothing is applied any more: %w", err)
		close(f.failed)
	}
}

// moved publishes the index that the state holds.
func (f *FSM) moved(applied uint64) {
	f.applied.Store(applied)
	f.wake()
}

func (f *FSM) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting != nil {
		close(f.waiting)
		f.waiting = nil
	}
}

// waitApplied waits until the state holds the entry of an index.
func (f *FSM) waitApplied(ctx context.Context, index uint64) error {
	for {
		f.mu.Lock()
		if f.closed || f.failure != nil {
			defer f.mu.Unlock()
			return errors.Join(f.failure, db.ErrClosed)
		}
		if f.waiting == nil {
			f.waiting = make(chan struct{})
		}
		moved := f.waiting
		f.mu.Unlock()
		if f.Applied() >= index {
			return nil
		}
		select {
		case <-moved:
		case <-f.failed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// get looks up a key as of the newest command. Ended tells that the value ends by now, but has
// not ended yet by the commands' clock.
func (f *FSM) get(key []byte, now time.Time) (value []byte, ended bool, err error) {
	g, err := f.acquire()
	if err != nil {
		return nil, false, err
	}
	defer f.release(g)
	value, until, err := g.now().get(key)
	switch {
	case err != nil:
		return nil, false, err
	case value == nil:
		return nil, false, db.ErrNotFound
	}
	return value, until != 0 && until <= nanoseconds(now), nil
}

// tick tells whether the clock of the commands should be moved on: some value ends later.
func (f *FSM) tick(now time.Time) bool {
	g, err := f.acquire()
	if err != nil {
		return false
	}
	defer f.release(g)
	p := g.position()
	return p.lastUntil > p.clock && nanoseconds(now) > p.clock
}

// publish lets the engine's clock catch up, if that is needed.
func (f *FSM) publish() error {
	g, err := f.acquire()
	if err != nil {
		return err
	}
	defer f.release(g)
	return g.publish(f.ctx)
}

// restored returns by how many snapshots the state was ever replaced.
func (f *FSM) restored() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current.number - 1
}
