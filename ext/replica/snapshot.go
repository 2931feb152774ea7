package replica

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/raft"

	"lsmdb/db"
)

// Snapshot returns a checkpoint of the state: exactly what is applied now. It waits for what is
// in memory to be flushed, at most one memtable (55 MB take a tenth of a second), and for nothing
// else: the data is read when Raft has the snapshot persisted, while entries are applied.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.Err(); err != nil { // or entries would be dropped from the log that are missing here
		return nil, err
	}
	g, err := f.acquire()
	if err != nil {
		return nil, err
	}
	checkpoint, err := g.db.NewCheckpoint(f.ctx)
	if err != nil {
		f.release(g)
		return nil, fmt.Errorf("replica: snapshot: %w", err)
	}
	// All of it is durable, and nothing was applied meanwhile.
	g.reached(g.position().clock)
	return &snapshot{f, g, checkpoint}, nil
}

// snapshot is a checkpoint that Raft has taken.
type snapshot struct {
	fsm        *FSM
	state      *generation // which it keeps, also when another one is restored
	checkpoint *db.Checkpoint
}

// Persist writes the checkpoint as one stream; every table is read and checked before.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.checkpoint.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release gives up what only the checkpoint keeps.
func (s *snapshot) Release() {
	_ = s.checkpoint.Close() // which only gives up a reference
	s.fsm.release(s.state)
}

// Restore replaces the state by a snapshot. The snapshot is unpacked and verified beside the
// state; then the file that names the state is switched, and only then is its index
// adopted. After an error, the state and the index are what they were. A View that is under
// way keeps the old state until it ends.
func (f *FSM) Restore(source io.ReadCloser) error {
	defer source.Close()
	f.mu.Lock()
	old, closed, failure := f.current, f.closed, f.failure
	f.mu.Unlock()
	switch {
	case failure != nil:
		return failure
	case closed:
		return db.ErrClosed
	}
	next, err := f.unpack(source, old.number+1)
	if err == nil {
		err = f.adopt(old, next)
	}
	if err != nil {
		return fmt.Errorf("replica: restore: %w", err)
	}
	return nil
}

// unpack makes a state of a snapshot. After an error, nothing of it is left.
func (f *FSM) unpack(source io.Reader, number uint64) (*generation, error) {
	dir := statePath(f.dir, number)
	if err := os.RemoveAll(dir); err != nil { // left by a Restore that was interrupted
		return nil, err
	}
	err := db.Restore(f.ctx, source, dir)
	var g *generation
	if err == nil {
		g, err = openGeneration(f.dir, number, &f.options)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return g, nil
}

// adopt makes next the state.
func (f *FSM) adopt(old, next *generation) error {
	if err := setCurrent(f.dir, next.number); err != nil {
		if number, unclear := currentNumber(f.dir); unclear != nil || number != old.number {
			// The next start may find either. What is applied to the old state until then
			// would be missing in the other.
			f.fail(fmt.Errorf("the directory cannot be switched to a snapshot: %w", err))
		}
		return errors.Join(err, next.db.Close())
	}
	f.mu.Lock()
	f.current = next
	old.replaced = true
	unused := old.users == 0
	closed := f.closed
	f.mu.Unlock()
	f.moved(next.position().applied)
	if unused {
		old.discard()
	}
	if closed { // meanwhile: Close has closed the old one
		return errors.Join(db.ErrClosed, next.db.Close())
	}
	return nil
}
