package dbtest_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"lsmdb/db"
	"lsmdb/db/dbtest"
)

// accounts is the code that shall be tested. It moves money from one account to another.
type accounts struct{ d *db.DB }

func (a accounts) transfer(from, to string, amount int) error {
	return a.d.Update(context.Background(), func(tx *db.Tx) error {
		for account, change := range map[string]int{from: -amount, to: amount} {
			balance, err := balanceOf(tx, account)
			if err != nil {
				return err
			}
			if err := tx.Put([]byte(account), fmt.Append(nil, balance+change)); err != nil {
				return err
			}
		}
		return nil
	})
}

func balanceOf(r interface {
	Get(key []byte) ([]byte, error)
}, account string) (int, error) {
	value, err := r.Get([]byte(account))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(value))
}

// testTransfersSurvive is a test of accounts. In your program it is a TestTransfersSurvive.
func testTransfersSurvive(t *testing.T) {
	d := dbtest.Open(t) // is closed by itself
	d.Put([]byte("alice"), []byte("1000"))
	d.Put([]byte("bob"), []byte("0"))
	for moved := 1; moved <= 100; moved++ {
		if err := (accounts{d}).transfer("alice", "bob", 1); err != nil {
			t.Fatal(err)
		}
		// The power fails here. What has been moved must be there, and no money may be lost.
		after := dbtest.Crash(t, d)
		alice, err := balanceOf(after, "alice")
		if err != nil {
			t.Fatal(err)
		}
		bob, err := balanceOf(after, "bob")
		if err != nil {
			t.Fatal(err)
		}
		if bob != moved || alice+bob != 1000 {
			t.Fatalf("after %d transfers and a power failure alice has %d and bob %d", moved, alice, bob)
		}
	}
}

func ExampleCrash() {
	var t *testing.T // of the test
	testTransfersSurvive(t)
}
