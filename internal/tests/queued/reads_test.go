// Package queued holds writes that are acknowledged when they are Queued to what is promised
// of them. It consists of tests.
package queued

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/db"
	"lsmdb/internal/inside"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// stopped is a database whose Writer does not come past its next write to the log.
type stopped struct {
	*fixture.Machine
	*db.DB
	goOn func()
}

// stop opens a database in a bubble, with memtables so small that they are flushed, and
// stops its Writer.
func stop(t *testing.T) *stopped {
	t.Helper()
	m := fixture.NewMachine(vfstest.NewDisk())
	d, err := db.Open(fixture.Dir, fixture.On(m, db.Options{MemtableBytes: 16 << 10, Merger: db.AppendBytes}))
	fixture.Must(t, err)
	s := &stopped{Machine: m, DB: d}
	fixture.Must(t, s.Put([]byte("first"), []byte("value"))) // the database is taken over
	gate := make(chan struct{})
	s.goOn = sync.OnceFunc(func() { close(gate) })
	m.Fail(func(op vfstest.Op) error {
		if op.Kind == vfstest.OpWrite && strings.HasSuffix(op.Name, ".wal") {
			<-gate
		}
		return nil
	})
	t.Cleanup(s.goOn) // of a test that failed
	return s
}

// mustWait has somebody do something that has to wait until the Writer goes on.
func (s *stopped) mustWait(t *testing.T, what string, do func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	synctest.Wait()
	select {
	case err := <-done:
		t.Errorf("%s did not wait for what was queued: %v", what, err)
		s.goOn()
	default:
		s.goOn()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	fixture.Must(t, s.Close())
}

var queuedKey, space = []byte("space/key"), []byte("space/")

// values reads a key in each way that there is.
func values(r fixture.Reader, key []byte) error {
	value, err := r.Get(key)
	appended, err2 := r.AppendValue([]byte("+"), key)
	has, err3 := r.Has(key)
	size, err4 := r.GetSize(key)
	if string(value) != "queued" || string(appended) != "+queued" || !has || size != 6 {
		err = errors.Join(err, fmt.Errorf("%q, %q, %v, %d", value, appended, has, size))
	}
	return errors.Join(err, err2, err3, err4, walk(r, key))
}

func walk(r fixture.Reader, key []byte) error {
	it, err := r.NewIterator(nil)
	if err != nil {
		return err
	}
	if !it.SeekGE(key) || string(it.Key()) != string(key) || string(it.Value()) != "queued" {
		err = fmt.Errorf("an iterator does not show it: %v", it.Err())
	}
	return errors.Join(err, it.Close())
}

// wanted makes an error of another value than what was queued.
func wanted[T comparable](value T, err error, want T) error {
	if err == nil && value != want {
		err = fmt.Errorf("it shows %v, want %v", value, want)
	}
	return err
}

// reads is every call that shows the database, each as the first one behind a Queued write.
var reads = map[string]func(*db.DB) error{
	"Get":         func(d *db.DB) error { v, err := d.Get(queuedKey); return wanted(string(v), err, "queued") },
	"AppendValue": func(d *db.DB) error { v, err := d.AppendValue(nil, queuedKey); return wanted(string(v), err, "queued") },
	"Has":         func(d *db.DB) error { has, err := d.Has(queuedKey); return wanted(has, err, true) },
	"GetSize":     func(d *db.DB) error { n, err := d.GetSize(queuedKey); return wanted(n, err, 6) },
	"NewIterator": func(d *db.DB) error { return walk(d, queuedKey) },
	"NewSnapshot": func(d *db.DB) error {
		s, err := d.NewSnapshot()
		if err != nil {
			return err
		}
		return errors.Join(values(s, queuedKey), s.Close())
	},
	"View": func(d *db.DB) error {
		return d.View(func(s *db.Snapshot) error { return values(s.In(d.Keyspace(space)), queuedKey[len(space):]) })
	},
	"Begin": func(d *db.DB) error {
		tx, err := d.Begin()
		if err != nil {
			return err
		}
		defer tx.Discard()
		return errors.Join(values(tx, queuedKey), values(tx.Snapshot(), queuedKey))
	},
	"Update": func(d *db.DB) error {
		return d.Update(context.Background(), func(tx *db.Tx) error {
			return errors.Join(values(tx, queuedKey), tx.Put([]byte("other"), nil))
		}, db.Queued)
	},
	"Keyspace.Get": func(d *db.DB) error {
		v, err := d.Keyspace(space).Get(queuedKey[len(space):])
		return wanted(string(v), err, "queued")
	},
	"Keyspace.AppendValue": func(d *db.DB) error {
		v, err := d.Keyspace(space).AppendValue(nil, queuedKey[len(space):])
		return wanted(string(v), err, "queued")
	},
	"Keyspace.Has": func(d *db.DB) error {
		has, err := d.Keyspace(space).Has(queuedKey[len(space):])
		return wanted(has, err, true)
	},
	"Keyspace.GetSize": func(d *db.DB) error {
		n, err := d.Keyspace(space).GetSize(queuedKey[len(space):])
		return wanted(n, err, 6)
	},
	"Keyspace.NewIterator": func(d *db.DB) error { return walk(d.Keyspace(space), queuedKey[len(space):]) },
}

// TestReadsWait: what was queued lies in the mailbox of a Writer that stands still. The call
// has returned, and each way to read waits until it can be seen.
func TestReadsWait(t *testing.T) {
	for name, read := range reads {
		synctest.Test(t, func(t *testing.T) {
			s := stop(t)
			fixture.Must(t, s.Put(queuedKey, []byte("queued"), db.Queued))
			s.mustWait(t, name, func() error { return read(s.DB) })
		})
	}
}

// TestQueuedCalls: each call that writes returns while the Writer stands still, and what it
// wrote is seen by the next who reads.
func TestQueuedCalls(t *testing.T) {
	ctx := context.Background()
	batch := func(d *db.DB) *db.Batch {
		return fixture.Commit{{Key: "space/a", Value: "1"}, {Key: string(queuedKey), Value: "queued"}}.Batch(d)
	}
	rest := queuedKey[len(space):]
	for name, write := range map[string]func(*db.DB) error{
		"Put": func(d *db.DB) error { return d.Put(queuedKey, []byte("queued"), db.Queued) },
		"PutUntil": func(d *db.DB) error {
			return d.PutUntil(queuedKey, []byte("queued"), time.Now().Add(time.Hour), db.Queued)
		},
		"Merge":  func(d *db.DB) error { return d.Merge(queuedKey, []byte("queued"), db.Queued) },
		"Apply":  func(d *db.DB) error { return d.Apply(ctx, batch(d), db.Queued) },
		"Submit": func(d *db.DB) error { _, err := d.Submit(ctx, batch(d), db.Queued); return err },
		"Delete": func(d *db.DB) error {
			return errors.Join(d.Put(queuedKey, []byte("queued"), db.Queued), d.Delete([]byte("first"), db.Queued))
		},
		"DeleteRange": func(d *db.DB) error {
			return errors.Join(d.DeleteRange([]byte("f"), nil, db.Queued), d.Put(queuedKey, []byte("queued"), db.Queued))
		},
		"Keyspace.Put":   func(d *db.DB) error { return d.Keyspace(space).Put(rest, []byte("queued"), db.Queued) },
		"Keyspace.Merge": func(d *db.DB) error { return d.Keyspace(space).Merge(rest, []byte("queued"), db.Queued) },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := stop(t)
			fixture.Must(t, write(s.DB))
			s.mustWait(t, name, func() error {
				_, err := s.Get([]byte("first"))
				if deleted := strings.HasPrefix(name, "Delete"); deleted != errors.Is(err, db.ErrNotFound) {
					return fmt.Errorf("the first key: %v", err)
				}
				return values(s, queuedKey)
			})
		})
	}
}

// TestManyReadWhatManyQueue: whoever is told that something was queued sees it, in whatever
// way and from whatever goroutine, while memtables rotate and are flushed and the commits of
// the calls are used again and again.
func TestManyReadWhatManyQueue(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	const writers = 4
	rounds := 600
	var all sync.WaitGroup
	for w := range writers {
		told := make(chan int, 1)
		key := fmt.Appendf(nil, "writer%d", w)
		all.Go(func() {
			defer close(told)
			for i := range rounds {
				if err := queueNumber(d, key, i); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				told <- i
			}
		})
		all.Go(func() {
			for i := range told {
				n, err := readNumber(d, key, i)
				if err != nil || n < i {
					t.Errorf("a reader in way %d sees %d of writer %d, who was told that %d is queued: %v", i%6, n, w, i, err)
				}
			}
		})
	}
	all.Wait()
	before := d.Metrics().Writes
	if _, err := d.Get([]byte("writer0")); err != nil {
		t.Error(err)
	}
	if after := d.Metrics().Writes; before != after || before.Queued < writers*uint64(rounds)*2/3 {
		t.Errorf("a read of a database where all was written sends a commit: %+v, before %+v", after, before)
	}
	fixture.Must(t, d.Close())
}

// queueNumber writes a number in one of the ways there are, padded so that memtables fill; now
// and then in a batch that no memtable has room for.
func queueNumber(d *db.DB, key []byte, i int) error {
	value := fmt.Appendf(nil, "%0*d", 8+i%7*50, i)
	switch {
	case i%100 == 99:
		b := d.NewBatch()
		err := errors.Join(b.Put(key, value), b.Put(append(key, "large"...), make([]byte, 40_000)))
		return errors.Join(err, d.Apply(context.Background(), b, db.Queued))
	case i%5 == 4:
		b := d.NewBatch()
		err := errors.Join(b.Put(key, nil), b.Put(key, value))
		return errors.Join(err, d.Apply(context.Background(), b, db.Queued))
	case i%7 == 6:
		return d.Put(key, value, db.NoSync)
	}
	return d.Put(key, value, db.Queued)
}

func readNumber(d *db.DB, key []byte, way int) (n int, err error) {
	var value []byte
	switch way % 6 {
	case 0:
		value, err = d.Get(key)
	case 1:
		var it *db.Iterator
		if it, err = d.NewIterator(nil); err == nil {
			if it.SeekGE(key) {
				value = append(value, it.Value()...)
			}
			err = errors.Join(it.Err(), it.Close())
		}
	case 2:
		err = d.View(func(s *db.Snapshot) error { value, err = s.Get(key); return err })
	case 3:
		err = d.Update(context.Background(), func(tx *db.Tx) error { value, err = tx.Get(key); return err })
	case 4:
		value, err = d.Keyspace(key[:3]).Get(key[3:])
	case 5:
		var size int
		if size, err = d.GetSize(key); err == nil {
			value, err = d.Get(key)
			if size < 8 {
				err = fmt.Errorf("the size is %d", size)
			}
		}
	}
	if err == nil {
		n, err = strconv.Atoi(string(value))
	}
	return n, err
}

// TestReadsThatLeave: whoever has a context need not wait until the Writer goes on, and what it
// has not come to is seen when it does. Nothing is answered twice, or for somebody else.
func TestReadsThatLeave(t *testing.T) {
	for name, read := range map[string]func(context.Context, *db.DB) error{
		"Explain": func(ctx context.Context, d *db.DB) error { _, err := d.Explain(ctx, queuedKey); return err },
		"SpaceOf": func(ctx context.Context, d *db.DB) error { _, err := d.SpaceOf(ctx, nil, nil); return err },
		"Update": func(ctx context.Context, d *db.DB) error {
			return d.Update(ctx, func(*db.Tx) error { return errors.New("a transaction was begun") })
		},
		"a snapshot": func(ctx context.Context, d *db.DB) error { _, err := inside.Snapshot(ctx, d); return err },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := stop(t)
			fixture.Must(t, s.Put(queuedKey, []byte("queued"), db.Queued))
			synctest.Wait() // the Writer has it
			for range 100 { // more than the mailbox has room for
				ctx, leave := context.WithTimeout(t.Context(), time.Second)
				fixture.WantErr(t, name, read(ctx, s.DB), context.DeadlineExceeded)
				leave()
			}
			s.mustWait(t, name, func() error { return values(s, queuedKey) })
		})
	}
}
