package dbtest_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// recorder is a test whose failures are looked at.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	errors   []string
	fatal    string
	logs     []string
	cleanups []func()
}

// run runs a test to its end, and returns what it said.
func run(t *testing.T, test func(r *recorder)) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	inGoroutine(func() { test(r) })
	for _, cleanup := range slices.Backward(r.cleanups) {
		inGoroutine(cleanup)
	}
	return r
}

// inGoroutine waits for act, which may end its goroutine as Fatalf does.
func inGoroutine(act func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		act()
	}()
	<-done
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
