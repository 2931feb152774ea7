package stages

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"lsmdb/internal/base"
	"lsmdb/internal/vfstest"
)

// TestPanicBecomesTheFailure lets each stage panic in the midst of its work, with
// callers that wait for every sort of answer.
func TestPanicBecomesTheFailure(t *testing.T) {
	compacting := false
	for stage, matches := range map[string]func(vfstest.Op) bool{
		"writer":            on(vfstest.OpWrite, base.FileWAL),
		"writer rotating":   on(vfstest.OpCreate, base.FileWAL),
		"flusher":           on(vfstest.OpCreate, base.FileTable),
		"flusher finishing": on(vfstest.OpSync, base.FileTable),
		"keeper":            on(vfstest.OpSync, base.FileManifest),
		"compaction worker": func(op vfstest.Op) bool { return compacting && on(vfstest.OpCreate, base.FileTable)(op) },
		"sweeper":           func(op vfstest.Op) bool { return op.Kind == vfstest.OpRemove },
	} {
		t.Run(stage, func(t *testing.T) {
			compacting = stage == "compaction worker"
			bubble(t, func(t *testing.T) { checkPanic(t, strings.Fields(stage)[0], compacting, matches) })
		})
	}
}

func checkPanic(t *testing.T, stage string, compacting bool, matches func(vfstest.Op) bool) {
	r := newRig(t).open()
	for range 2 {
		must(t, r.put(synced(set("k", "1"))))
		must(t, r.p.Flush(context.Background()))
	}
	must(t, r.put(synced(set("k", "2"))))
	synctest.Wait()
	r.onDisk(func(op vfstest.Op) error {
		if matches(op) {
			panic("out of order")
		}
		return nil
	})
	answers := make(chan error, 3)
	if compacting {
		go func() { answers <- r.p.Compact(context.Background(), nil, nil) }()
	} else {
		go func() { answers <- r.p.Flush(context.Background()) }()
	}
	synctest.Wait()
	go func() { answers <- r.put(synced(set("k2", "3"))) }()
	go func() { answers <- r.p.Compact(context.Background(), nil, nil) }()
	synctest.Wait()
	if len(answers) != 3 {
		t.Errorf("%d of 3 callers were answered", len(answers))
	}
	err := r.p.Failed()
	if err == nil || !strings.Contains(err.Error(), "panic in stage "+stage) || !strings.Contains(err.Error(), "out of order") ||
		!strings.Contains(err.Error(), "checkPanic") {
		t.Errorf("the failure is %v", err)
	}
	r.onDisk(nil)
	if later := r.put(set("k3", "4")); !errors.Is(later, base.ErrReadOnly) || !errors.Is(later, err) {
		t.Errorf("a later write: %v", later)
	}
	if got, ok := r.get("k"); !ok || got != "2" {
		t.Errorf("k reads as %q, %v", got, ok)
	}
	if closed := r.p.Close(); !errors.Is(closed, err) {
		t.Errorf("Close: %v", closed)
	}
	if got := recovered(t, r.mem.CrashClone(nil)); got["k"] != "2" {
		t.Errorf("after a crash there is %v", got)
	}
}

// TestCloseReturnsTheCause has a second stage end with an error of its own before
// the one that failed first has ended: the first is what callers hear.
func TestCloseReturnsTheCause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		p := assemble(r.env, r.ready())
		p.launch("first", func(context.Context) error { return errBroken }, synctest.Wait)
		p.launch("second", func(ctx context.Context) error {
			<-ctx.Done()
			return errors.New("a consequence")
		}, func() {})
		for range 2 {
			if err := p.Close(); !errors.Is(err, errBroken) {
				t.Errorf("Close: %v", err)
			}
		}
	})
}

// TestAsideEndsAPanic: a panic of a job beside a caller is an error for him, and the
// process goes on.
func TestAsideEndsAPanic(t *testing.T) {
	p := new(Pipeline)
	done := errors.New("done")
	wait := p.Aside(func() error { return done })
	for range 2 {
		if err := wait(); err != done {
			t.Errorf("a job's outcome is %v", err)
		}
	}
	if err := p.Aside(func() error { panic("at the disco") })(); err == nil || !strings.Contains(err.Error(), "at the disco") {
		t.Errorf("a panic gives %v", err)
	}
}
