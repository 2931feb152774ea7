package transactions

import (
	"context"
	"strings"
	"testing"

	"lsmdb/db"
)

// script plays transactions side by side as a text tells. Steps are separated by ";" or
// lines. T1 to T9 are transactions, which begin with their first step; db is the database.
//
//	db put k v | db del k | db get k v | db flush
//	T1 begin | T1 put k v | T1 del k | T1 discard | T1 commit [conflict k]
//	T1 get k v | T1 snapshot k v                     with "-" where there is no value
//	T1 scan lower upper [k=v...]                     walks all of it
//	T1 iter lower upper | T1 first | T1 last | T1 seek k | T1 seeklt k | T1 next | T1 prev
//
// Behind the moves stands the key that they lead to, "." for none. "*" is an open bound.
type script struct {
	t    *testing.T
	db   *db.DB
	txs  map[string]*db.Tx
	its  map[string]*db.Iterator
	step string
}

// play plays a text on a database that holds 1=10 and 2=20.
func play(t *testing.T, text string) {
	t.Helper()
	s := &script{t: t, db: openTx(t, "1", "10", "2", "20"), txs: map[string]*db.Tx{}, its: map[string]*db.Iterator{}}
	for step := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		words := strings.Fields(step)
		if len(words) == 0 {
			continue
		}
		s.step = strings.Join(words, " ")
		if words[0] == "db" {
			s.onDB(words[1], words[2:])
			continue
		}
		if s.txs[words[0]] == nil {
			s.txs[words[0]] = begin(t, s.db)
		}
		s.onTx(words[0], words[1], words[2:])
	}
}

func (s *script) onDB(do string, args []string) {
	s.t.Helper()
	switch do {
	case "put":
		s.must(s.db.Put([]byte(args[0]), []byte(args[1])))
	case "del":
		s.must(s.db.Delete([]byte(args[0])))
	case "flush":
		s.must(s.db.Flush(context.Background()))
	case "get":
		s.want(get(s.t, s.db, args[0]), args[1])
	default:
		s.t.Fatalf("%s: what?", s.step)
	}
}

func (s *script) onTx(name, do string, args []string) {
	s.t.Helper()
	tx := s.txs[name]
	switch do {
	case "begin":
	case "put":
		s.must(tx.Put([]byte(args[0]), []byte(args[1])))
	case "del":
		s.must(tx.Delete([]byte(args[0])))
	case "get":
		s.want(get(s.t, tx, args[0]), args[1])
	case "snapshot":
		s.want(get(s.t, tx.Snapshot(), args[0]), args[1])
	case "discard":
		tx.Discard()
	case "commit":
		key := ""
		if len(args) > 0 {
			key = args[1]
		}
		wantConflict(s.t, s.step, tx.Commit(context.Background()), key)
	case "scan":
		it, err := tx.NewIterator(within(args))
		s.want(strings.Join(pairs(s.t, it, err), " "), strings.Join(args[2:], " "))
	default:
		s.onIterator(name, tx, do, args)
	}
}

func (s *script) onIterator(name string, tx *db.Tx, do string, args []string) {
	s.t.Helper()
	it := s.its[name]
	switch do {
	case "iter":
		it, err := tx.NewIterator(within(args))
		s.must(err)
		s.t.Cleanup(func() { it.Close() })
		s.its[name] = it
		return
	case "first":
		it.First()
	case "last":
		it.Last()
	case "next":
		it.Next()
	case "prev":
		it.Prev()
	case "seek":
		it.SeekGE([]byte(args[0]))
	case "seeklt":
		it.SeekLT([]byte(args[0]))
	default:
		s.t.Fatalf("%s: what?", s.step)
	}
	key := "."
	if it.Valid() {
		key = string(it.Key())
	}
	s.must(it.Err())
	s.want(key, args[len(args)-1])
}

// within are the bounds of an iterator.
func within(args []string) *db.IterOptions {
	var o db.IterOptions
	if args[0] != "*" {
		o.Lower = []byte(args[0])
	}
	if args[1] != "*" {
		o.Upper = []byte(args[1])
	}
	return &o
}

func (s *script) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", s.step, err)
	}
}

func (s *script) want(got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: got %q", s.step, got)
	}
}

// TestHermitage plays the anomalies that Martin Kleppmann's Hermitage collects, after Adya
// ("Weak Consistency", 1999) and Bailis et al. None of them happens.
// docs/transactions.md has the same table.
func TestHermitage(t *testing.T) {
	for name, text := range map[string]string{
		"G0, dirty write": `T1 put 1 11; T2 put 1 12; T1 put 2 21; T1 commit; db get 1 11; db get 2 21
			T2 put 2 22; T2 commit; db get 1 12; db get 2 22`,
		"G1a, aborted read":      `T1 put 1 101; T2 get 1 10; T1 discard; T2 get 1 10; T2 put 3 x; T2 commit; db get 1 10`,
		"G1b, intermediate read": `T1 put 1 101; T2 get 1 10; T1 put 1 11; T1 commit; T2 get 1 10; T2 commit; db get 1 11`,
		"G1c, circular information flow": `T1 put 1 11; T2 put 2 22; T1 get 2 20; T2 get 1 10
			T1 commit; T2 commit conflict 1; db get 2 20`,
		"OTV, observed transaction vanishes": `T3 begin; T1 put 1 11; T1 put 2 19; T2 put 1 12; T1 commit; T3 get 1 10
			T2 put 2 18; T2 commit; T3 get 2 20; T3 get 1 10; T3 commit; db get 1 12; db get 2 18`,
		"PMP, predicate-many-preceders": `T1 scan * * 1=10 2=20; T2 put 3 30; T2 commit; T1 scan * * 1=10 2=20; T1 commit`,
		"PMP, for a write": `T1 scan * * 1=10 2=20; T2 scan * * 1=10 2=20; T1 put 1 20; T1 put 2 30; T1 commit
			T2 del 2; T2 commit conflict 1; db get 2 30`,
		"P4, lost update": `T1 get 1 10; T2 get 1 10; T1 put 1 11; T2 put 1 12; T1 commit; T2 commit conflict 1; db get 1 11`,
		"G-single, read skew": `T1 get 1 10; T2 get 1 10; T2 get 2 20; T2 put 1 12; T2 put 2 18; T2 commit
			T1 get 2 20; T1 commit`,
		"G-single, for a write":    `T1 get 1 10; T2 put 1 12; T2 put 2 18; T2 commit; T1 del 2; T1 commit conflict 1; db get 2 18`,
		"G-single, by a predicate": `T1 scan 1 2 1=10; T2 put 11 x; T2 commit; T1 put 3 30; T1 commit conflict 11; db get 3 -`,
		"G2-item, write skew": `T1 get 1 10; T1 get 2 20; T2 get 1 10; T2 get 2 20; T1 put 1 11; T2 put 2 21
			T1 commit; T2 commit conflict 1; db get 2 20`,
		"G2, by a predicate": `T1 scan * * 1=10 2=20; T2 scan * * 1=10 2=20; T1 put 3 30; T2 put 4 42
			T1 commit; T2 commit conflict 3; db get 4 -`,
		"G2, two edges": `T1 scan * * 1=10 2=20; T2 get 2 20; T2 put 2 25; T2 commit
			T3 scan * * 1=10 2=25; T3 commit; T1 put 1 0; T1 commit conflict 2; db get 1 10`,
	} {
		t.Run(name, func(t *testing.T) { play(t, text) })
	}
}

// TestWhatIsRead goes through the rules for what a transaction has read, and where a
// change is one of that.
func TestWhatIsRead(t *testing.T) {
	for name, text := range map[string]string{
		"a key that is there":             `T1 get 1 10; db put 1 x; T1 put 9 9; T1 commit conflict 1`,
		"a key that is not there":         `T1 get 5 -; db put 5 x; T1 put 9 9; T1 commit conflict 5`,
		"another key":                     `T1 get 1 10; db put 11 x; db put 0 x; T1 put 9 9; T1 commit; db get 9 9`,
		"the smallest key is named":       `T1 get 2 20; T1 get 1 10; db put 1 x; db put 2 x; T1 put 9 9; T1 commit conflict 1`,
		"own put answers":                 `T1 put 1 mine; T1 get 1 mine; db put 1 x; T1 commit; db get 1 mine`,
		"own delete answers":              `T1 del 1; T1 get 1 -; db put 1 x; T1 commit; db get 1 -`,
		"own put came later":              `T1 get 1 10; T1 put 1 mine; T1 get 1 mine; db put 1 x; T1 commit conflict 1`,
		"nothing but writes":              `T1 put 1 a; T2 put 1 b; T1 commit; db put 1 c; T2 commit; db get 1 b`,
		"nothing but reads":               `T1 get 1 10; T1 scan * * 1=10 2=20; db put 1 x; T1 get 1 10; T1 commit`,
		"a delete of nothing":             `T1 get 5 -; db del 5; T1 put 9 9; T1 commit conflict 5`,
		"put and deleted again":           `T1 get 5 -; db put 5 x; db del 5; T1 put 9 9; T1 commit conflict 5`,
		"put and deleted, then flushed":   `T1 get 5 -; db put 5 x; db del 5; db flush; T1 put 9 9; T1 commit conflict 5`,
		"the snapshot is no read":         `T1 snapshot 1 10; T1 put 1 x; T1 snapshot 1 10; db put 1 y; T1 commit; db get 1 x`,
		"opening an iterator is no read":  `T1 iter * *; db put 1 x; T1 put 9 9; T1 commit`,
		"a walk to its end":               `T1 scan 2 * 2=20; db put 5 x; T1 put 9 9; T1 commit conflict 5`,
		"the bound is not read":           `T1 scan 1 2 1=10; db put 2 x; T1 put 9 9; T1 commit`,
		"before the bound is read":        `T1 scan 1 2 1=10; db put 11 x; T1 put 9 9; T1 commit conflict 11`,
		"before the lower bound":          `T1 scan 1 2 1=10; db put 0 x; T1 put 9 9; T1 commit`,
		"a seek to nothing":               `T1 iter * *; T1 seek 3 .; db put 5 x; T1 put 9 9; T1 commit conflict 5`,
		"a seek to nothing, elsewhere":    `T1 iter * *; T1 seek 3 .; db put 21 x; T1 put 9 9; T1 commit`,
		"a seek, what it passed":          `T1 iter * *; T1 seek 11 2; db put 12 x; T1 put 9 9; T1 commit conflict 12`,
		"a seek, where it stops":          `T1 iter * *; T1 seek 11 2; db put 2 x; T1 put 9 9; T1 commit conflict 2`,
		"a seek, where it begins":         `T1 iter * *; T1 seek 11 2; db put 11 x; T1 put 9 9; T1 commit conflict 11`,
		"a seek, beyond":                  `T1 iter * *; T1 seek 11 2; db put 21 x; db put 10 x; T1 put 9 9; T1 commit`,
		"a seek back, what it passed":     `T1 iter * *; T1 seeklt 2 1; db put 11 x; T1 put 9 9; T1 commit conflict 11`,
		"a seek back, where it stops":     `T1 iter * *; T1 seeklt 2 1; db put 1 x; T1 put 9 9; T1 commit conflict 1`,
		"a seek back, where it begins":    `T1 iter * *; T1 seeklt 2 1; db put 2 x; db put 0 x; T1 put 9 9; T1 commit`,
		"a seek back to nothing":          `T1 iter * *; T1 seeklt 1 .; db put 0 x; T1 put 9 9; T1 commit conflict 0`,
		"a seek back behind the bound":    `T1 iter * 2; T1 seeklt 9 1; db put 2 x; db put 5 x; T1 put 9 9; T1 commit`,
		"a seek before the bound":         `T1 iter 1 *; T1 seek 0 1; db put 0 x; T1 put 9 9; T1 commit`,
		"a seek behind the bound":         `T1 iter * 2; T1 seek 5 .; db put 5 x; db put 1 x; T1 put 9 9; T1 commit`,
		"a step":                          `T1 iter * *; T1 first 1; T1 next 2; db put 11 x; T1 put 9 9; T1 commit conflict 11`,
		"a step, beyond":                  `T1 iter * *; T1 first 1; T1 next 2; db put 21 x; T1 put 9 9; T1 commit`,
		"a step beyond the last":          `T1 iter * *; T1 last 2; T1 next .; db put 21 x; T1 put 9 9; T1 commit conflict 21`,
		"the last":                        `T1 iter * *; T1 last 2; db put 7 x; T1 put 9 9; T1 commit conflict 7`,
		"the last, before":                `T1 iter * *; T1 last 2; db put 11 x; T1 put 9 9; T1 commit`,
		"a step back":                     `T1 iter * *; T1 last 2; T1 prev 1; db put 11 x; T1 put 9 9; T1 commit conflict 11`,
		"a step back before the first":    `T1 iter * *; T1 first 1; T1 prev .; db put 0 x; T1 put 9 9; T1 commit conflict 0`,
		"back at the end":                 `T1 iter * *; T1 seek 3 .; T1 prev 2; db put 5 x; T1 put 9 9; T1 commit conflict 5`,
		"an own write where a walk stops": `T1 put 15 m; T1 iter * *; T1 seek 11 15; db put 15 x; T1 commit conflict 15`,
		"an own write stops a walk":       `T1 put 15 m; T1 iter * *; T1 seek 11 15; db put 16 x; T1 commit; db get 15 m`,
		"an own delete is passed":         `T1 del 1; T1 iter * *; T1 first 2; db put 1 x; T1 commit conflict 1`,
		"later own writes do not appear":  `T1 iter * *; T1 put 0 m; T1 first 1; T1 del 2; T1 next 2; T1 next .; T1 commit`,
	} {
		t.Run(name, func(t *testing.T) { play(t, text) })
	}
}
