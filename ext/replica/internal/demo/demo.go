// Package demo shows three nodes at work, and one of them dying.
package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options says what is shown.
type Options struct {
	Data  string // directory with the files; empty: the Go source tree
	Files int    // at most
	Keep  string // directory of the nodes that stays; empty: a temporary one
	Out   io.Writer
}

// writers is how many files are on their way at a time.
const writers = 8

// Run runs the demo. It returns an error if anything that was acknowledged is missing.
func Run(ctx context.Context, o Options) (err error) {
	files, err := readFiles(ctx, o.Data, o.Files)
	if err != nil {
		return err
	}
	dir := o.Keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "lsmdb-node-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	c, err := newCluster(dir)
	if err != nil {
		return err
	}
	defer c.close()
	d := &demonstration{Options: o, cluster: c, files: files, acked: make([]atomic.Bool, len(files))}
	d.recorder = recorder{started: time.Now(), done: make(chan struct{})}
	return d.run(ctx)
}

// demonstration is a run of the demo.
type demonstration struct {
	Options
	*cluster
	recorder
	files []file
	acked []atomic.Bool // which of them

	afterKill atomic.Int64 // the first after the leader was killed
	killed    atomic.Int64 // when
}

func (d *demonstration) say(format string, args ...any) {
	fmt.Fprintf(d.Out, "%5.1f s  %s\n", time.Since(d.started).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demonstration) run(ctx context.Context) error {
	for _, n := range d.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	recording, stop := context.WithCancel(ctx)
	go d.record(recording, d.cluster)
	defer func() { stop(); <-d.done }()

	leader, err := d.leader(ctx)
	if err != nil {
		return err
	}
	d.say("three nodes run as processes of their own; node %s leads", leader.id)
	d.say("loading %d files; each is acknowledged when two nodes have it on disk", len(d.files))
	dead, err := d.loadWithAccident(ctx, leader)
	if err != nil {
		return err
	}
	if err := d.comeBack(ctx, dead); err != nil {
		return err
	}
	lost, err := d.compare(ctx)
	stop()
	<-d.done
	if err != nil {
		return err
	}
	fmt.Fprintln(d.Out)
	d.draw(d.Out, d.cluster)
	fmt.Fprintln(d.Out)
	if lost > 0 {
		return fmt.Errorf("%d acknowledged files are missing or differ", lost)
	}
	fmt.Fprintf(d.Out, "Nothing that was acknowledged is lost: %d files are the same on all three nodes.\n", d.recorder.acked.Load())
	return nil
}

// loadWithAccident loads all files. After a third of them, the leader is killed.
func (d *demonstration) loadWithAccident(ctx context.Context, leader *node) (dead *node, err error) {
	loading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var work sync.WaitGroup
	for range writers {
		work.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(d.files)) && loading.Err() == nil; i = next.Add(1) - 1 {
				if err := d.putSomehow(loading, int(i)); err != nil {
					cancel(err)
				}
			}
		})
	}
	third := int64(len(d.files) / 3)
	err = d.await(ctx, "a third of the files is loaded", func() (bool, error) {
		return d.recorder.acked.Load() >= third, context.Cause(loading)
	})
	if err == nil {
		d.killed.Store(int64(time.Since(d.started)))
		leader.kill()
		d.say("node %s, which leads, is killed without warning, after %d files", leader.id, d.recorder.acked.Load())
		err = d.goOn(ctx, loading)
	}
	if err != nil {
		cancel(err)
	}
	work.Wait()
	return leader, errors.Join(err, ignoreCanceled(context.Cause(loading)))
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// goOn waits until the survivors have elected a leader and taken two thirds of the files, and
// has them take snapshots, so that the log of the beginning is gone.
func (d *demonstration) goOn(ctx, loading context.Context) error {
	err := d.await(ctx, "files are acknowledged again", func() (bool, error) { return d.afterKill.Load() != 0, context.Cause(loading) })
	if err != nil {
		return err
	}
	leader, err := d.leader(ctx)
	if err != nil {
		return err
	}
	d.say("node %s leads; writes waited for %.1f s", leader.id, time.Duration(d.afterKill.Load()-d.killed.Load()).Seconds())
	twoThirds := int64(len(d.files) * 2 / 3)
	err = d.await(ctx, "two thirds of the files are loaded", func() (bool, error) {
		return d.recorder.acked.Load() >= twoThirds, context.Cause(loading)
	})
	if err != nil {
		return err
	}
	for _, n := range d.nodes {
		if !n.running() {
			continue
		}
		if answer, code, err := d.do(ctx, http.MethodPost, n, "/snapshot", nil); err != nil || code != http.StatusNoContent {
			return errors.Join(fmt.Errorf("node %s takes no snapshot: %d %s", n.id, code, answer), err)
		}
	}
	d.say("the other two have taken a checkpoint each, and dropped the log that it covers")
	return nil
}

// putSomehow stores a file, through whatever node, until it is acknowledged.
func (d *demonstration) putSomehow(ctx context.Context, i int) error {
	for try := i; ; try++ {
		begun := int64(time.Since(d.started))
		err := d.put(ctx, d.nodes[try%len(d.nodes)], d.files[i])
		if err == nil {
			d.acked[i].Store(true)
			d.recorder.acked.Add(1)
			now := int64(time.Since(d.started))
			if killed := d.killed.Load(); killed != 0 && begun > killed {
				d.afterKill.CompareAndSwap(0, now)
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(d.started) > time.Minute {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// comeBack starts the dead node again and waits until it has everything.
func (d *demonstration) comeBack(ctx context.Context, dead *node) error {
	leader, err := d.leader(ctx)
	if err != nil {
		return err
	}
	goal, err := d.status(ctx, leader)
	if err != nil {
		return err
	}
	d.say("all %d files are acknowledged; node %s comes back", d.recorder.acked.Load(), dead.id)
	began := time.Now()
	if err := dead.start(); err != nil {
		return err
	}
	var s struct{ restored uint64 }
	err = d.await(ctx, "node "+dead.id+" has caught up", func() (bool, error) {
		status, err := d.status(ctx, dead)
		s.restored = status.Restored
		return err == nil && status.Applied >= goal.Applied, nil
	})
	if err != nil {
		return err
	}
	how := "from the log"
	if s.restored > 0 {
		how = "from a checkpoint, and the log behind it"
	}
	d.say("node %s has caught up %s, in %.1f s", dead.id, how, time.Since(began).Seconds())
	return nil
}

// compare reads every acknowledged file: from a node, as all who ask see it, and what each of the
// nodes holds.
func (d *demonstration) compare(ctx context.Context) (lost int64, err error) {
	var wrong, failed atomic.Int64
	var next atomic.Int64
	var work sync.WaitGroup
	var first atomic.Pointer[error]
	for range writers {
		work.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(d.files)) && failed.Load() == 0; i = next.Add(1) - 1 {
				if !d.acked[i].Load() {
					continue
				}
				same, err := d.same(ctx, int(i))
				if err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, &err)
				} else if !same {
					wrong.Add(1)
				}
			}
		})
	}
	work.Wait()
	if e := first.Load(); e != nil {
		return 0, *e
	}
	d.say("read %d files from each node, and once more as of now", d.recorder.acked.Load())
	return wrong.Load(), nil
}

// same tells whether all nodes have a file as it was acknowledged.
func (d *demonstration) same(ctx context.Context, i int) (bool, error) {
	f := d.files[i]
	read := func(n *node, query string) (bool, error) {
		value, code, err := d.do(ctx, http.MethodGet, n, keyPath(f.key)+query, nil)
		switch {
		case err != nil:
			return false, err
		case code != http.StatusOK && code != http.StatusNotFound:
			return false, fmt.Errorf("node %s answered %d: %s", n.id, code, value)
		}
		return code == http.StatusOK && bytes.Equal(value, f.value), nil
	}
	if same, err := read(d.nodes[i%len(d.nodes)], ""); !same || err != nil {
		return false, err
	}
	for _, n := range d.nodes {
		if same, err := read(n, "?stale"); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}
