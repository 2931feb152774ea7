// Package dbtest is for tests of programs that keep their data in lsmdb. Open gives a test a
// database that closes by itself and names what the test has left open. Crash gives what a
// power failure would leave of it.
//
// The files of such a database lie in memory, in a file system that keeps apart what was
// synced and what was not. So nothing waits for a disk, and what a test stores must fit in
// memory. The directory that the database is told, and that messages name, is one of
// testing.TB.TempDir; it stays empty, and attach.Serve refuses to put its socket there.
// Everything else is the operating system's: what Checkpoint.Link makes are real files.
//
// Everything works in parallel tests, under the race detector, and in a bubble of
// testing/synctest.
package dbtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"lsmdb/db"
)

// SeedVariable is the name of an environment variable. It is a number from 0 to 2^64-1 that
// chooses what the power failures of Crash take. Crash logs it. If it is not set, each
// database of Open has a number of its own.
const SeedVariable = "LSMDB_CRASH_SEED"

// Open returns a new, empty database with the options of db.Open: at most one. None, and nil,
// mean the defaults. If it cannot be opened, the test ends there.
//
// Open closes the database when the test and its subtests are done. The test fails if
// something of the database is still open then: it names each iterator, snapshot, transaction
// and checkpoint, and the line that opened it. It also fails with the error of Close. The test
// may close the database itself before.
//
// A database with Options.InMemory is just that, and has no Crash.
func Open(t testing.TB, o ...*db.Options) *db.DB {
	t.Helper()
	if len(o) > 1 {
		t.Fatalf("dbtest.Open: %d options, at most one is allowed", len(o))
		return nil
	}
	var options db.Options
	if len(o) == 1 && o[0] != nil {
		options = *o[0]
	}
	number := rand.Uint64()
	if text := os.Getenv(SeedVariable); text != "" {
		var err error
		if number, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("dbtest.Open: %s: %v", SeedVariable, err)
			return nil
		}
	}
	c, err := newComputer(t.TempDir(), options, number)
	if err != nil {
		t.Fatalf("dbtest.Open: %v", err)
		return nil
	}
	d, err := c.start(t)
	if err != nil {
		t.Fatalf("dbtest.Open: %v", err)
		return nil
	}
	return d
}

// stop closes the database and names what the test left open.
func stop(t testing.TB, d *db.DB) {
	t.Helper()
	for _, pin := range d.Pins() {
		t.Errorf("dbtest: the %s of %s is still open", pin.Kind, pin.Where)
	}
	if err := d.Close(); err != nil {
		t.Errorf("dbtest: closing the database: %v", err)
	}
}
