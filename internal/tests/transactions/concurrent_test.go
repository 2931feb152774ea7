package transactions

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// Many goroutines commit transactions side by side. What those that succeeded have read and
// written must have an order in which each of them happened at one instant, between its
// beginning and its end. porcupine looks for it.

const concurrentKeys = 6

// image is what is there: by key the number of its value, 0 for none. No two writes have
// the same number.
type image [concurrentKeys]uint32

// happened is a transaction that was committed.
type happened struct {
	reads  map[int]uint32 // what it saw of others
	writes map[int]uint32
}

var serial = porcupine.Model{
	Init: func() any { return image{} },
	Step: func(state, input, _ any) (bool, any) {
		now, h := state.(image), input.(happened)
		for key, value := range h.reads {
			if now[key] != value {
				return false, now
			}
		}
		for key, value := range h.writes {
			now[key] = value
		}
		return true, now
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
}

// client commits transactions.
type client struct {
	t      *testing.T
	db     *db.DB
	rng    *rand.Rand
	values *atomic.Uint32
	clock  *atomic.Int64

	history   []porcupine.Operation
	conflicts int
}

func keyOf(i int) []byte { return []byte{'k', byte('0' + i)} }

func (c *client) run(steps int) {
	for range steps {
		if c.rng.IntN(6) == 0 {
			c.putDirectly()
			continue
		}
		from := c.clock.Add(1)
		tx, err := c.db.Begin()
		fixture.Must(c.t, err)
		h := happened{map[int]uint32{}, map[int]uint32{}}
		for range 1 + c.rng.IntN(5) {
			c.act(tx, h)
		}
		switch err := tx.Commit(context.Background()); {
		case errors.Is(err, db.ErrConflict):
			c.conflicts++
		case err != nil:
			c.t.Errorf("commit: %v", err)
		default:
			c.history = append(c.history, porcupine.Operation{Input: h, Call: from, Return: c.clock.Add(1)})
		}
	}
}

// putDirectly writes without a transaction.
func (c *client) putDirectly() {
	key, value, from := c.rng.IntN(concurrentKeys), c.values.Add(1), c.clock.Add(1)
	fixture.Must(c.t, c.db.Put(keyOf(key), fmt.Append(nil, value)))
	c.history = append(c.history, porcupine.Operation{
		Input: happened{writes: map[int]uint32{key: value}}, Call: from, Return: c.clock.Add(1),
	})
}

// act reads or writes in a transaction, and checks what its own writes answer.
func (c *client) act(tx *db.Tx, h happened) {
	key := c.rng.IntN(concurrentKeys)
	switch c.rng.IntN(6) {
	case 0, 1:
		h.writes[key] = c.values.Add(1)
		fixture.Must(c.t, tx.Put(keyOf(key), fmt.Append(nil, h.writes[key])))
	case 2:
		to := key + c.rng.IntN(concurrentKeys-key+1)
		fixture.Must(c.t, tx.DeleteRange(keyOf(key), keyOf(to)))
		for ; key < to; key++ {
			h.writes[key] = 0
		}
	case 3:
		value, err := tx.Get(keyOf(key))
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			c.t.Error(err)
		}
		c.saw(h, key, value)
	default:
		to := key + c.rng.IntN(concurrentKeys-key+1)
		it, err := tx.NewIterator(&db.IterOptions{Lower: keyOf(key), Upper: keyOf(to)})
		fixture.Must(c.t, err)
		var found [concurrentKeys][]byte
		for k, v := range it.All() {
			found[k[1]-'0'] = append([]byte{}, v...)
		}
		fixture.Must(c.t, it.Close())
		for ; key < to; key++ {
			c.saw(h, key, found[key])
		}
	}
}

// saw notes what a read has shown.
func (c *client) saw(h happened, key int, shown []byte) {
	var value uint32
	if len(shown) > 0 {
		if _, err := fmt.Sscan(string(shown), &value); err != nil {
			c.t.Error(err)
		}
	}
	if own, wrote := h.writes[key]; wrote {
		if value != own {
			c.t.Errorf("key %d shows %d, not the own %d", key, value, own)
		}
		return
	}
	if before, again := h.reads[key]; again && before != value {
		c.t.Errorf("key %d shows %d first, %d later", key, before, value)
	}
	h.reads[key] = value
}

// maintain changes where the data lies, until it is told to stop.
func maintain(t *testing.T, d *db.DB, rng *rand.Rand, stop *atomic.Bool) {
	for !stop.Load() {
		switch rng.IntN(3) {
		case 0:
			fixture.Must(t, d.Compact(context.Background(), nil, nil))
		case 1:
			fixture.Must(t, d.Flush(context.Background()))
		default:
			b := d.NewBatch() // other keys, more than the Writer remembers
			for i := range 5000 {
				fixture.Must(t, b.Put(fmt.Append(nil, "x", i), nil))
			}
			fixture.Must(t, d.Apply(context.Background(), b))
		}
	}
}

func TestSerializable(t *testing.T) {
	rounds, conflicts, total := 12, 0, 0
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		d, err := db.Open("", &db.Options{InMemory: true, Durability: db.Durability(round % 2), MemtableBytes: []int64{1, 1 << 20}[round%2]})
		fixture.Must(t, err)
		var values atomic.Uint32
		var clock atomic.Int64
		var stop atomic.Bool
		var clients, beside sync.WaitGroup
		all := make([]*client, 8)
		for i := range all {
			all[i] = &client{t: t, db: d, rng: rand.New(rand.NewPCG(uint64(round), uint64(i))), values: &values, clock: &clock}
			clients.Go(func() { all[i].run(40) })
		}
		beside.Go(func() { maintain(t, d, rand.New(rand.NewPCG(uint64(round), 99)), &stop) })
		clients.Wait()
		stop.Store(true)
		beside.Wait()
		fixture.Must(t, d.Close())
		var history []porcupine.Operation
		for i, c := range all {
			for _, o := range c.history {
				o.ClientId = i
				history = append(history, o)
			}
			conflicts += c.conflicts
		}
		total += len(history)
		if result := porcupine.CheckOperationsTimeout(serial, history, time.Minute); result != porcupine.Ok {
			t.Fatalf("round %d: the history of %d transactions is %s", round, len(history), result)
		}
	}
	t.Logf("%d transactions, %d conflicts", total, conflicts)
	if conflicts == 0 {
		t.Error("there was no conflict")
	}
}

// TestSerializableFindsWriteSkew: the check itself knows what is not serializable.
func TestSerializableFindsWriteSkew(t *testing.T) {
	skew := []porcupine.Operation{
		{ClientId: 0, Call: 1, Return: 10, Input: happened{map[int]uint32{0: 0, 1: 0}, map[int]uint32{0: 1}}},
		{ClientId: 1, Call: 2, Return: 9, Input: happened{map[int]uint32{0: 0, 1: 0}, map[int]uint32{1: 2}}},
	}
	if porcupine.CheckOperations(serial, skew) {
		t.Error("write skew passes for serializable")
	}
	if !porcupine.CheckOperations(serial, skew[:1]) {
		t.Error("one transaction alone does not")
	}
}
