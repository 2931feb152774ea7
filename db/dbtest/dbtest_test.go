package dbtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/db/dbtest"
	"lsmdb/internal/tests/fixture"
)

// lineBelow is the line after that of the caller, as messages have it.
func lineBelow() string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("%s:%d", filepath.Base(file), line+1)
}

// leakEverything leaves one of everything open, and returns the kinds with their lines.
func leakEverything(t testing.TB, d *db.DB) map[string]string {
	lines := make(map[string]string)
	var err error
	lines["iterator"] = lineBelow()
	_, err = d.NewIterator(nil)
	fixture.Must(t, err)
	lines["snapshot"] = lineBelow()
	_, err = d.NewSnapshot()
	fixture.Must(t, err)
	lines["transaction"] = lineBelow()
	_, err = d.Begin()
	fixture.Must(t, err)
	lines["checkpoint"] = lineBelow()
	_, err = d.NewCheckpoint(context.Background())
	fixture.Must(t, err)
	return lines
}

// checkLeaks wants one error for each kind, with its line.
func checkLeaks(t *testing.T, r *recorder, lines map[string]string) {
	t.Helper()
	if r.fatal != "" || len(r.errors) != len(lines) {
		t.Fatalf("%d errors, want %d: %q %s", len(r.errors), len(lines), r.errors, r.fatal)
	}
	for kind, line := range lines {
		found := false
		for _, told := range r.errors {
			found = found || strings.Contains(told, kind) && strings.Contains(told, line)
		}
		if !found {
			t.Errorf("nothing tells of the %s at %s: %q", kind, line, r.errors)
		}
	}
}

// TestLeaksAreNamed: whatever is left open is told with its line, of every database, also of
// one that the test has closed.
func TestLeaksAreNamed(t *testing.T) {
	var lines map[string]string
	checkLeaks(t, run(t, func(r *recorder) {
		d := dbtest.Open(r)
		fixture.Must(t, d.Put([]byte("k"), []byte("v")))
		lines = leakEverything(r, d)
	}), lines)
	checkLeaks(t, run(t, func(r *recorder) {
		d := dbtest.Open(r)
		lines = leakEverything(r, d)
		fixture.Must(t, d.Close())
		runtime.GC() // what is forgotten is told all the same
		runtime.GC()
	}), lines)
	checkLeaks(t, run(t, func(r *recorder) {
		lines = leakEverything(r, dbtest.Crash(r, dbtest.Open(r)))
	}), lines)
	checkLeaks(t, run(t, func(r *recorder) {
		lines = leakEverything(r, dbtest.Open(r, &db.Options{InMemory: true}))
	}), lines)
	places := make(map[string]bool)
	r := run(t, func(r *recorder) {
		d := dbtest.Open(r)
		for i := range 1000 { // otherwise the place of an iterator is noted now and then
			it, err := d.NewIterator(nil)
			fixture.Must(t, err)
			if i < 900 {
				fixture.Must(t, it.Close())
			}
		}
	})
	for _, e := range r.errors {
		places[e] = true
	}
	if len(r.errors) != 100 || len(places) != 1 || !strings.Contains(r.errors[0], "dbtest_test.go:") {
		t.Errorf("%d leaks in the places %v", len(r.errors), places)
	}
}

// TestClosedIsNoLeak: a test that closes everything is not told anything.
func TestClosedIsNoLeak(t *testing.T) {
	for _, closes := range []bool{false, true} {
		r := run(t, func(r *recorder) {
			d := dbtest.Open(r, nil)
			r.Cleanup(func() { // when the test is done, before the database is closed
				if _, err := d.Get([]byte("k")); closes != errors.Is(err, db.ErrClosed) {
					t.Errorf("closed by the test: %v, yet Get: %v", closes, err)
				}
			})
			fixture.Must(t, d.Put([]byte("k"), []byte("v")))
			it, err := d.NewIterator(nil)
			fixture.Must(t, err)
			fixture.Must(t, it.Close())
			snapshot, err := d.NewSnapshot()
			fixture.Must(t, err)
			fixture.Must(t, snapshot.Close())
			fixture.Must(t, d.Update(context.Background(), func(tx *db.Tx) error { return tx.Put([]byte("k"), nil) }))
			checkpoint, err := d.NewCheckpoint(context.Background())
			fixture.Must(t, err)
			fixture.Must(t, checkpoint.Close())
			if closes {
				fixture.Must(t, d.Close())
			}
		})
		if len(r.errors) > 0 || r.fatal != "" {
			t.Errorf("%q %s", r.errors, r.fatal)
		}
	}
}

// TestFailedCloseIsTold: the error of Close does not get lost.
func TestFailedCloseIsTold(t *testing.T) {
	r := run(t, func(r *recorder) {
		d := dbtest.Open(r)
		fixture.Must(t, d.Put([]byte("k"), []byte("v")))
		disk := dbtest.DiskOf(d)
		names, err := disk.List("/")
		fixture.Must(t, err)
		fixture.Must(t, disk.RemoveDirectory("/"+names[0]))
		fixture.Must(t, d.Put([]byte("l"), []byte("v"), db.NoSync))
	})
	if len(r.errors) != 1 || !strings.Contains(r.errors[0], db.ErrDisplaced.Error()) {
		t.Errorf("%q %s", r.errors, r.fatal)
	}
}

// TestRefusals: what cannot be is told, and ends the test.
func TestRefusals(t *testing.T) {
	other, err := db.Open("", &db.Options{InMemory: true})
	fixture.Must(t, err)
	defer other.Close()
	var over *db.DB
	run(t, func(r *recorder) { over = dbtest.Open(r) })
	open := func(o ...*db.Options) func(*recorder) { return func(r *recorder) { dbtest.Open(r, o...) } }
	crash := func(d *db.DB) func(*recorder) { return func(r *recorder) { dbtest.Crash(r, d) } }
	for name, c := range map[string]struct {
		test func(*recorder)
		want string
	}{
		"two options":    {open(nil, nil), "2 options"},
		"a wrong option": {open(&db.Options{CacheBytes: 1, MemtableBytes: -1}), "MemtableBytes is -1"},
		"must exist":     {open(&db.Options{MustExist: true}), "does not exist"},
		"another's":      {crash(other), "not opened by dbtest.Open"},
		"none":           {crash(nil), "not opened by dbtest.Open"},
		"over":           {crash(over), "its test is over"},
		"in memory":      {func(r *recorder) { dbtest.Crash(r, dbtest.Open(r, &db.Options{InMemory: true})) }, "InMemory"},
	} {
		if r := run(t, c.test); !strings.Contains(r.fatal, c.want) || len(r.errors) > 0 {
			t.Errorf("%s: %q, %q, want %q", name, r.fatal, r.errors, c.want)
		}
	}
	for _, seed := range []string{"x", "-1", "18446744073709551616"} {
		t.Setenv(dbtest.SeedVariable, seed)
		if r := run(t, open()); !strings.Contains(r.fatal, dbtest.SeedVariable) {
			t.Errorf("seed %s: %q", seed, r.fatal)
		}
	}
}

// TestCheckpointsAreRealFiles: what a test copies out of the database is there for everybody.
func TestCheckpointsAreRealFiles(t *testing.T) {
	d := dbtest.Open(t)
	fixture.Must(t, d.Put([]byte("k"), []byte("v")))
	checkpoint, err := d.NewCheckpoint(t.Context())
	fixture.Must(t, err)
	defer checkpoint.Close()
	copied := filepath.Join(t.TempDir(), "new", "copy")
	fixture.Must(t, checkpoint.Link(copied))
	if _, err := os.Stat(filepath.Join(copied, "CURRENT")); err != nil {
		t.Error(err)
	}
	again, err := db.Open(copied, nil)
	fixture.Must(t, err)
	defer again.Close()
	if value, err := again.Get([]byte("k")); string(value) != "v" {
		t.Errorf("%q, %v", value, err)
	}
}

// TestManyAtOnce: databases of parallel tests know nothing of each other.
func TestManyAtOnce(t *testing.T) {
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			d := dbtest.Open(t)
			fixture.Must(t, d.Put([]byte("k"), fmt.Append(nil, i)))
			for range 4 {
				after := dbtest.Crash(t, d)
				if value, err := after.Get([]byte("k")); string(value) != fmt.Sprint(i) {
					t.Errorf("%q, %v", value, err)
				}
			}
		})
	}
}

// BenchmarkPut is a synced put, which waits for no disk.
func BenchmarkPut(b *testing.B) {
	d := dbtest.Open(b)
	for i := range b.N {
		fixture.Must(b, d.Put(fmt.Append(nil, i), []byte("v")))
	}
}

// BenchmarkOpen opens a database and closes it, as each test does.
func BenchmarkOpen(b *testing.B) {
	for range b.N {
		fixture.Must(b, dbtest.Open(b).Close())
	}
}

// BenchmarkCrash crashes a database of 10,000 entries.
func BenchmarkCrash(b *testing.B) {
	d := dbtest.Open(b)
	for i := range 10_000 {
		fixture.Must(b, d.Put(fmt.Append(nil, i), make([]byte, 100), db.NoSync))
	}
	b.ResetTimer()
	for range b.N {
		fixture.Must(b, dbtest.Crash(b, d).Close())
	}
}
