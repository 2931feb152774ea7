package db_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"lsmdb/db"
)

// show prints all keys and values of a database, or of a part.
func show(from interface {
	NewIterator(*db.IterOptions) (*db.Iterator, error)
}) {
	it, err := from.NewIterator(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer it.Close()
	for key, value := range it.All() {
		fmt.Printf("%s=%s ", key, value)
	}
	fmt.Println(it.Err())
}

// openMerging opens a database with a merge operator.
func openMerging(merger *db.Merger) *db.DB {
	d, err := db.Open("", &db.Options{InMemory: true, Merger: merger})
	if err != nil {
		log.Fatal(err)
	}
	return d
}

func ExampleDB_Has() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("a"), nil) // an empty value is a value
	fmt.Println(d.Has([]byte("a")))
	fmt.Println(d.Has([]byte("b")))
	// Output:
	// true <nil>
	// false <nil>
}

func ExampleDB_GetSize() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("image"), make([]byte, 1<<20))
	fmt.Println(d.GetSize([]byte("image"))) // from disk, the image would not be read
	// Output: 1048576 <nil>
}

func ExampleDB_DeleteRange() {
	d := openExample()
	defer d.Close()
	for _, key := range []string{"log/1", "log/2", "log/3", "other"} {
		d.Put([]byte(key), []byte("x"))
	}
	d.DeleteRange([]byte("log/1"), []byte("log/3")) // without log/3
	show(d)
	d.DeleteRange(db.PrefixRange([]byte("log/")))
	show(d)
	// Output:
	// log/3=x other=x <nil>
	// other=x <nil>
}

func ExampleDB_PutUntil() {
	noon := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	var passed atomic.Int64 // nanoseconds; the database asks for the time in goroutines of its own
	now := func() time.Time { return noon.Add(time.Duration(passed.Load())) }
	d, err := db.Open("", &db.Options{InMemory: true, Now: now})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	d.PutUntil([]byte("session"), []byte("ann"), now().Add(time.Hour))
	passed.Add(int64(time.Hour - 1))
	fmt.Println(d.Has([]byte("session")))
	passed.Add(1)
	fmt.Println(d.Has([]byte("session")))
	// Output:
	// true <nil>
	// false <nil>
}

func ExampleDB_Merge() {
	d := openMerging(db.SumInt64)
	defer d.Close()
	for _, clicks := range []uint64{3, 4} { // by any number of goroutines
		d.Merge([]byte("clicks"), binary.LittleEndian.AppendUint64(nil, clicks))
	}
	value, err := d.Get([]byte("clicks"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(binary.LittleEndian.Uint64(value))
	// Output: 7
}

func ExampleMerger() {
	d := openMerging(&db.Merger{Name: "example.list", Merge: func(dst, key, older, newer []byte) ([]byte, error) {
		if older != nil { // nil: there is no value
			dst = append(append(dst, older...), ", "...)
		}
		return append(dst, newer...), nil
	}})
	defer d.Close()
	d.Merge([]byte("fruit"), []byte("apple"))
	d.Merge([]byte("fruit"), []byte("pear"))
	show(d)
	// Output: fruit=apple, pear <nil>
}

func ExampleDB_Load() {
	d := openExample()
	defer d.Close()
	err := d.Load(context.Background(), func(yield func(key, value []byte) bool) {
		var key []byte
		for i := range 100_000 {
			key = fmt.Appendf(key[:0], "%08d", i) // the same memory for all keys
			if !yield(key, []byte("x")) {
				return
			}
		}
	})
	fmt.Println(err)
	fmt.Println(d.Has([]byte("00099999")))
	err = d.Load(context.Background(), func(yield func(key, value []byte) bool) {
		_ = yield([]byte("b"), nil) && yield([]byte("a"), nil)
	})
	fmt.Println(err)
	// Output:
	// <nil>
	// true <nil>
	// lsmdb: load: the input is not sorted: "a" follows "b"
}

func ExampleIterator_Until() {
	d := openExample()
	defer d.Close()
	d.PutUntil([]byte("a"), nil, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
	d.Put([]byte("b"), nil)
	it, err := d.NewIterator(&db.IterOptions{KeysOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer it.Close()
	for it.Next() {
		fmt.Printf("%s %d %v\n", it.Key(), it.Until().UTC().Year(), it.Until().IsZero())
	}
	// Output:
	// a 2100 false
	// b 1 true
}

func ExampleBatch_In() {
	d := openExample()
	defer d.Close()
	b := d.NewBatch()
	b.In(d.Keyspace([]byte("mail/"))).Put([]byte("1"), []byte("hello"))
	b.In(d.Keyspace([]byte("unread/"))).Put([]byte("1"), nil)
	fmt.Println(b.Len())
	if err := d.Apply(context.Background(), b); err != nil {
		log.Fatal(err)
	}
	show(d)
	// Output:
	// 2
	// mail/1=hello unread/1= <nil>
}

func ExampleBatch_DeleteRange() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("list/1"), []byte("old"))
	b := d.NewBatch() // replaces all of a list at once
	b.DeleteRange(db.PrefixRange([]byte("list/")))
	b.Put([]byte("list/0"), []byte("new"))
	if err := d.Apply(context.Background(), b); err != nil {
		log.Fatal(err)
	}
	show(d)
	// Output: list/0=new <nil>
}

func ExampleBatch_Merge() {
	d := openMerging(db.AppendBytes)
	defer d.Close()
	b := d.NewBatch()
	b.Put([]byte("k"), []byte("a"))
	b.Merge([]byte("k"), []byte("b"))
	if err := d.Apply(context.Background(), b); err != nil {
		log.Fatal(err)
	}
	show(d)
	// Output: k=ab <nil>
}

func ExampleBatch_PutUntil() {
	d := openExample()
	defer d.Close()
	b := d.NewBatch()
	b.PutUntil([]byte("past"), nil, time.Unix(1, 0)) // is never there
	b.PutUntil([]byte("stays"), nil, time.Time{})
	if err := d.Apply(context.Background(), b); err != nil {
		log.Fatal(err)
	}
	show(d)
	// Output: stays= <nil>
}

func ExampleKeyspace_Put() {
	d := openExample()
	defer d.Close()
	users := d.Keyspace([]byte("user/"))
	users.Put([]byte("ann"), []byte("Ann"))
	users.PutUntil([]byte("guest"), []byte("Guest"), time.Now().Add(time.Hour))
	users.Put([]byte("bob"), []byte("Bob"))
	users.Delete([]byte("bob"))
	show(users)
	show(d)
	// Output:
	// ann=Ann guest=Guest <nil>
	// user/ann=Ann user/guest=Guest <nil>
}

func ExampleKeyspace_Get() {
	d := openExample()
	defer d.Close()
	users := d.Keyspace([]byte("user/"))
	users.Put([]byte("ann"), []byte("Ann"))
	value, err := users.Get([]byte("ann"))
	fmt.Printf("%s %v\n", value, err)
	fmt.Println(users.Has([]byte("bob")))
	fmt.Println(users.GetSize([]byte("ann")))
	// Output:
	// Ann <nil>
	// false <nil>
	// 3 <nil>
}

func ExampleKeyspace_NewIterator() {
	d := openExample()
	defer d.Close()
	users := d.Keyspace([]byte("user/"))
	for _, name := range []string{"ann", "bob", "cid"} {
		users.Put([]byte(name), nil)
	}
	d.Put([]byte("zoo"), nil)
	it, err := users.NewIterator(&db.IterOptions{Lower: []byte("b")}) // bounds without the prefix, too
	if err != nil {
		log.Fatal(err)
	}
	defer it.Close()
	for it.Next() {
		fmt.Printf("%s ", it.Key())
	}
	fmt.Println(it.Err())
	// Output: bob cid <nil>
}

func ExampleKeyspace_DeleteRange() {
	d := openExample()
	defer d.Close()
	users := d.Keyspace([]byte("user/"))
	for _, name := range []string{"ann", "bob", "cid"} {
		users.Put([]byte(name), nil)
	}
	d.Put([]byte("zoo"), nil)
	users.DeleteRange([]byte("b"), nil) // to the keyspace's border
	show(d)
	// Output: user/ann= zoo= <nil>
}

func ExampleKeyspace_Merge() {
	d := openMerging(db.MaxBytes)
	defer d.Close()
	high := d.Keyspace([]byte("high/"))
	for _, score := range []string{"017", "042", "008"} {
		high.Merge([]byte("ann"), []byte(score))
	}
	show(high)
	// Output: ann=042 <nil>
}

func ExampleKeyspace_Drop() {
	d := openExample()
	defer d.Close()
	cache := d.Keyspace([]byte("cache/"))
	for i := range 1000 {
		cache.Put(strconv.AppendInt(nil, int64(i), 10), nil)
	}
	d.Put([]byte("k"), []byte("stays"))
	fmt.Println(cache.Drop(context.Background()))
	show(d)
	// Output:
	// <nil>
	// k=stays <nil>
}

func ExampleTx_Merge() {
	d := openMerging(db.AppendBytes)
	defer d.Close()
	d.Put([]byte("k"), []byte("a"))
	err := d.Update(context.Background(), func(tx *db.Tx) error {
		if err := tx.Merge([]byte("k"), []byte("b")); err != nil {
			return err
		}
		value, err := tx.Get([]byte("k"))
		fmt.Printf("%s\n", value)
		return err
	})
	fmt.Println(err)
	// Output:
	// ab
	// <nil>
}

func ExampleConflictError() {
	d := openExample()
	defer d.Close()
	tx, err := d.Begin()
	if err != nil {
		log.Fatal(err)
	}
	tx.Get([]byte("stock"))
	tx.Put([]byte("order"), nil)
	d.Put([]byte("stock"), []byte("0"))
	err = tx.Commit(context.Background())
	var conflict *db.ConflictError
	if errors.As(err, &conflict) {
		fmt.Printf("%q was changed at %d\n", conflict.Key, conflict.Seq)
	}
	fmt.Println(errors.Is(err, db.ErrConflict))
	// Output:
	// "stock" was changed at 1
	// true
}

func ExampleCheckpoint_Link() {
	dir, err := os.MkdirTemp("", "lsmdb-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	d, err := db.Open(filepath.Join(dir, "db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	d.Put([]byte("k"), []byte("v"))
	c, err := d.NewCheckpoint(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, day := range []string{"monday", "tuesday"} { // as often as you like
		if err := c.Link(filepath.Join(dir, "copies", day)); err != nil {
			log.Fatal(err)
		}
	}
	err = c.Link(filepath.Join(dir, "copies", "monday"))
	fmt.Println(errors.Is(err, os.ErrExist))
	report, err := db.Verify(context.Background(), filepath.Join(dir, "copies", "tuesday"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.OK())
	// Output:
	// true
	// true
}

func ExampleCheckpoint_WriteTo() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("k"), []byte("v"))
	c, err := d.NewCheckpoint(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var stream bytes.Buffer
	n, err := c.WriteTo(&stream)
	fmt.Println(n == int64(stream.Len()), err)
	again, err := c.WriteTo(io.Discard)
	fmt.Println(n == again, err)
	// Output:
	// true <nil>
	// true <nil>
}

func ExampleCheckpoint_Files() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("k"), []byte("v"))
	c, err := d.NewCheckpoint(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for file := range c.Files() {
		fmt.Println(file.Name, file.Bytes > 0)
	}
	fmt.Println("of write", c.Seq())
	// Output:
	// 000005.sst true
	// MANIFEST-000006 true
	// CURRENT true
	// of write 1
}

// An index that is kept up to date with the database, from where it was left.
func ExampleDB_Changes() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("apple"), []byte("red"))
	d.Put([]byte("lemon"), []byte("yellow"))
	b := d.NewBatch()
	b.Delete([]byte("apple"))
	b.Put([]byte("plum"), []byte("blue"))
	d.Apply(context.Background(), b)

	position := uint64(1) // kept where the index is: it knows of the apple
	for c, err := range d.Changes(context.Background(), position) {
		if err != nil {
			log.Fatal(err)
		}
		for _, o := range c.Ops {
			fmt.Println(o.Kind, string(o.Key))
		}
		position = c.Seq
		if position == d.Metrics().Sequence {
			break // a program would wait here for what comes
		}
	}
	fmt.Println(position)
	// Output:
	// put lemon
	// delete apple
	// put plum
	// 4
}

// Who comes too late begins with a copy of everything, and goes on behind it.
func ExampleTrimmedError() {
	dir, err := os.MkdirTemp("", "lsmdb-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 2 { // Options.KeepChangesBytes is 0: nothing is kept from one open to the next
		d, err := db.Open(dir, nil)
		if err != nil {
			log.Fatal(err)
		}
		defer d.Close()
		d.Put([]byte("apple"), []byte("red"))
		for _, err := range d.Changes(context.Background(), 0) {
			if trimmed, is := errors.AsType[*db.TrimmedError](err); is {
				fmt.Println(errors.Is(err, db.ErrTrimmed), trimmed.Oldest)
			}
			break
		}
		d.Close()
	}
	// Output: true 1
}
