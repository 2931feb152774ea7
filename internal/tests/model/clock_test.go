package model

import (
	"errors"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestClockRunsBack: what a read has seen to be at its end stays so when the clock runs back:
// in the running database, after a close, and in a copy.
func TestClockRunsBack(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	m.Clock = fixture.NewClock()
	d := m.OpenDB(t)
	key, begin := []byte("k"), m.Clock.UnixNano()
	fixture.Must(t, d.PutUntil(key, nil, m.Clock.Now().Add(time.Second)))
	fixture.Must(t, d.Flush(t.Context())) // it lies in a table, which nobody writes again
	ended := func(what string, d *db.DB) {
		t.Helper()
		if _, err := d.Get(key); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%s: %v, want %v", what, err, db.ErrNotFound)
		}
	}
	m.Clock.Set(begin + 2*int64(time.Second))
	ended("the clock has come to the end", d)
	m.Clock.Set(begin)
	ended("the clock runs back", d)
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	fixture.Must(t, errors.Join(c.Link("/base/copy"), c.Close(), d.Close()))
	for _, dir := range []string{fixture.Dir, "/base/copy"} {
		d, err := db.Open(dir, m.Options())
		fixture.Must(t, err)
		ended(dir, d)
		later := []byte("later")
		fixture.Must(t, d.PutUntil(later, nil, time.Unix(0, begin).Add(3*time.Second)))
		m.Clock.Set(begin + 4*int64(time.Second))
		if _, err := d.Get(later); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%s: %v", dir, err)
		}
		fixture.Must(t, d.Close()) // which alone has to keep what the read has seen
		m.Clock.Set(begin)
		d, err = db.Open(dir, m.Options())
		fixture.Must(t, err)
		if _, err := d.Get(later); !errors.Is(err, db.ErrNotFound) {
			t.Errorf("%s, opened once more: %v", dir, err)
		}
		fixture.Must(t, d.Close())
	}
}

// TestSizeOfMerged: the length of a value in a table does not tell that of what an operand in
// memory makes of it.
func TestSizeOfMerged(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	m.Clock = fixture.NewClock()
	d := m.OpenDB(t)
	for _, bytes := range []int{0, 10, 10_000} {
		fixture.Must(t, d.Put([]byte("k"), make([]byte, bytes)))
		fixture.Must(t, d.Flush(t.Context()))
		fixture.Must(t, d.Merge([]byte("k"), []byte("operand")))
		value, err := d.Get([]byte("k"))
		fixture.Must(t, err)
		if size, err := d.GetSize([]byte("k")); size != len(value) || err != nil {
			t.Errorf("onto %d bytes: %d, %v, want %d", bytes, size, err, len(value))
		}
	}
	fixture.Must(t, d.Close())
}
