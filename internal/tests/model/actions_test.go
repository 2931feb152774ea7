package model

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/tests/metamorphic"
)

// key draws from a small set: empty, short, long, binary ones.
func (r *modelRun) key() string { return string(metamorphic.DrawKey(r.rng, r.keys)) }

// value makes one that no other is equal to, from empty to larger than a memtable.
func (r *modelRun) value() string {
	r.values++
	return string(metamorphic.DrawValue(r.rng, r.values).Bytes())
}

// durability draws what the next write asks for, and how to say so.
func (r *modelRun) durability() (db.Durability, []db.Durability) {
	switch r.rng.IntN(8) {
	case 0:
		return db.Sync, []db.Durability{db.Sync}
	case 1:
		return r.durable, nil
	case 2, 3, 4:
		return db.Queued, []db.Durability{db.Queued}
	}
	return db.NoSync, []db.Durability{db.NoSync}
}

// write puts or deletes a few keys, one by one.
func (r *modelRun) write() {
	for range 1 + r.rng.IntN(25) {
		o := r.operation(r.key())
		d, w := r.durability()
		r.check(o.Do(r.db, w...))
		r.h.Add(fixture.Commit{o}, d)
	}
}

// operation draws one that concerns a key.
func (r *modelRun) operation(key string) fixture.Operation {
	o := fixture.Operation{Key: key, Delete: r.rng.IntN(4) == 0}
	if !o.Delete {
		o.Value = r.value()
	}
	return fixture.Varied(r.rng, o, r.key(), r.now)
}

// fill fills a batch, often with the same key again.
func (r *modelRun) fill(b *db.Batch) fixture.Commit {
	var c fixture.Commit
	for range r.rng.IntN(12) {
		key := r.key()
		if len(c) > 0 && r.rng.IntN(4) == 0 {
			key = c[len(c)-1].Key
		}
		c = append(c, r.operation(key))
	}
	r.check(c.Fill(b))
	return c
}

func (r *modelRun) batch() {
	b := r.db.NewBatch()
	for range 1 + r.rng.IntN(3) {
		c := r.fill(b)
		for range 1 + r.rng.IntN(2) { // the same batch may be applied again
			d, w := r.durability()
			r.check(r.db.Apply(context.Background(), b, w...))
			r.h.Add(c, d)
		}
		b.Reset()
	}
}

// cancelled applies a batch whose context ends at any time: it is there whole, or
// the context's error says that it is not.
func (r *modelRun) cancelled() {
	b := r.db.NewBatch()
	c := r.fill(b)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	early := r.rng.IntN(2) == 0
	if early {
		cancel()
	}
	go func() { cancel(); close(done) }()
	d, w := r.durability()
	err := r.db.Apply(ctx, b, w...)
	<-done
	switch {
	case err == nil && !early:
		r.h.Add(c, d)
	case !errors.Is(err, context.Canceled):
		r.check(fmt.Errorf("Apply with a cancelled context: %v", err))
	}
}

// modelPending is a batch that was submitted.
type modelPending struct {
	*db.Pending
	durable db.Durability
	index   int // of the commit behind it
}

// submitSome submits batches, which from then on are history that may or may not
// have happened yet.
func (r *modelRun) submitSome() []modelPending {
	var all []modelPending
	for range r.rng.IntN(20) {
		b := r.db.NewBatch()
		c := r.fill(b)
		d, w := r.durability()
		p, err := r.db.Submit(context.Background(), b, w...)
		r.check(err)
		r.h.Add(c, db.NoSync)
		all = append(all, modelPending{p, d, len(r.h.Commits)})
	}
	return all
}

func (r *modelRun) submit() {
	for _, p := range r.submitSome() {
		r.check(p.Wait(context.Background()))
		if p.durable == db.Sync {
			r.h.Durable = p.index
		}
	}
}

func (r *modelRun) get() { r.read(r.db, r.h.Now.Get) }

// read looks one key up in every way.
func (r *modelRun) read(from fixture.Reader, shows func(key string, now int64) (string, bool)) {
	r.readAt(from, func(key string) (string, bool) { return shows(key, r.now) })
}

func (r *modelRun) readAt(from fixture.Reader, shows func(key string) (string, bool)) {
	key := r.key()
	want, exists := shows(key)
	k := []byte(key)
	if d, ok := from.(*db.DB); ok {
		r.explain(d, key, exists)
	}
	got, err := from.Get(k)
	has, hasErr := from.Has(k)
	appended, appendErr := from.AppendValue([]byte("dst"), k)
	if size, err := from.GetSize(k); exists && (err != nil || size != len(want)) || !exists && !errors.Is(err, db.ErrNotFound) {
		r.check(fmt.Errorf("GetSize of %s: %d, %v; want %s (%v)", fixture.Short(key), size, err, fixture.Short(want), exists))
	}
	fixture.Clobber(k)
	r.check(hasErr)
	if !exists {
		if !errors.Is(err, db.ErrNotFound) || !errors.Is(appendErr, db.ErrNotFound) || has || string(appended) != "dst" {
			r.check(fmt.Errorf("key %s is not there, but: Get %s, %v; Has %v; AppendValue %s, %v",
				fixture.Short(key), fixture.Short(string(got)), err, has, fixture.Short(string(appended)), appendErr))
		}
		return
	}
	r.check(errors.Join(err, appendErr))
	if string(got) != want || got == nil || !has || string(appended) != "dst"+want {
		r.check(fmt.Errorf("key %s: Get %s, Has %v, AppendValue %s; want %s", fixture.Short(key), fixture.Short(string(got)), has, fixture.Short(string(appended)), fixture.Short(want)))
	}
}

// explain has the database tell how it comes to the answer. Compactions may have put in its
// place what does the same.
func (r *modelRun) explain(d *db.DB, key string, exists bool) {
	e, err := d.Explain(context.Background(), []byte(key))
	r.check(err)
	decided := e.DecidedBy == "put" || e.DecidedBy == "merge"
	if !decided {
		switch e.DecidedBy {
		case "delete", "range-delete", "expiry", "nothing":
		default:
			r.check(fmt.Errorf("Explain of %s: %+v", fixture.Short(key), e))
		}
	}
	if e.Found != exists || decided != exists || string(e.Key) != key || len(e.Steps) == 0 || (e.Table > 0) != (e.Level >= 0) {
		r.check(fmt.Errorf("Explain of %s: %+v; want %v", fixture.Short(key), e, exists))
	}
}

func (r *modelRun) iterOptions() *db.IterOptions {
	o := &db.IterOptions{KeysOnly: r.rng.IntN(5) == 0}
	n := r.rng.IntN(16)
	if n&1 != 0 {
		o.Lower = []byte(r.key())
	}
	if n&2 != 0 {
		o.Upper = []byte(r.key())
	}
	if n&12 == 12 {
		o.Prefix = []byte(r.key())
		o.Prefix = o.Prefix[:min(len(o.Prefix), r.rng.IntN(4))]
	}
	if n == 4 {
		return nil
	}
	return o
}

func (r *modelRun) iterate(from fixture.Reader, s fixture.State, now int64) {
	r.iterators = append(r.iterators, r.openIterator(from, func(it *db.Iterator, o *db.IterOptions) *fixture.ModelIterator {
		return fixture.NewStateIterator(it, s, now, o)
	}))
}

func (r *modelRun) openIterator(from fixture.Reader, beside func(*db.Iterator, *db.IterOptions) *fixture.ModelIterator) *fixture.ModelIterator {
	o := r.iterOptions()
	it, err := from.NewIterator(o)
	r.check(err)
	m := beside(it, o)
	if o != nil {
		fixture.Clobber(o.Lower, o.Upper, o.Prefix)
	}
	return m
}

func (r *modelRun) newIterator() { r.iterate(r.db, maps.Clone(r.h.Now), r.now) }

func (r *modelRun) moveIterators() {
	for range min(len(r.iterators), 3) {
		r.moveOne(r.iterators[r.rng.IntN(len(r.iterators))])
	}
}

func (r *modelRun) moveOne(it *fixture.ModelIterator) {
	for range 1 + r.rng.IntN(8) {
		r.check(it.Move("flgsnnnnppppp"[r.rng.IntN(13)], r.key()))
	}
}

func (r *modelRun) newSnapshot() {
	s, err := r.db.NewSnapshot()
	r.check(err)
	r.snapshots = append(r.snapshots, modelSnapshot{s, maps.Clone(r.h.Now), r.now})
}

func (r *modelRun) readSnapshot() {
	if len(r.snapshots) == 0 {
		return
	}
	s := r.snapshots[r.rng.IntN(len(r.snapshots))]
	for range 5 {
		r.readAt(s, func(key string) (string, bool) { return s.state.Get(key, s.now) })
	}
	if r.rng.IntN(6) == 0 {
		r.iterate(s, s.state, s.now)
	}
}

// release closes the oldest of what is held. Nobody moves an iterator any more once
// it is closed, but it may well outlive its snapshot.
func (r *modelRun) release() {
	if len(r.iterators) > 2 {
		r.check(r.iterators[0].Scan())
		r.check(r.iterators[0].Close())
		r.iterators = r.iterators[1:]
	}
	if len(r.snapshots) > 1 {
		r.check(r.snapshots[0].Close())
		r.snapshots = r.snapshots[1:]
	}
}

// pins compares what is said to be open with what is.
func (r *modelRun) pins() {
	open := map[string]int{}
	for _, p := range r.db.Pins() {
		open[p.Kind]++
	}
	if open["iterator"] != len(r.iterators) || open["snapshot"] != len(r.snapshots) || len(open) > 2 {
		r.check(fmt.Errorf("said to be open are %v; %d iterators and %d snapshots are", open, len(r.iterators), len(r.snapshots)))
	}
}

func (r *modelRun) flush() { r.check(r.db.Flush(context.Background())); r.h.Durable = len(r.h.Commits) }

func (r *modelRun) compact() {
	var start, end []byte
	if r.rng.IntN(3) > 0 {
		start = []byte(r.key())
	}
	if r.rng.IntN(3) > 0 {
		end = []byte(r.key())
	}
	r.check(r.db.Compact(context.Background(), start, end))
	r.h.Durable = len(r.h.Commits)
}

func (r *modelRun) sync() { r.check(r.db.Sync(context.Background())); r.h.Durable = len(r.h.Commits) }

func (r *modelRun) scan() {
	it, err := r.db.NewIterator(nil)
	r.check(err)
	m := fixture.NewStateIterator(it, r.h.Now, r.now, nil)
	r.check(m.Scan())
	r.check(m.Close())
	s, err := r.db.SpaceOf(context.Background(), nil, nil)
	r.check(err)
	if s.PinnedBytes > s.DeadBytes || s.PinnedBytes > 0 && len(r.snapshots) == 0 {
		r.check(fmt.Errorf("SpaceOf with %d snapshots: %+v", len(r.snapshots), s))
	}
}
