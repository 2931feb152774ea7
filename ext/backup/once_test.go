package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob/fileblob"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
)

// Whatever a database has gone through, each of its points gives the very state back.
func TestOnce(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 1)
	var points []state
	once := func() *Report {
		t.Helper()
		r, err := Once(t.Context(), w.DB, s.Bucket, nil)
		fixture.Must(t, err)
		if points = append(points, w.newest()); r.Seq != w.newest().seq {
			t.Errorf("a point at %d, the database is at %d", r.Seq, w.newest().seq)
		}
		return r
	}
	once() // an empty one
	for round := range 6 {
		for range 12 {
			w.commit()
		}
		if round == 2 {
			w.load()
		}
		if round == 3 {
			fixture.Must(t, w.Compact(t.Context(), nil, nil))
		}
		if round == 4 {
			w.reopen()
		}
		before := once()
		if again := once(); again.Uploaded != 0 || again.Point != before.Point {
			t.Errorf("an unchanged database: %+v", again)
		}
	}
	w.clock.Set(w.clock.UnixNano() + int64(3*time.Second)) // some values have ended, some have not
	for _, p := range points {
		w.restored(s, Seq(p.seq), p)
	}
	w.restored(s, Latest, w.newest())
	r, err := Verify(t.Context(), s.Bucket)
	fixture.Must(t, err)
	if r.Points != 7 || r.Seq != w.newest().seq {
		t.Errorf("verified %+v", r)
	}
	w.refused(s, Seq(points[1].seq+1), "between two points")
	w.refused(s, Seq(w.newest().seq+1), "behind the last point")
}

// A database that compactions have changed since its last point is still the same.
func TestOnceCompacted(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 2)
	for range 5 {
		w.commit()
		fixture.Must(t, w.Flush(t.Context()))
	}
	first, err := Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)
	fixture.Must(t, w.Compact(t.Context(), nil, nil))
	again, err := Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)
	if again.Uploaded != 0 || again.Point != first.Point {
		t.Errorf("%+v", again)
	}
	// Where the bucket has lost a table of that point, it is uploaded again, or there is another
	// point, as compactions have left it.
	p, err := s.readPoint(t.Context(), first.Point)
	fixture.Must(t, err)
	fixture.Must(t, f.inner.Delete(t.Context(), p.Tables[0].Object))
	again, err = Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)
	if again.Uploaded == 0 {
		t.Errorf("%+v", again)
	}
	if again.Point != first.Point {
		fixture.Must(t, f.inner.Delete(t.Context(), first.Point))
	}
	w.restored(s, Latest, w.newest())
}

// What the bucket has lost is uploaded again.
func TestOnceHeals(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 3)
	w.commit()
	first, err := Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)
	p, err := s.readPoint(t.Context(), first.Point)
	fixture.Must(t, err)
	fixture.Must(t, f.inner.Delete(t.Context(), p.Tables[0].Object))
	_, err = Verify(t.Context(), s.Bucket)
	if fixture.WantErr(t, "a lost table", err, ErrDamaged); !strings.Contains(err.Error(), p.Tables[0].Object) {
		t.Error(err)
	}
	_, err = Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)
	_, err = Verify(t.Context(), s.Bucket)
	fixture.Must(t, err)
	w.restored(s, Latest, w.newest())
}

// A bucket that says that it has taken a table, and loses it, gets no point.
func TestOnceLosing(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 4)
	w.commit()
	f.lose = func(name string) bool { return strings.HasPrefix(name, tablesPrefix) }
	_, err := Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.WantErr(t, "a bucket that loses", err, ErrDamaged)
	w.refused(s, Latest, "no point")
	f.lose = nil
	_, err = Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)
	w.restored(s, Latest, w.newest())
}

// Once is interrupted at every operation of the bucket, before it and behind it.
func TestOnceKilled(t *testing.T) {
	for n := 0; ; n += stride(3) {
		f, s := newFaulty(t)
		w := newWorld(t, 5)
		w.commit()
		_, err := Once(t.Context(), w.DB, s.Bucket, nil)
		fixture.Must(t, err)
		before := w.newest()
		for range 3 {
			w.commit()
			fixture.Must(t, w.Flush(t.Context()))
		}
		f.dieAt(n)
		_, err = Once(t.Context(), w.DB, s.Bucket, nil)
		f.set(nil)
		if err == nil {
			if n < 10 {
				t.Fatalf("%d operations", n)
			}
			return
		}
		if _, err := Verify(t.Context(), s.Bucket); err != nil {
			t.Fatalf("interrupted at %d: %v", n, err)
		}
		w.restored(s, Seq(before.seq), before)
		w.reopen() // somebody who knows nothing of it
		_, err = Once(t.Context(), w.DB, s.Bucket, nil)
		fixture.Must(t, err)
		w.restored(s, Latest, w.newest())
		fixture.Must(t, w.Close())
	}
}

// Of two histories of one database the bucket takes one. A copy of a directory is a database of the same
// identity, which gives its files the same numbers.
func TestForeign(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 6)
	w.commit()
	c, err := w.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	fixture.Must(t, c.Link("/copy"))
	fixture.Must(t, c.Close())
	for range 3 {
		w.commit()
	}
	_, err = Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.Must(t, err)

	d, err := db.Open("/copy", w.options(w.fsys))
	fixture.Must(t, err)
	defer d.Close()
	_, err = Once(t.Context(), d, s.Bucket, nil)
	fixture.WantErr(t, "a copy that is behind", err, ErrForeign)
	for d.Metrics().Sequence < w.newest().seq { // another history
		fixture.Must(t, d.Put([]byte("other"), []byte("history")))
	}
	for range 2 { // as long, or longer
		// Where their tables have the same numbers, it shows. Otherwise each state is one of
		// the two, and whole.
		r, err := Once(t.Context(), d, s.Bucket, nil)
		if err == nil {
			one, two := w.newest().state.At(w.clock.UnixNano()), fixture.Contents(t, d)
			fsys := vfs.NewMem()
			_, err = restoreOn(t.Context(), fsys, s, "/new", Seq(r.Seq))
			fixture.Must(t, err)
			e, err := db.Open("/new", w.options(fsys))
			fixture.Must(t, err)
			found := fixture.Contents(t, e)
			fixture.Must(t, e.Close())
			if fixture.Differ(one, found) != nil && fixture.Differ(two, found) != nil {
				t.Errorf("restored is neither: %v, %v", fixture.Differ(one, found), fixture.Differ(two, found))
			}
		} else {
			fixture.WantErr(t, "a copy that is ahead", err, ErrForeign)
		}
		fixture.Must(t, d.Put([]byte("other"), []byte("history")))
	}
	other, err := db.Open("/other", w.options(w.fsys))
	fixture.Must(t, err)
	defer other.Close()
	_, err = Once(t.Context(), other, s.Bucket, nil)
	fixture.WantErr(t, "another database", err, ErrForeign)

	_, err = restoreOn(t.Context(), w.fsys, s, "/restored", Latest)
	fixture.Must(t, err)
	r, err := db.Open("/restored", w.options(w.fsys))
	fixture.Must(t, err)
	defer r.Close()
	fixture.Must(t, r.Put([]byte("a"), []byte("b")))
	_, err = Once(t.Context(), r, s.Bucket, nil)
	fixture.WantErr(t, "a restored copy in its parent's bucket", err, ErrForeign)
	_, mine := newFaulty(t)
	_, err = Once(t.Context(), r, mine.Bucket, nil)
	fixture.Must(t, err)
	_, err = Verify(t.Context(), mine.Bucket)
	fixture.Must(t, err)
}

// A damaged table gets into no bucket.
func TestOnceDamaged(t *testing.T) {
	_, s := newFaulty(t)
	w := newWorld(t, 7)
	w.commit()
	fixture.Must(t, w.Flush(t.Context()))
	tables := fixture.FilesOf(t, w.fsys, dbDir).Named(".sst")
	fixture.Must(t, w.Close())
	w.fsys = fixture.FilesOf(t, w.fsys, dbDir).Flipped(tables[0], 3).Disk(t)
	w.open()
	_, err := Once(t.Context(), w.DB, s.Bucket, nil)
	fixture.WantErr(t, "a damaged table", err, db.ErrCorrupt)
	w.refused(s, Latest, "no point")
}

// A directory is a bucket as well.
func TestFileBucket(t *testing.T) {
	b, err := fileblob.OpenBucket(t.TempDir(), &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	fixture.Must(t, err)
	defer b.Close()
	s := store{b}
	w := newWorld(t, 8)
	for range 3 {
		w.commit()
		_, err := Once(t.Context(), w.DB, b, nil)
		fixture.Must(t, err)
	}
	_, err = Verify(t.Context(), b)
	fixture.Must(t, err)
	w.restored(s, Latest, w.newest())
	objects, err := s.list(t.Context(), "")
	fixture.Must(t, err)
	for _, o := range objects {
		if !strings.HasPrefix(o.name, tablesPrefix) && !strings.HasPrefix(o.name, pointsPrefix) {
			t.Errorf("%s in the bucket", o.name)
		}
	}
}

// Once ends with its context, wherever it is.
func TestOnceCanceled(t *testing.T) {
	f, s := newFaulty(t)
	w := newWorld(t, 9)
	w.commit()
	for n := 1; ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		f.set(func(operation) error {
			if f.count == n {
				cancel()
			}
			return nil
		})
		_, err := Once(ctx, w.DB, s.Bucket, nil)
		cancel()
		f.set(nil)
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(fmt.Errorf("canceled at %d: %w", n, err))
		}
	}
	w.restored(s, Latest, w.newest())
}
