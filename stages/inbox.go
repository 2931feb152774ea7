package stages

import (
	"context"
	"sync/atomic"
	"time"
)

// Inbox is the mailbox of one stage: a bounded channel that counts its traffic.
// Where it stands as a field, the comment names who sends, who receives and who
// closes it, and why it has its capacity.
type Inbox[T any] struct {
	ch       chan T
	messages atomic.Int64
	blocked  atomic.Int64 // nanoseconds that senders waited for room
	busy     atomic.Int64 // nanoseconds that the stage worked on messages
}

func newInbox[T any](capacity int) *Inbox[T] {
	return &Inbox[T]{ch: make(chan T, capacity)}
}

// trySend sends v if there is room right now.
func (in *Inbox[T]) trySend(v T) bool {
	select {
	case in.ch <- v:
		return true
	default:
		return false
	}
}

// send sends v, waiting for room until ctx ends; then it returns the cause.
func (in *Inbox[T]) send(ctx context.Context, v T) error {
	if in.trySend(v) {
		return nil
	}
	start := time.Now()
	defer func() { in.blocked.Add(int64(time.Since(start))) }()
	select {
	case in.ch <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// worked records that the stage finished messages, and what time that took.
func (in *Inbox[T]) worked(messages int, took time.Duration) {
	in.messages.Add(int64(messages))
	if took > 0 {
		in.busy.Add(int64(took))
	}
}

// Traffic is what one stage's mailbox has seen since the pipeline started.
type Traffic struct {
	Name     string // of the stage
	Depth    int    // messages waiting now
	Capacity int
	Messages uint64        // handled
	Blocked  time.Duration // senders waited for room
	Busy     time.Duration // the stage worked
}

func (in *Inbox[T]) traffic(stage string) Traffic {
	return Traffic{
		Name:     stage,
		Depth:    len(in.ch),
		Capacity: cap(in.ch),
		Messages: uint64(in.messages.Load()),
		Blocked:  time.Duration(in.blocked.Load()),
		Busy:     time.Duration(in.busy.Load()),
	}
}
