package db_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"lsmdb/db"
)

func ExampleDB_View() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("a"), []byte("apple"))
	err := d.View(func(s *db.Snapshot) error {
		d.Put([]byte("a"), []byte("apricot")) // does not show in there
		value, err := s.Get([]byte("a"))
		fmt.Printf("%s\n", value)
		return err
	})
	fmt.Println(err)
	// Output:
	// apple
	// <nil>
}

func ExampleDB_Update() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("alice"), []byte("10"))
	// Whatever others do meanwhile, nothing is spent twice: after a conflict the function
	// runs again.
	spend := func(amount int) error {
		return d.Update(context.Background(), func(tx *db.Tx) error {
			value, err := tx.Get([]byte("alice"))
			if err != nil {
				return err
			}
			var left int
			fmt.Sscan(string(value), &left)
			if left < amount {
				return errors.New("not enough")
			}
			return tx.Put([]byte("alice"), fmt.Append(nil, left-amount))
		})
	}
	fmt.Println(spend(7))
	fmt.Println(spend(7))
	// Output:
	// <nil>
	// not enough
}

func ExampleDB_Begin() {
	d := openExample()
	defer d.Close()
	tx, err := d.Begin()
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Discard() // does nothing after Commit
	if there, err := tx.Has([]byte("job")); err != nil || there {
		log.Fatal(err, there)
	}
	if err := tx.Put([]byte("job"), []byte("mine")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(tx.Commit(context.Background()))
	// Output: <nil>
}

func ExampleTx_Commit() {
	d := openExample()
	defer d.Close()
	tx, _ := d.Begin()
	defer tx.Discard()
	tx.Get([]byte("color")) // that nothing is there is read, too
	tx.Put([]byte("room"), []byte("painted"))
	d.Put([]byte("color"), []byte("blue")) // somebody else
	err := tx.Commit(context.Background())
	var conflict *db.ConflictError
	if errors.As(err, &conflict) {
		fmt.Printf("%s was changed by write %d\n", conflict.Key, conflict.Seq)
	}
	fmt.Println(errors.Is(err, db.ErrConflict))
	_, err = d.Get([]byte("room"))
	fmt.Println(err)
	// Output:
	// color was changed by write 1
	// true
	// lsmdb: key not found
}

func ExampleTx_Discard() {
	d := openExample()
	defer d.Close()
	tx, _ := d.Begin()
	tx.Put([]byte("a"), []byte("apple"))
	tx.Discard()
	there, _ := d.Has([]byte("a"))
	fmt.Println(there)
	// Output: false
}

func ExampleTx_Get() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("a"), []byte("apple"))
	d.Put([]byte("b"), []byte("banana"))
	d.Update(context.Background(), func(tx *db.Tx) error {
		tx.Put([]byte("a"), []byte("apricot")) // its own reads see it
		tx.Delete([]byte("b"))
		a, _ := tx.Get([]byte("a"))
		_, err := tx.Get([]byte("b"))
		fmt.Printf("%s, %v\n", a, err)
		return nil
	})
	// Output: apricot, lsmdb: key not found
}

func ExampleTx_AppendValue() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("a"), []byte("apple"))
	d.Update(context.Background(), func(tx *db.Tx) error {
		buffer, err := tx.AppendValue(make([]byte, 0, 64), []byte("a")) // no allocation
		fmt.Printf("%s\n", buffer)
		return err
	})
	// Output: apple
}

func ExampleTx_Has() {
	d := openExample()
	defer d.Close()
	claim := func() error {
		return d.Update(context.Background(), func(tx *db.Tx) error {
			if taken, err := tx.Has([]byte("name")); err != nil || taken {
				return errors.Join(err, errors.New("taken"))
			}
			return tx.Put([]byte("name"), nil)
		})
	}
	fmt.Println(claim())
	fmt.Println(claim())
	// Output:
	// <nil>
	// taken
}

func ExampleTx_GetSize() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("a"), make([]byte, 1000))
	d.Update(context.Background(), func(tx *db.Tx) error {
		size, err := tx.GetSize([]byte("a"))
		fmt.Println(size)
		return err
	})
	// Output: 1000
}

func ExampleTx_NewIterator() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("task 1"), []byte("wash"))
	d.Put([]byte("task 2"), []byte("dry"))
	// Takes the first task. Whoever took the same one at the same time runs again; a new
	// task behind it is no conflict.
	d.Update(context.Background(), func(tx *db.Tx) error {
		it, err := tx.NewIterator(&db.IterOptions{Prefix: []byte("task ")})
		if err != nil {
			return err
		}
		defer it.Close()
		if !it.First() {
			return it.Err()
		}
		fmt.Printf("%s: %s\n", it.Key(), it.Value())
		return tx.Delete(it.Key())
	})
	// Output: task 1: wash
}

func ExampleTx_Snapshot() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("rate"), []byte("5"))
	tx, _ := d.Begin()
	defer tx.Discard()
	rate, _ := tx.Snapshot().Get([]byte("rate")) // an old one will do
	tx.Put([]byte("order"), rate)
	d.Put([]byte("rate"), []byte("6"))
	fmt.Println(tx.Commit(context.Background()))
	// Output: <nil>
}

func ExampleTx_Put() {
	d := openExample()
	defer d.Close()
	d.Update(context.Background(), func(tx *db.Tx) error {
		tx.Put([]byte("a"), []byte("apple"))
		return tx.Put([]byte("b"), []byte("banana")) // both or none
	})
	b, _ := d.Get([]byte("b"))
	fmt.Printf("%s\n", b)
	// Output: banana
}

func ExampleTx_PutUntil() {
	d := openExample()
	defer d.Close()
	d.Update(context.Background(), func(tx *db.Tx) error {
		return tx.PutUntil([]byte("session"), []byte("alice"), time.Now().Add(time.Hour))
	})
	there, _ := d.Has([]byte("session"))
	fmt.Println(there)
	// Output: true
}

func ExampleTx_Delete() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("a"), []byte("apple"))
	d.Update(context.Background(), func(tx *db.Tx) error { return tx.Delete([]byte("a")) })
	there, _ := d.Has([]byte("a"))
	fmt.Println(there)
	// Output: false
}

func ExampleTx_DeleteRange() {
	d := openExample()
	defer d.Close()
	for _, key := range []string{"log 1", "log 2", "log 3"} {
		d.Put([]byte(key), nil)
	}
	d.Update(context.Background(), func(tx *db.Tx) error {
		return tx.DeleteRange([]byte("log 1"), []byte("log 3"))
	})
	it, _ := d.NewIterator(nil)
	defer it.Close()
	for key := range it.All() {
		fmt.Printf("%s\n", key)
	}
	// Output: log 3
}

func ExampleTx_In() {
	d := openExample()
	defer d.Close()
	users, mails := d.Keyspace([]byte("user/")), d.Keyspace([]byte("mail/"))
	// Both keyspaces are changed at one instant.
	d.Update(context.Background(), func(tx *db.Tx) error {
		tx.In(users).Put([]byte("alice"), []byte("a@example.org"))
		return tx.In(mails).Put([]byte("a@example.org"), []byte("alice"))
	})
	name, _ := mails.Get([]byte("a@example.org"))
	fmt.Printf("%s\n", name)
	// Output: alice
}
