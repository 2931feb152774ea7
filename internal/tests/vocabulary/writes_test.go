package vocabulary

import (
	"context"
	"errors"
	"testing"

	"lsmdb/db"
)

// Every write by somebody else to what a transaction has read is a conflict, also where it
// changes nothing that can be seen. That a value ends is none.
func TestWhatConflicts(t *testing.T) {
	writes := map[string]func(*db.DB) error{"Put": put("w"), "PutUntil": putUntil, "Delete": remove, "DeleteRange": removeRange, "Merge": merge("a"), "Load": load}
	before := map[string]func(*db.DB) error{"nothing": func(*db.DB) error { return nil }, "a value": put("v"), "a value that ends": putUntil, "operands": merge("a"), "a delete": remove}
	reads := map[string]func(*db.Tx) error{
		"Get":     func(tx *db.Tx) error { return present(tx.Get(key)) },
		"Has":     func(tx *db.Tx) error { return present(tx.Has(key)) },
		"GetSize": func(tx *db.Tx) error { return present(tx.GetSize(key)) },
		"a walk": func(tx *db.Tx) error {
			it, err := tx.NewIterator(&db.IterOptions{Lower: key, Upper: []byte("l"), KeysOnly: true})
			if err != nil {
				return err
			}
			for it.Next() {
			}
			return it.Close()
		},
		"nothing": func(*db.Tx) error { return nil },
	}
	for write, do := range writes {
		for state, prepare := range before {
			for read, look := range reads {
				var c clock
				c.set(start)
				d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 1 << 20, Merger: chain, Now: c.now})
				must(t, err)
				must(t, d.Put([]byte("m"), nil)) // range deletes reach to the last key
				must(t, prepare(d))
				tx, err := d.Begin()
				must(t, err)
				must(t, look(tx))
				must(t, do(d))
				must(t, tx.Put([]byte("x"), nil))
				err = tx.Commit(context.Background())
				var conflict *db.ConflictError
				switch {
				case read == "nothing" && err != nil:
					t.Errorf("%s on %s, and nothing was read: %v", write, state, err)
				case read != "nothing" && (!errors.As(err, &conflict) || !errors.Is(err, db.ErrConflict) || conflict.Seq == 0 || string(conflict.Key) != string(key)):
					t.Errorf("%s on %s, read by %s: %v", write, state, read, err)
				}
				must(t, d.Close())
			}
		}
	}
}

// present takes "not found" for an answer.
func present[T any](_ T, err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	return err
}

func TestEndIsNoConflict(t *testing.T) {
	var c clock
	c.set(start)
	d, err := db.Open("", &db.Options{InMemory: true, Now: c.now})
	must(t, err)
	defer d.Close()
	must(t, putUntil(d))
	tx, err := d.Begin()
	must(t, err)
	_, err = tx.Get(key)
	must(t, err)
	c.set(end)
	if _, err := d.Get(key); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
	if value, err := tx.Get(key); err != nil || string(value) != "v" {
		t.Errorf("in the transaction: %q, %v", value, err)
	}
	must(t, tx.Put([]byte("x"), nil))
	must(t, tx.Commit(context.Background()))
}
