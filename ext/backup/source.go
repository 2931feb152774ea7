package backup

import (
	"context"
	"crypto/sha256"
	"io"
	"iter"
	"runtime"
	"sync"
	"weak"

	"lsmdb/db"
)

// source is a database that is backed up: of this process, or of another one.
type source interface {
	// checkpoint begins a checkpoint.
	checkpoint(ctx context.Context) (copied, error)
	// changes is db.DB.Changes.
	changes(ctx context.Context, after uint64) iter.Seq2[db.Change, error]
	// settle makes durable what was written, and returns the number of the newest write; 0 if
	// it cannot do that.
	settle(ctx context.Context) (uint64, error)
	// memory is what is known of the database in this process.
	memory() *memory
}

// copied is a db.Checkpoint.
type copied interface {
	Seq() uint64
	Files() iter.Seq[db.CheckpointFile]
	Open(name string) (*io.SectionReader, error)
	Close() error
}

// memory is what one process has found out about a database. Files of tables never change.
type memory struct {
	// turn is taken by whoever takes a point: one at a time, so that Prune can tell which
	// tables may still be needed. Whoever has put something in takes it out again.
	turn chan struct{}

	sums map[uint64][sha256.Size]byte // of the tables that there were last, by identity
	last written                      // the last point

	mu      sync.Mutex // of shipped, for a Run that has been fenced may not have ended yet
	shipped shipped
}

// shipped is how far this process has shipped the log. A later Run of the same database goes
// on from there, since it certainly has the same history.
type shipped struct {
	base string // the point from which the log leads there; "": nothing was shipped
	seq  uint64
}

// note notes that more was shipped.
func (m *memory) note(s shipped) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.seq >= m.shipped.seq {
		m.shipped = s
	}
}

// farthest returns how far the log was shipped.
func (m *memory) farthest() shipped {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shipped
}

// written is a point that was written from a database by this process.
type written struct {
	seq uint64
	sum [sha256.Size]byte // of the object
}

func newMemory() *memory {
	return &memory{turn: make(chan struct{}, 1), sums: make(map[uint64][sha256.Size]byte)}
}

// take waits for the turn.
func (m *memory) take(ctx context.Context) error {
	select {
	case m.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *memory) giveBack() { <-m.turn }

// local is a database of this process.
type local struct{ *db.DB }

func (l local) checkpoint(ctx context.Context) (copied, error) {
	c, err := l.NewCheckpoint(ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (l local) changes(ctx context.Context, after uint64) iter.Seq2[db.Change, error] {
	return l.Changes(ctx, after)
}

func (l local) settle(ctx context.Context) (uint64, error) {
	if err := l.Sync(ctx); err != nil {
		return 0, err
	}
	return l.Metrics().Sequence, nil
}

// memories has the memory of each database, as long as somebody has that.
var memories sync.Map // weak.Pointer[db.DB] to *memory

func (l local) memory() *memory {
	key := weak.Make(l.DB)
	m, known := memories.LoadOrStore(key, newMemory())
	if !known {
		runtime.AddCleanup(l.DB, func(key weak.Pointer[db.DB]) { memories.Delete(key) }, key)
	}
	return m.(*memory)
}
