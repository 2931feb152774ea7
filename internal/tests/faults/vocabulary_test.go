package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// wholeSteps are the letters of what is neither a put nor a delete.
const wholeSteps = "vtTKL"

// wholeStep does what one of them stands for.
func (r *faultRun) wholeStep(ctx context.Context, letter rune) {
	switch letter {
	case 'v':
		rng := rand.New(rand.NewPCG(uint64(r.written), 3))
		for range 8 {
			c := r.commit(3, 0)
			for i := range c {
				c[i] = fixture.Varied(rng, c[i], c[(i+1)%len(c)].Key, r.now())
			}
			r.write(c, db.NoSync)
		}
	case 't':
		r.clock.Set(r.now() + 3*int64(time.Second))
	case 'T':
		r.transact(ctx)
	case 'K':
		r.checkpoint(ctx)
	case 'L':
		c := r.commit(12, 0).Sorted()
		r.wrote(c, db.Sync, "Load", c.Load(ctx, r.d))
	}
}

// transact reads a key and writes others; nobody else does.
func (r *faultRun) transact(ctx context.Context) {
	tx, err := r.d.Begin()
	if err != nil {
		r.expected("Begin", err)
		return
	}
	defer tx.Discard()
	c := r.commit(3, 0)
	if _, err := tx.Has([]byte(c[0].Key)); err != nil {
		r.expected("a read of a transaction", err)
		return
	}
	fixture.Must(r.t, c.Fill(tx))
	r.wrote(c, db.Sync, "Commit", tx.Commit(ctx, db.Sync))
}

// checkpoint makes one and links it. What is left of a failed link is nothing, and of one
// that succeeded, also after a power failure, the whole database.
func (r *faultRun) checkpoint(ctx context.Context) {
	c, err := r.d.NewCheckpoint(ctx)
	if err != nil {
		r.expected("NewCheckpoint", err)
		return
	}
	r.h.Add(nil, db.Sync)
	r.copies++
	dir := fmt.Sprintf("/base/checkpoint%d", r.copies)
	err = c.Link(dir)
	r.expected("Link", err)
	r.expected("closing a checkpoint", c.Close())
	if err != nil {
		if names, _ := r.machine.Disk.List(dir); len(names) > 0 && r.fault != nil && !r.fault.sticky {
			r.errorf("Link failed, but left %q", names)
		}
		return
	}
	for _, disk := range []*vfstest.Disk{r.machine.Disk, r.machine.Disk.CrashClone(nil)} {
		if err := r.holds(disk, dir, c.Seq()); err != nil {
			r.errorf("a database made of a checkpoint: %v", err)
		}
	}
}

// speaking completes options of a history that knows the time.
func (r *faultRun) speaking(o db.Options) db.Options {
	if r.clock == nil {
		return o
	}
	return fixture.Speaking(o, r.clock)
}

func (r *faultRun) holds(disk *vfstest.Disk, dir string, sequence uint64) error {
	d, err := db.Open(dir, fixture.On(disk, r.speaking(db.Options{ReadOnly: true})))
	if err != nil {
		return err
	}
	defer d.Close()
	found, err := fixture.Scan(d)
	if err != nil {
		return err
	}
	if at := d.Metrics().Sequence; at != sequence || at != r.h.SequenceAfter(len(r.h.Commits)) {
		return fmt.Errorf("sequence number %d, its own is %d, that of the database %d", at, sequence, r.h.SequenceAfter(len(r.h.Commits)))
	}
	return fixture.Differ(r.h.Now.At(r.now()), found)
}
