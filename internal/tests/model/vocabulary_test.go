package model

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// tick moves the clock, now and then backwards. What was seen on it the database must go
// by: its time never runs back.
func (r *modelRun) tick() {
	move := int64(r.rng.IntN(8)-2) * int64(time.Second) / 2
	if move < 0 {
		o := fixture.ClockValue()
		r.check(o.Do(r.db, db.NoSync))
		r.h.Add(fixture.Commit{o}, db.NoSync)
		_, err := r.db.Get([]byte(fixture.ClockKey))
		r.check(err)
	}
	r.clock.Set(r.clock.UnixNano() + move)
	r.now = max(r.now, r.clock.UnixNano())
}

// transact goes through a transaction beside other writes. It must commit unless these
// have changed what it read.
func (r *modelRun) transact() {
	tx, err := r.db.Begin()
	r.check(err)
	begun := len(r.h.Commits)
	m := fixture.BeginModel(r.h.Now, r.now)
	for range r.rng.IntN(12) {
		switch n := r.rng.IntN(10); {
		case n < 4:
			o := r.operation(r.key())
			r.check(fixture.Commit{o}.Fill(tx))
			m.Write(o)
		case n < 6:
			r.readAt(tx, m.Get)
		case n < 8:
			it := r.openIterator(tx, m.Iterator)
			r.moveOne(it)
			r.check(it.Close())
		case n == 8:
			o := r.operation(r.key())
			d, w := r.durability()
			r.check(o.Do(r.db, w...))
			r.h.Add(fixture.Commit{o}, d)
		case r.rng.IntN(3) == 0:
			r.flush()
		}
	}
	if r.rng.IntN(5) == 0 {
		tx.Discard()
		return
	}
	d, w := r.durability()
	err = tx.Commit(context.Background(), w...)
	certain, possible := m.Conflicts(r.h.Commits[begun:])
	switch conflict := errors.Is(err, db.ErrConflict); {
	case conflict && !possible, !conflict && certain:
		r.check(fmt.Errorf("commit of %+v: %v, conflict: %v", m, err, certain))
	case conflict:
		r.tally.conflicts++
	case err != nil:
		r.check(err)
	case len(m.Commit()) > 0:
		r.tally.committed++
		r.h.Add(m.Commit(), d)
	}
}

// load loads some keys at once.
func (r *modelRun) load() {
	var c fixture.Commit
	for range 1 + r.rng.IntN(20) {
		c = append(c, fixture.Operation{Key: r.key(), Value: r.value()})
	}
	c = c.Sorted()
	r.check(c.Load(context.Background(), r.db))
	r.h.Add(c, db.Sync)
	r.told.loads[r.db.Metrics().Sequence] = c
	r.tally.loads++
}

// checkpoint makes one, goes on writing, and opens what it holds.
func (r *modelRun) checkpoint() {
	if r.mem == nil {
		return
	}
	c, err := r.db.NewCheckpoint(context.Background())
	r.check(err)
	r.h.Durable = len(r.h.Commits)
	want, sequence := r.h.Now.At(r.now), r.db.Metrics().Sequence
	r.write()
	if r.rng.IntN(2) == 0 {
		r.compact()
	}
	r.tally.checkpoints++
	dir := fmt.Sprintf("/base/checkpoint%d", r.tally.checkpoints)
	r.check(errors.Join(c.Link(dir), c.Close()))
	disk := r.mem.CrashClone(nil) // what a power failure leaves must be whole
	d, err := db.Open(dir, fixture.On(disk, fixture.Speaking(db.Options{MemtableBytes: 1, MustExist: true}, r.clock)))
	r.check(err)
	found := d.Metrics().Sequence
	if c.Seq() != sequence || found != sequence {
		r.check(fmt.Errorf("the checkpoint is at %d and opens at %d, want %d", c.Seq(), found, sequence))
	}
	r.check(fixture.Differ(want, fixture.Contents(r.t, d)))
	r.check(d.Close())
	report, err := fixture.VerifyOn(disk, dir)
	r.check(err)
	if !report.OK() {
		r.check(fmt.Errorf("Verify of a checkpoint: %+v", report.Problems))
	}
}
