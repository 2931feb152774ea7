package dbtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"lsmdb/db"
)

// Crash returns the database as a power failure at this moment may leave it, opened again on
// a copy of its files. d goes on, and neither sees what is written to the other. The test ends
// if the copy does not open, if d is not of Open or Crash, or if the test of d is over. The
// copy is closed, and what is left open of it is named, as Open says.
//
// Every write that was acknowledged with db.Sync is there, and all before it. Of the others
// the newest may be missing: always a suffix of the history, and never a part of a batch. How
// much that is, is left to chance, as on a real disk: of what was not synced, each sector of
// 512 bytes and each name of a file is there or not. Often all of it is there, or nothing. So a
// test should crash many times, at different moments. Crash may be called again and again of
// the same database, also while other goroutines write, after Close, and of the database of
// another Crash.
//
// Crash logs a number for SeedVariable, once, which is shown when the test fails. With it, each call
// of Crash takes the same from the same files. What the database does in the background may
// come earlier or later, so they are not always the same; in a bubble of testing/synctest they
// are, after synctest.Wait.
//
// Real files, such as those of Checkpoint.Link, do not change.
func Crash(t testing.TB, d *db.DB) *db.DB {
	t.Helper()
	c := computerOf(d)
	switch {
	case c == nil:
		t.Fatalf("dbtest.Crash: the database was not opened by dbtest.Open, or its test is over")
		return nil
	case c.options.InMemory:
		t.Fatalf("dbtest.Crash: the database was opened with InMemory, so a power failure leaves nothing of it")
		return nil
	}
	after := c.crash()
	if _, told := c.seed.told.LoadOrStore(t.Name(), true); !told {
		t.Logf("dbtest.Crash: %s=%d repeats these power failures", SeedVariable, c.seed.number)
	}
	crashed, err := after.start(t)
	if err != nil {
		t.Fatalf("dbtest.Crash: after power failure %s: %v", after.name, err)
		return nil
	}
	return crashed
}

// crash returns another computer, which has the disk that a power failure leaves.
func (c *computer) crash() *computer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crashes++
	chance := rand.New(rand.NewPCG(c.chance.Uint64(), c.chance.Uint64()))
	after := &computer{dir: c.dir, disk: c.disk.CrashClone(chance), options: c.options, seed: c.seed, chance: chance}
	after.options.MustExist = true // or one that has disappeared would be taken for a new one
	after.name = strings.TrimPrefix(fmt.Sprintf("%s.%d", c.name, c.crashes), ".")
	return after
}
