package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/door"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestWords: range deletes, operands and values that end are in a checkpoint as they are,
// and so are the merge operator and the time by which values have ended.
func TestWords(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_000_000)
	options := func(m *db.Merger) db.Options {
		return db.Options{MemtableBytes: 16 << 10, Merger: m, Now: func() time.Time { return time.Unix(clock.Load(), 0) }}
	}
	disk := vfstest.NewDisk()
	d, err := db.Open(fixture.Dir, fixture.On(disk, options(db.AppendBytes)))
	fixture.Must(t, err)
	key := func(i int) []byte { return fmt.Appendf(nil, "k%04d", i) }
	for i := range 400 {
		fixture.Must(t, d.Put(key(i), fmt.Appendf(nil, "%d ", i), db.NoSync))
	}
	held, err := d.NewSnapshot() // compactions fold nothing across it
	fixture.Must(t, err)
	soon := time.Unix(clock.Load()+10, 0)
	for i := 0; i < 400; i += 3 {
		fixture.Must(t, d.Merge(key(i), []byte("operand"), db.NoSync))
		fixture.Must(t, d.PutUntil(key(i+1), []byte("ends"), soon, db.NoSync))
		fixture.Must(t, d.PutUntil(key(i+2), []byte("later"), soon.Add(time.Hour), db.NoSync))
	}
	fixture.Must(t, d.DeleteRange(key(100), key(200), db.NoSync))
	fixture.Must(t, d.Merge(key(150), []byte("alone"), db.NoSync))
	want := fixture.Contents(t, d)
	c, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	fixture.Must(t, d.DeleteRange(nil, nil, db.NoSync))
	fixture.Must(t, errors.Join(held.Close(), d.Compact(t.Context(), nil, nil)))

	var stream bytes.Buffer
	_, err = c.WriteTo(&stream)
	fixture.Must(t, err)
	fixture.Must(t, errors.Join(c.Link("/base/linked"), door.Restore(t.Context(), &stream, disk, "/base/restored")))
	open := func(dir string) *db.DB {
		report, err := fixture.VerifyOn(disk, dir)
		fixture.Must(t, err)
		if !report.OK() {
			t.Errorf("%s: %+v", dir, report.Problems)
		}
		d, err := db.Open(dir, fixture.On(disk, options(db.AppendBytes)))
		fixture.Must(t, err)
		return d
	}
	for _, dir := range []string{"/base/linked", "/base/restored"} {
		_, err := db.Open(dir, fixture.On(disk, options(db.MaxBytes)))
		fixture.WantErr(t, "another merge operator", err, db.ErrIncompatible)
		copied := open(dir)
		fixture.Must(t, fixture.Differ(want, fixture.Contents(t, copied)))
		fixture.Must(t, copied.Compact(t.Context(), nil, nil))
		fixture.Must(t, errors.Join(fixture.Differ(want, fixture.Contents(t, copied)), copied.Close()))
	}

	fixture.Must(t, errors.Join(d.PutUntil(key(1), []byte("ends"), soon), d.Flush(t.Context())))
	clock.Add(11) // only the time that a read saw says that it has ended
	fixture.WantErr(t, "a value that has ended", second(d.Get(key(1))), db.ErrNotFound)
	c, err = d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	fixture.Must(t, c.Link("/base/after"))
	clock.Add(-11) // a clock that runs back
	copied := open("/base/after")
	fixture.WantErr(t, "a value that has ended, in the copy", second(copied.Get(key(1))), db.ErrNotFound)
	fixture.Must(t, errors.Join(copied.Close(), d.Close()))
}

func second[T any](_ T, err error) error { return err }
