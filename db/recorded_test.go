package db_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestMergerIsRecorded: before the first operand, so a log with operands is enough.
func TestMergerIsRecorded(t *testing.T) {
	disk := vfstest.NewDisk()
	open := func(m *db.Merger) (*db.DB, error) {
		return db.Open(fixture.Dir, fixture.On(disk, db.Options{Merger: m}))
	}
	d, err := open(nil) // it may get one later
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("k"), []byte("a"), db.Sync))
	fixture.Must(t, d.Close())
	d, err = open(db.AppendBytes)
	fixture.Must(t, err)
	fixture.Must(t, d.Merge([]byte("k"), []byte("b"), db.Sync))
	fixture.Must(t, d.Close())
	if _, err = open(db.MaxBytes); !errors.Is(err, db.ErrIncompatible) || !strings.Contains(err.Error(), db.AppendBytes.Name) {
		t.Errorf("another operator: %v", err)
	}
	d, err = open(nil)
	fixture.Must(t, err)
	if _, err := d.Get([]byte("k")); !errors.Is(err, db.ErrNoMerger) {
		t.Errorf("without an operator: %v", err)
	}
	fixture.Must(t, d.Close())
	d, err = open(db.AppendBytes)
	fixture.Must(t, err)
	value, err := d.Get([]byte("k"))
	if err != nil || string(value) != "ab" {
		t.Errorf("%q, %v", value, err)
	}
	fixture.Must(t, d.Close())
}

// TestNowIsKept: what has ended does not come back when the clock does, also after Close.
func TestNowIsKept(t *testing.T) {
	disk := vfstest.NewDisk()
	var now atomic.Int64
	begin := time.Unix(1e9, 0)
	open := func() *db.DB {
		d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{Now: func() time.Time { return begin.Add(time.Duration(now.Load())) }}))
		fixture.Must(t, err)
		return d
	}
	d := open()
	fixture.Must(t, d.PutUntil([]byte("k"), []byte("v"), begin.Add(10)))
	fixture.Must(t, d.Close())
	now.Store(9)
	d = open()
	if _, err := d.Get([]byte("k")); err != nil {
		t.Error(err)
	}
	now.Store(10)
	fixture.WantErr(t, "at its end", has(d, "k"), db.ErrNotFound)
	fixture.Must(t, d.Close()) // nothing but this read has seen the end
	now.Store(0)
	d = open()
	fixture.WantErr(t, "the clock ran back", has(d, "k"), db.ErrNotFound)
	fixture.Must(t, d.Close())
}

func has(d *db.DB, key string) error {
	_, err := d.Get([]byte(key))
	return err
}

// TestRangeDeleteLeavesNoTable: a flush that leaves nothing in a table still says how far
// it came, so the log goes on where it ended.
func TestRangeDeleteLeavesNoTable(t *testing.T) {
	disk := vfstest.NewDisk()
	m := fixture.NewMachine(disk)
	d := m.OpenDB(t)
	fixture.Must(t, d.DeleteRange(nil, nil, db.Sync))
	fixture.Must(t, d.Flush(t.Context()))
	fixture.Must(t, d.DeleteRange([]byte("a"), []byte("b"), db.Sync))
	fixture.Must(t, d.Flush(t.Context()))
	fixture.Must(t, d.Put([]byte("a"), []byte("1"), db.Sync))
	m.Kill(d)
	d, err := db.Open(fixture.Dir, fixture.On(disk.CrashClone(nil), db.Options{}))
	fixture.Must(t, err)
	fixture.Must(t, fixture.Differ(fixture.View{"a": "1"}, fixture.Contents(t, d)))
	fixture.Must(t, d.Close())
}
