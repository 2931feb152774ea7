package db_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lsmdb/db"
)

// openExample opens a database that lives in memory only, so that the examples
// leave nothing behind.
func openExample() *db.DB {
	d, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		log.Fatal(err)
	}
	return d
}

func Example() {
	dir, err := os.MkdirTemp("", "lsmdb-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// The README begins with these lines.
	d, err := db.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	if err := d.Put([]byte("hello"), []byte("world")); err != nil {
		log.Fatal(err)
	}
	value, err := d.Get([]byte("hello"))
	fmt.Printf("%s %v\n", value, err)

	_, err = d.Get([]byte("nothing"))
	fmt.Println(errors.Is(err, db.ErrNotFound))
	// Output:
	// world <nil>
	// true
}

func ExampleDB_Put_durability() {
	d := openExample()
	defer d.Close()
	// Fast: survives a killed process, but perhaps not a power failure.
	d.Put([]byte("a"), []byte("1"), db.NoSync)
	d.Put([]byte("b"), []byte("2"), db.NoSync)
	// One fsync makes both durable.
	fmt.Println(d.Sync(context.Background()))
	// Output: <nil>
}

func ExampleDB_AppendValue() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("a"), []byte("apple"))
	d.Put([]byte("b"), []byte("banana"))
	buffer := make([]byte, 0, 64) // used again and again: no allocation
	for _, key := range []string{"a", "b"} {
		var err error
		if buffer, err = d.AppendValue(buffer[:0], []byte(key)); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", buffer)
	}
	// Output:
	// apple
	// banana
}

func ExampleBatch() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("alice"), []byte("100"))

	b := d.NewBatch()
	b.Put([]byte("alice"), []byte("70"))
	b.Put([]byte("bob"), []byte("30"))
	b.Delete([]byte("carol"))
	if err := d.Apply(context.Background(), b); err != nil { // all or nothing
		log.Fatal(err)
	}
	alice, _ := d.Get([]byte("alice"))
	bob, _ := d.Get([]byte("bob"))
	fmt.Printf("%d operations: alice %s, bob %s\n", b.Len(), alice, bob)
	// Output: 3 operations: alice 70, bob 30
}

func ExampleIterator_All() {
	d := openExample()
	defer d.Close()
	for _, word := range []string{"pear", "apple", "plum", "peach", "cherry"} {
		d.Put([]byte(word), fmt.Append(nil, len(word)))
	}
	it, err := d.NewIterator(&db.IterOptions{Prefix: []byte("p")})
	if err != nil {
		log.Fatal(err)
	}
	defer it.Close()
	for key, value := range it.All() {
		fmt.Printf("%s=%s ", key, value)
	}
	fmt.Println(it.Err())
	for key := range it.Backward() {
		fmt.Printf("%s ", key)
	}
	fmt.Println(it.Err())
	// Output:
	// peach=5 pear=4 plum=4 <nil>
	// plum pear peach <nil>
}

func ExampleIterator_SeekGE() {
	d := openExample()
	defer d.Close()
	for i := range 10 {
		d.Put(fmt.Appendf(nil, "%02d", i*10), nil)
	}
	it, err := d.NewIterator(&db.IterOptions{Lower: []byte("20"), Upper: []byte("80")})
	if err != nil {
		log.Fatal(err)
	}
	defer it.Close()
	for ok := it.SeekGE([]byte("45")); ok; ok = it.Next() {
		fmt.Printf("%s ", it.Key())
	}
	for ok := it.SeekLT([]byte("45")); ok; ok = it.Prev() {
		fmt.Printf("%s ", it.Key())
	}
	fmt.Println(it.Err())
	// Output: 50 60 70 40 30 20 <nil>
}

func ExampleSnapshot() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("k"), []byte("before"))
	s, err := d.NewSnapshot()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	d.Put([]byte("k"), []byte("after"))
	d.Compact(context.Background(), nil, nil)

	then, _ := s.Get([]byte("k"))
	now, _ := d.Get([]byte("k"))
	fmt.Printf("%s, %s\n", then, now)
	// Output: before, after
}

func ExampleDB_Submit() {
	d := openExample()
	defer d.Close()
	ctx := context.Background()
	var pending []*db.Pending
	for i := range 100 { // all under way at once: they share fsyncs
		b := d.NewBatch()
		b.Put(fmt.Appendf(nil, "key%d", i), nil)
		p, err := d.Submit(ctx, b)
		if err != nil {
			log.Fatal(err)
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if err := p.Wait(ctx); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(d.Has([]byte("key99")))
	// Output: true <nil>
}

func ExampleDB_Apply_context() {
	d := openExample()
	defer d.Close()
	b := d.NewBatch()
	b.Put([]byte("k"), []byte("v"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // bounds the wait behind back-pressure
	defer cancel()
	fmt.Println(d.Apply(ctx, b))
	cancel()
	fmt.Println(d.Apply(ctx, b)) // nothing is stored
	// Output:
	// <nil>
	// context canceled
}

func ExampleDB_Keyspace() {
	d := openExample()
	defer d.Close()
	users, mails := d.Keyspace([]byte("user/")), d.Keyspace([]byte("mail/"))
	users.Put([]byte("ann"), []byte("Ann"))

	b := d.NewBatch() // all or nothing, in both
	b.In(users).Put([]byte("bob"), []byte("Bob"))
	b.In(mails).Put([]byte("bob@example.com"), []byte("bob"))
	if err := d.Apply(context.Background(), b); err != nil {
		log.Fatal(err)
	}
	it, err := users.NewIterator(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer it.Close()
	for key, value := range it.All() {
		fmt.Printf("%s=%s ", key, value)
	}
	fmt.Println(it.Err())
	fmt.Println(d.Has([]byte("user/bob"))) // the database shows all keys
	// Output:
	// ann=Ann bob=Bob <nil>
	// true <nil>
}

func ExampleSnapshot_In() {
	d := openExample()
	defer d.Close()
	users, mails := d.Keyspace([]byte("user/")), d.Keyspace([]byte("mail/"))
	users.Put([]byte("ann"), []byte("before"))
	mails.Put([]byte("ann@example.com"), []byte("before"))
	s, err := d.NewSnapshot() // one instant for all keyspaces
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	mails.Put([]byte("ann@example.com"), []byte("after"))

	user, _ := s.In(users).Get([]byte("ann"))
	mail, _ := s.In(mails).Get([]byte("ann@example.com"))
	fmt.Printf("%s, %s\n", user, mail)
	// Output: before, before
}

func ExamplePrefixRange() {
	start, end := db.PrefixRange([]byte("user/"))
	fmt.Printf("%q to %q\n", start, end)
	// Output: "user/" to "user0"
}

func ExampleDB_NewCheckpoint() {
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
	d.Put([]byte("k"), []byte("before"))
	c, err := d.NewCheckpoint(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	d.Put([]byte("k"), []byte("after"))

	if err := c.Link(filepath.Join(dir, "copy")); err != nil { // takes no room on the same file system
		log.Fatal(err)
	}
	copied, err := db.Open(filepath.Join(dir, "copy"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer copied.Close()
	value, err := copied.Get([]byte("k"))
	fmt.Printf("%s %v\n", value, err)
	// Output: before <nil>
}

func ExampleRestore() {
	dir, err := os.MkdirTemp("", "lsmdb-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	d := openExample()
	defer d.Close()
	d.Put([]byte("hello"), []byte("world"))
	c, err := d.NewCheckpoint(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var backup bytes.Buffer // or a file, a pipe, a connection
	if _, err := c.WriteTo(&backup); err != nil {
		log.Fatal(err)
	}
	if err := db.Restore(ctx, &backup, filepath.Join(dir, "restored")); err != nil {
		log.Fatal(err)
	}
	restored, err := db.Open(filepath.Join(dir, "restored"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer restored.Close()
	value, err := restored.Get([]byte("hello"))
	fmt.Printf("%s %v\n", value, err)
	// Output: world <nil>
}

func ExampleDB_Metrics() {
	d := openExample()
	defer d.Close()
	for i := range 1000 {
		d.Put(fmt.Appendf(nil, "key%d", i), make([]byte, 100), db.NoSync)
	}
	d.Compact(context.Background(), nil, nil)
	m := d.Metrics()
	tables, _ := m.Tables()
	fmt.Println(m.Writes.Operations, "operations,", tables, "table,", m.ReadAmplification(), "runs")
	for _, stage := range m.Stages {
		fmt.Print(stage.Name, " ")
	}
	fmt.Println()
	// Output:
	// 1000 operations, 1 table, 2 runs
	// writer flusher keeper compactor sweeper preparer
}

// What is open, and what it costs, can be told at any time.
func ExampleDB_Pins() {
	d := openExample()
	defer d.Close()
	d.Put([]byte("key"), []byte("value"))
	s, err := d.NewSnapshot()
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range d.Pins() {
		function, _, _ := strings.Cut(p.Where, " ") // the rest is its file and the line
		fmt.Println(p.Kind, p.Seq, p.Bytes, function)
	}
	s.Close()
	fmt.Println(len(d.Pins()))
	// Output:
	// snapshot 1 0 lsmdb/db_test.ExampleDB_Pins
	// 0
}

// Deletes that nothing has dropped yet make walks slow.
func ExampleIterator_Stats() {
	d := openExample()
	defer d.Close()
	for i := range 20 {
		d.Put(fmt.Appendf(nil, "%02d", i), []byte("value"))
	}
	for i := range 18 {
		d.Delete(fmt.Appendf(nil, "%02d", i))
	}
	it, err := d.NewIterator(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer it.Close()
	for key := range it.All() {
		fmt.Printf("%s ", key)
	}
	s := it.Stats()
	fmt.Println(s.Entries, s.Versions, s.Tombstones)
	// Output: 18 19 2 18 18
}

func ExampleDB_Health() {
	d := openExample()
	fmt.Println(d.Health())
	d.Close()
	fmt.Println(errors.Is(d.Health(), db.ErrClosed))
	// Output:
	// <nil>
	// true
}

// Two databases share one bound on their memory.
func ExampleNewMemoryBudget() {
	budget := db.NewMemoryBudget(64 << 20)
	for _, name := range []string{"orders", "events"} {
		d, err := db.Open(name, &db.Options{InMemory: true, Memory: budget})
		if err != nil {
			log.Fatal(err)
		}
		defer d.Close()
		if err := d.Put([]byte("key"), []byte("value")); err != nil {
			log.Fatal(err)
		}
	}
	m := budget.Metrics()
	fmt.Println(m.Used == m.Memtables, m.Used <= m.Limit)
	// Output: true true
}

func ExampleDB_Explain() {
	d := openExample()
	defer d.Close()
	ctx := context.Background()
	d.Put([]byte("fruit/apple"), []byte("red"))
	d.Flush(ctx) // into a table
	d.DeleteRange([]byte("fruit/"), []byte("fruit0"))

	e, err := d.Explain(ctx, []byte("fruit/apple"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("found %v, decided by %s\n", e.Found, e.DecidedBy)
	for _, s := range e.Steps {
		fmt.Println(s.Place)
	}
	// Output:
	// found false, decided by range-delete
	// memtable
}

func ExampleDB_SpaceOf() {
	d := openExample()
	defer d.Close()
	ctx := context.Background()
	for i := range 1000 {
		d.Put(fmt.Appendf(nil, "fruit/%03d", i), []byte("a value"), db.NoSync)
	}
	d.Flush(ctx)
	d.DeleteRange([]byte("fruit/250"), []byte("fruit/500"))

	start, end := db.PrefixRange([]byte("fruit/"))
	s, err := d.SpaceOf(ctx, start, end)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.0f %% is dead\n", 100*float64(s.DeadBytes)/float64(s.LiveBytes+s.DeadBytes+s.TombstoneBytes+s.ExpiredBytes))
	// Output: 25 % is dead
}
