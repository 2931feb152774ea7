package db_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestCheckpointRefusals: what cannot be says why, and leaves nothing open.
func TestCheckpointRefusals(t *testing.T) {
	root := t.TempDir()
	house := filepath.Join(root, "db")
	d, err := db.Open(house, nil)
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("key"), []byte("value")))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	fixture.WantErr(t, "a context that has ended", second(d.NewCheckpoint(ended)), context.Canceled)
	var none context.Context
	if _, err := d.NewCheckpoint(none); err == nil {
		t.Error("a checkpoint without a context")
	}
	if err := db.Restore(none, new(bytes.Buffer), root); err == nil {
		t.Error("Restore without a context")
	}
	open, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	if got := d.Metrics().Checkpoint.Open; got != 1 {
		t.Errorf("%d checkpoints are open", got)
	}
	fixture.Must(t, errors.Join(d.Close()))
	fixture.WantErr(t, "Link after the database was closed", open.Link(filepath.Join(root, "copy")), db.ErrClosed)
	fixture.WantErr(t, "WriteTo then", second(open.WriteTo(io.Discard)), db.ErrClosed)
	fixture.WantErr(t, "NewCheckpoint then", second(d.NewCheckpoint(t.Context())), db.ErrClosed)
	fixture.Must(t, errors.Join(open.Close(), open.Close()))
	if _, err := os.Stat(filepath.Join(root, "copy")); err == nil {
		t.Error("a directory was made")
	}
	d, err = db.Open(house, &db.Options{ReadOnly: true})
	fixture.Must(t, err)
	fixture.WantErr(t, "NewCheckpoint of a read-only database", second(d.NewCheckpoint(t.Context())), db.ErrReadOnly)
	fixture.Must(t, d.Close())
}

// TestCheckpointAfterFailure: an open one can still be copied when the database has become
// read-only, and no other can be made.
func TestCheckpointAfterFailure(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	defer d.Close()
	want := m.FillTables(t, d, 50)
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	m.Failing(vfstest.OpSync, ".wal", fixture.ErrDisk)
	fixture.WantErr(t, "Put", d.Put([]byte("key"), nil), db.ErrReadOnly)
	m.Fail(nil)
	_, err = d.NewCheckpoint(t.Context())
	fixture.WantErr(t, "NewCheckpoint after a failure", err, db.ErrReadOnly)
	fixture.WantErr(t, "its cause", err, fixture.ErrDisk)
	fixture.Must(t, c.Link("/copy"))
	fixture.Must(t, c.Close())
	copied, err := db.Open("/copy", m.Options())
	fixture.Must(t, err)
	fixture.Must(t, errors.Join(fixture.Differ(want, fixture.Contents(t, copied)), copied.Close()))
}

// stops is a writer in whose first table the database or the checkpoint is closed.
type stops struct{ do func() }

func (s *stops) Write(p []byte) (int, error) {
	if len(p) > 100 && s.do != nil {
		s.do()
		s.do = nil
	}
	return len(p), nil
}

// TestCloseMeanwhile: closing the database ends a copy that is under way; closing the
// checkpoint waits for it.
func TestCloseMeanwhile(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	m.FillTables(t, d, 300)
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	closed, isClosed := make(chan struct{}), false
	n, err := c.WriteTo(&stops{func() {
		go func() { c.Close(); close(closed) }()
		for range 1000 { // long enough for a Close that does not wait
			runtime.Gosched()
		}
		select {
		case <-closed:
			isClosed = true
		default:
		}
	}})
	if err != nil || n < 5000 || isClosed {
		t.Errorf("%d bytes, %v; closed meanwhile: %v", n, err, isClosed)
	}
	<-closed
	c, err = d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	_, err = c.WriteTo(&stops{func() { fixture.Must(t, d.Close()) }})
	fixture.WantErr(t, "the database was closed", err, db.ErrClosed)
	fixture.Must(t, c.Close())
}

// TestCheckpointOpen: the files that Open gives make the database that Link makes.
func TestCheckpointOpen(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	defer d.Close()
	want := m.FillTables(t, d, 50)
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	fixture.Must(t, d.Compact(t.Context(), nil, nil)) // which deletes the tables, but for the checkpoint
	dir := t.TempDir()
	var last *io.SectionReader
	for f := range c.Files() {
		last, err = c.Open(f.Name)
		fixture.Must(t, err)
		data, err := io.ReadAll(last)
		fixture.Must(t, err)
		if last.Size() != f.Bytes || int64(len(data)) != f.Bytes {
			t.Errorf("%s has %d bytes, Size says %d, Files %d", f.Name, len(data), last.Size(), f.Bytes)
		}
		fixture.Must(t, os.WriteFile(filepath.Join(dir, f.Name), data, 0o600))
	}
	_, err = c.Open("000000.sst")
	fixture.WantErr(t, "another name", err, fs.ErrNotExist)
	fixture.Must(t, c.Close())
	_, err = last.ReadAt(make([]byte, 1), 0)
	fixture.WantErr(t, "a read after Close", err, db.ErrClosed)
	copied, err := db.Open(dir, nil)
	fixture.Must(t, err)
	defer copied.Close()
	if err := fixture.Differ(want, fixture.Contents(t, copied)); err != nil {
		t.Error(err)
	}
}
