package db_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// caught calls do and returns what it panics with, as text.
func caught(do func()) (what string) {
	defer func() {
		if p := recover(); p != nil {
			what = fmt.Sprint(p)
		}
	}()
	do()
	return ""
}

// second returns the error of a call that returns two values.
func second[T any](_ T, err error) error { return err }

const usedTwice = "lsmdb: a Batch is used by two goroutines at the same time"

// While one goroutine is in a method of a batch, or applies it, every other one panics,
// and nothing happens to the batch.
func TestBatchInUseIsRefused(t *testing.T) {
	d := openMemory(t)
	var b db.Batch
	fixture.Must(t, b.Put([]byte("a"), []byte("1")))
	b.Claim() // as if another goroutine were in the middle of something
	for name, do := range map[string]func(){
		"Put":    func() { b.Put([]byte("b"), nil) },
		"Delete": func() { b.Delete([]byte("b")) },
		"Reset":  func() { b.Reset() },
		"Apply":  func() { d.Apply(t.Context(), &b) },
		"Submit": func() { d.Submit(t.Context(), &b) },
	} {
		if what := caught(do); what != usedTwice {
			t.Errorf("%s: %q", name, what)
		}
	}
	b.Free()
	if b.Len() != 1 {
		t.Errorf("%d operations", b.Len())
	}
	fixture.Must(t, d.Apply(t.Context(), &b))
	fixture.Must(t, fixture.Differ(fixture.View{"a": "1"}, fixture.Contents(t, d)))
}

// Apply keeps others off until it returns, however long that takes.
func TestBatchIsTakenWhileItIsApplied(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	fixture.Must(t, d.Put([]byte("first"), nil))
	entered, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync && strings.HasSuffix(op.Name, ".wal") {
			once.Do(func() { close(entered); <-gate })
		}
		return nil
	})
	var b db.Batch
	fixture.Must(t, b.Put([]byte("a"), []byte("1")))
	done := make(chan error)
	go func() { done <- d.Apply(context.Background(), &b, db.Sync) }()
	<-entered
	if what := caught(func() { b.Put([]byte("b"), []byte("2")) }); what != usedTwice {
		t.Errorf("Put beside Apply: %q", what)
	}
	close(gate)
	fixture.Must(t, <-done)
	fixture.Must(t, b.Put([]byte("b"), []byte("2")))
	fixture.Must(t, d.Apply(t.Context(), &b, db.Sync))
	fixture.Must(t, d.Close())
	d = m.OpenDB(t)
	defer d.Close()
	fixture.Must(t, fixture.Differ(fixture.View{"first": "", "a": "1", "b": "2"}, fixture.Contents(t, d)))
}

// Goroutines that share a batch without a word to each other lose nothing that was
// accepted, or they panic; what is stored can be read back.
func TestBatchSharedByGoroutines(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	var b db.Batch
	var accepted, refused atomic.Int64
	together := func(do func(g, i int)) {
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				for i := range 300 {
					switch what := caught(func() { do(g, i) }); what {
					case "":
						accepted.Add(1)
					case usedTwice:
						refused.Add(1)
					default:
						t.Error(what)
					}
				}
			})
		}
		all.Wait()
	}
	together(func(g, i int) { b.Put(fmt.Appendf(nil, "%d-%d", g, i), []byte("value")) })
	fixture.Must(t, d.Apply(t.Context(), &b, db.Sync))
	if n := accepted.Load(); b.Len() != int(n) || len(fixture.Contents(t, d)) != int(n) {
		t.Errorf("%d accepted, %d in the batch, %d stored", n, b.Len(), len(fixture.Contents(t, d)))
	}
	together(func(g, i int) { // everything at once
		switch (g + i) % 5 {
		case 0:
			b.Reset()
		case 1:
			fixture.Must(t, d.Apply(t.Context(), &b))
		case 2:
			p, err := d.Submit(t.Context(), &b)
			fixture.Must(t, err)
			fixture.Must(t, p.Wait(t.Context()))
		default:
			b.Put(fmt.Appendf(nil, "%d-%d", g, i), []byte("another"))
		}
	})
	t.Logf("%d calls went through, %d panicked", accepted.Load(), refused.Load())
	want := fixture.Contents(t, d)
	fixture.Must(t, d.Close())
	d = m.OpenDB(t)
	defer d.Close()
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
}

// A batch that was submitted is free for anything at once.
func TestBatchAfterSubmit(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d, other := m.OpenDB(t), openMemory(t)
	want, wantOther := fixture.View{}, fixture.View{}
	var b db.Batch
	var pending []*db.Pending
	submit := func(to *db.DB) {
		p, err := to.Submit(t.Context(), &b, db.NoSync)
		fixture.Must(t, err)
		pending = append(pending, p)
	}
	for i := range 500 {
		key, value := fmt.Sprint("key", i), strings.Repeat(fmt.Sprint(i), 1+i%50)
		b.Reset()
		fixture.Must(t, b.Put([]byte(key), []byte(value)))
		submit(d)
		want[key] = value
		switch i % 4 {
		case 1: // more, and all of it again
			fixture.Must(t, b.Put([]byte("more"+key), []byte(value)))
			submit(d)
			want["more"+key] = value
		case 2: // into another database
			submit(other)
			wantOther[key] = value
		case 3: // unchanged, and then something that is refused
			fixture.Must(t, d.Apply(t.Context(), &b))
			fixture.WantErr(t, "Put", b.Put(make([]byte, db.MaxKeyBytes+1), nil), db.ErrKeyTooLarge)
		}
	}
	for _, p := range pending {
		fixture.Must(t, p.Wait(t.Context()))
	}
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	fixture.Must(t, fixture.Differ(wantOther, fixture.Contents(t, other)))
	fixture.Must(t, d.Close())
	d = m.OpenDB(t)
	defer d.Close()
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
}

// One batch is submitted to two databases, of which the first is slow.
func TestBatchUnderWayInTwoDatabases(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d, other := m.OpenDB(t), openMemory(t)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("first"), nil))
	entered, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync {
			once.Do(func() { close(entered); <-gate })
		}
		return nil
	})
	done := make(chan error)
	go func() { done <- d.Put([]byte("second"), nil, db.Sync) }()
	<-entered
	var b db.Batch
	fixture.Must(t, b.Put([]byte("a"), []byte("1")))
	slow, err := d.Submit(t.Context(), &b)
	fixture.Must(t, err)
	fast, err := other.Submit(t.Context(), &b)
	fixture.Must(t, err)
	fixture.Must(t, fast.Wait(t.Context()))
	b.Reset()
	fixture.Must(t, b.Put([]byte("b"), []byte("2")))
	close(gate)
	fixture.Must(t, <-done)
	fixture.Must(t, slow.Wait(t.Context()))
	fixture.Must(t, fixture.Differ(fixture.View{"first": "", "second": "", "a": "1"}, fixture.Contents(t, d)))
}

func TestBatchZeroCopiedAndNil(t *testing.T) {
	d := openMemory(t)
	var b db.Batch
	if b.Reset(); b.Len() != 0 || b.Bytes() != 0 {
		t.Errorf("%d operations, %d bytes", b.Len(), b.Bytes())
	}
	fixture.Must(t, b.Put([]byte("a"), []byte("1")))
	copied := b.Copied()
	if what := caught(func() { copied.Put([]byte("b"), nil) }); what != "lsmdb: a Batch was copied" {
		t.Errorf("Put to a copy: %q", what)
	}
	fixture.Must(t, d.Apply(t.Context(), &b))
	fixture.Must(t, d.Apply(t.Context(), new(db.Batch), db.Sync))
	var none context.Context
	p, err := d.Submit(t.Context(), &b)
	fixture.Must(t, err)
	for what, err := range map[string]error{
		"Apply of nil":              d.Apply(t.Context(), nil),
		"Submit of nil":             second(d.Submit(t.Context(), nil)),
		"Apply without a context":   d.Apply(none, &b),
		"Submit without a context":  second(d.Submit(none, &b)),
		"Sync without a context":    d.Sync(none),
		"Flush without a context":   d.Flush(none),
		"Compact without a context": d.Compact(none, nil, nil),
		"Wait without a context":    p.Wait(none),
	} {
		if err == nil || !strings.HasSuffix(err.Error(), " is nil") {
			t.Errorf("%s: %v", what, err)
		}
	}
	fixture.Must(t, p.Wait(t.Context()))
	fixture.Must(t, fixture.Differ(fixture.View{"a": "1"}, fixture.Contents(t, d)))
}

// A batch that was taken back is the caller's again: with what it held.
func TestBatchTakenBack(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	defer d.Close()
	fixture.Must(t, d.Put([]byte("first"), nil))
	entered, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpSync {
			once.Do(func() { close(entered); <-gate })
		}
		return nil
	})
	done := make(chan error)
	go func() { done <- d.Put([]byte("second"), nil, db.Sync) }()
	<-entered
	var b db.Batch
	fixture.Must(t, b.Put([]byte("a"), []byte("1")))
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if err := d.Apply(ctx, &b); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v", err)
	}
	b.Reset()
	fixture.Must(t, b.Put([]byte("b"), []byte("2")))
	close(gate)
	fixture.Must(t, <-done)
	fixture.Must(t, d.Apply(t.Context(), &b))
	fixture.Must(t, fixture.Differ(fixture.View{"first": "", "second": "", "b": "2"}, fixture.Contents(t, d)))
}
