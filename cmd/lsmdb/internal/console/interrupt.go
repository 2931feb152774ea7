package console

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// UntilInterrupted returns a context that SIGINT, SIGTERM or SIGHUP cancels. Only
// the first signal is caught: a second one ends the process as usual.
func UntilInterrupted(parent context.Context) (ctx context.Context, stop context.CancelFunc) {
	return untilSignal(parent, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// UntilTerminated is like UntilInterrupted but for SIGINT, which in a shell ends one
// command only.
func UntilTerminated(parent context.Context) (ctx context.Context, stop context.CancelFunc) {
	return untilSignal(parent, syscall.SIGTERM, syscall.SIGHUP)
}

func untilSignal(parent context.Context, signals ...os.Signal) (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = signal.NotifyContext(parent, signals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// UntilUnread returns a context that ends when nobody reads the output any more
// ("| head"). Until stop, that does not end the process, so that it can clean up.
func UntilUnread(parent context.Context) (ctx context.Context, stop context.CancelFunc) {
	return signal.NotifyContext(parent, syscall.SIGPIPE)
}

// IgnoreUnread makes the system tell of output that nobody reads by an error alone: see
// Unwritten. It is for commands that serve others, whose broken connections would look like
// such output to UntilUnread.
func IgnoreUnread() (stop func()) {
	signal.Ignore(syscall.SIGPIPE)
	return func() { signal.Reset(syscall.SIGPIPE) }
}

// Reader lets a reader of a pipe or a terminal be left while it
// waits for input: Read returns ctx's error as soon as ctx ends. The abandoned
// read stays behind until the process ends or input arrives; nobody waits for it.
type Reader struct {
	ctx    context.Context
	chunks <-chan chunk // from the reading goroutine, which closes it; capacity 1: one chunk ahead
	rest   []byte
	err    error
}

type chunk struct {
	bytes []byte
	err   error
}

// NewReader lets a reader be left when ctx ends.
func NewReader(ctx context.Context, from io.Reader) *Reader {
	chunks := make(chan chunk, 1)
	var reading errgroup.Group
	reading.Go(func() error {
		defer close(chunks)
		for {
			buffer := make([]byte, 64<<10)
			n, err := from.Read(buffer)
			select {
			case chunks <- chunk{buffer[:n], err}:
			case <-ctx.Done():
				return nil
			}
			if err != nil {
				return nil
			}
		}
	})
	return &Reader{ctx: ctx, chunks: chunks}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		select { // what has arrived comes first
		case next, more := <-r.chunks:
			r.take(next, more)
			continue
		default:
		}
		select {
		case next, more := <-r.chunks:
			r.take(next, more)
		case <-r.ctx.Done():
			r.err = r.ctx.Err()
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// take accepts a chunk. Without more there is none: the reading goroutine gave
// up, which before the end of the input it does for an ended ctx only.
func (r *Reader) take(next chunk, more bool) {
	if !more {
		next.err = r.ctx.Err()
	}
	r.rest, r.err = next.bytes, next.err
}
