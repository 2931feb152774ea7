package transactions

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

const (
	accounts = 5
	sum      = 1000 * accounts
)

func account(i int) []byte { return fmt.Append(nil, "account ", i) }

// amount returns what an account holds.
func amount(t *testing.T, r reader, i int) (held int) {
	t.Helper()
	if _, err := fmt.Sscan(get(t, r, string(account(i))), &held); err != nil {
		t.Error(err)
	}
	return held
}

// transfer moves some of an account to another one.
func transfer(t *testing.T, d *db.DB, rng *rand.Rand, w db.Durability) error {
	from, to, moved := rng.IntN(accounts), rng.IntN(accounts), rng.IntN(100)
	return d.Update(context.Background(), func(tx *db.Tx) error {
		fixture.Must(t, tx.Put(account(from), fmt.Append(nil, amount(t, tx, from)-moved)))
		return tx.Put(account(to), fmt.Append(nil, amount(t, tx, to)+moved))
	}, w)
}

// TestCrash: whenever the power fails, each transaction is there whole or not at all, so
// that no money is lost or made.
func TestCrash(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := vfstest.NewDisk()
		d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 1}))
		fixture.Must(t, err)
		fixture.Must(t, d.Update(t.Context(), func(tx *db.Tx) error {
			for i := range accounts {
				fixture.Must(t, tx.Put(account(i), []byte("1000")))
			}
			return nil
		}))
		var clients sync.WaitGroup
		for i := range 4 {
			clients.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(10+i)))
				for range 100 {
					if err := transfer(t, d, rng, db.Durability(rng.IntN(2))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range rng.IntN(100) {
			fixture.Must(t, d.View(func(s *db.Snapshot) error { return wantSum(t, s) }))
		}
		crashed := disk.CrashClone(rng)
		clients.Wait()
		fixture.Must(t, d.View(func(s *db.Snapshot) error { return wantSum(t, s) }))
		fixture.Must(t, d.Close())
		d, err = db.Open(fixture.Dir, fixture.On(crashed, db.Options{MemtableBytes: 1}))
		fixture.Must(t, err)
		fixture.Must(t, d.View(func(s *db.Snapshot) error { return wantSum(t, s) }))
		fixture.Must(t, transfer(t, d, rng, db.Sync))
		fixture.Must(t, d.Close())
	}
}

// wantSum checks that all accounts together hold what they held at first.
func wantSum(t *testing.T, r reader) error {
	t.Helper()
	total := 0
	for i := range accounts {
		total += amount(t, r, i)
	}
	if total != sum {
		return fmt.Errorf("all accounts hold %d", total)
	}
	return nil
}
