package linear

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/anishathalye/porcupine"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// linearClient does random things, one after the other, and notes when each began and
// ended and what it returned.
type linearClient struct {
	epoch      *linearEpoch
	rng        *rand.Rand
	watcher    bool // it only reads: see watch
	ended      bool // a write failed because the process is being killed
	operations []porcupine.Operation
	err        error // what no history can explain
}

// unanswered is the end of a write that returned neither success nor a promise that
// nothing of it was stored.
const unanswered = math.MaxInt64

func linearKey(key int) []byte { return fmt.Appendf(nil, "key%d", key) }

// run acts until its steps are done, the end comes, or something is wrong.
func (c *linearClient) run() {
	for step := 0; step < c.epoch.run.shape.steps && !c.epoch.over.Load() && !c.ended && c.err == nil; step++ {
		c.act()
	}
}

// watch looks without a pause, so that some looks fall into the short time in which a write
// becomes visible. It notes only those that show something else than the one before: the
// others would tell little and take the check long.
func (c *linearClient) watch(done *atomic.Bool) {
	c.watcher = true
	last := make(map[keyRange]image)
	for !done.Load() && !c.epoch.over.Load() && c.err == nil {
		keys, noted := c.group(), len(c.operations)
		if c.rng.IntN(2) == 0 {
			keys = keyRange{keys.low, keys.low + 1}
			c.get(c.epoch.db, keys.low)
		} else {
			c.view(keys)
		}
		if noted < len(c.operations) {
			images := c.operations[noted].Input.(*call).images
			if !slices.ContainsFunc(images, func(found image) bool { return found != last[keys] }) {
				c.operations = c.operations[:noted]
			}
			last[keys] = images[len(images)-1]
		}
		runtime.Gosched()
	}
}

func (c *linearClient) act() {
	switch n := c.rng.IntN(100); {
	case n < 30:
		c.write(c.draw(1), c.durability())
	case n < 45:
		c.write(c.draw(2+c.rng.IntN(6)), c.durability())
	case n < 50:
		c.submit()
	case n < 80:
		key := c.group()
		key.low += c.rng.IntN(key.high - key.low)
		c.get(c.epoch.db, key.low)
	case n < 85:
		if c.durability() == db.Sync {
			c.barrier()
		}
	default:
		keys := c.group()
		keys.high -= c.rng.IntN(keys.high - keys.low)
		c.view(keys)
	}
}

// group draws keys that may be touched together.
func (c *linearClient) group() keyRange {
	s := c.epoch.run.shape
	g := c.rng.IntN(s.groups)
	return keyRange{g * s.keys / s.groups, (g + 1) * s.keys / s.groups}
}

// draw makes n writes of one group.
func (c *linearClient) draw(n int) []keyValue {
	var keys keyRange
	for keys.low >= keys.high {
		keys = c.group()
		keys.low = max(keys.low, c.epoch.run.shape.reserved)
	}
	writes := make([]keyValue, n)
	for i := range writes {
		writes[i].key = keys.low + c.rng.IntN(keys.high-keys.low)
		if c.rng.IntN(4) > 0 {
			writes[i].value = c.epoch.run.number()
		}
		c.vary(&writes[i], keys.high)
	}
	return writes
}

func (c *linearClient) durability() db.Durability {
	if c.rng.IntN(100) < c.epoch.run.shape.syncPercent {
		return db.Sync
	}
	return db.NoSync + db.Durability(c.rng.IntN(2)) // or Queued
}

func (c *linearClient) record(o *call, from, to int64) {
	c.operations = append(c.operations, porcupine.Operation{Input: o, Call: from, Return: to})
}

// write stores in one of the ways there are.
func (c *linearClient) write(writes []keyValue, d db.Durability) {
	db := c.epoch.db
	from := c.epoch.run.tick()
	var err error
	switch way := c.rng.IntN(8); {
	case len(writes) == 1 && way < 6:
		err = writes[0].operation().Do(db, d)
	case way == 7:
		err = c.applyCancelled(writes, d)
	default:
		err = db.Apply(context.Background(), c.batch(writes), d)
	}
	c.wrote(writes, d, from, err)
}

func (c *linearClient) batch(writes []keyValue) *db.Batch {
	var ops fixture.Commit
	for _, w := range writes {
		ops = append(ops, w.operation())
	}
	return ops.Batch(c.epoch.db)
}

// applyCancelled applies with a context that ends at any time.
func (c *linearClient) applyCancelled(writes []keyValue, d db.Durability) error {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { cancel(); close(done) }()
	err := c.epoch.db.Apply(ctx, c.batch(writes), d)
	<-done
	return err
}

// wrote notes how a write that began at from came out. What its context took back is not
// noted: nobody may ever see it.
func (c *linearClient) wrote(writes []keyValue, d db.Durability, from int64, err error) {
	o := &call{kind: callWrite, writes: writes, crash: powerLost}
	switch d {
	case db.NoSync:
		o.crash = processKilled
	case db.Queued:
		o.crash, o.queued = noCrash, true
	}
	switch {
	case err == nil:
		c.record(o, from, c.epoch.run.tick())
	case errors.Is(err, context.Canceled):
	case c.epoch.ending():
		c.ended, o.crash, o.queued = true, noCrash, false
		c.record(o, from, unanswered)
	default:
		c.err = fmt.Errorf("write %v: %w", o, err)
	}
}

// submit keeps several writes under way, where clients are few: what is under way at the
// same time decides how long a check takes.
func (c *linearClient) submit() {
	type submitted struct {
		*db.Pending
		writes []keyValue
		d      db.Durability
		from   int64
	}
	var all []submitted
	for range 1 + c.rng.IntN(8/c.epoch.run.shape.clients) {
		s := submitted{writes: c.draw(1 + c.rng.IntN(2)), d: c.durability(), from: c.epoch.run.tick()}
		var err error
		if s.Pending, err = c.epoch.db.Submit(context.Background(), c.batch(s.writes), s.d); err != nil {
			c.wrote(s.writes, s.d, s.from, err)
			continue
		}
		all = append(all, s)
	}
	for _, s := range all {
		c.wrote(s.writes, s.d, s.from, s.Wait(context.Background()))
	}
}

// barrier makes what was written durable.
func (c *linearClient) barrier() {
	from := c.epoch.run.tick()
	c.wrote(nil, db.Sync, from, c.epoch.db.Sync(context.Background()))
}

// get reads one key.
func (c *linearClient) get(r fixture.Reader, key int) {
	from := c.epoch.run.tick()
	var found image
	err := getImage(r, key, &found)
	c.saw(keyRange{key, key + 1}, []image{found}, from, c.epoch.run.tick(), err)
}

func getImage(r fixture.Reader, key int, found *image) error {
	value, err := r.Get(linearKey(key))
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err == nil {
		found[key], err = linearNumber(value)
	}
	return err
}

// saw notes what a read showed.
//
// Of a process that is being killed nothing is noted once it can write no more: what was Queued
// is lost then, and nobody waits for it.
func (c *linearClient) saw(keys keyRange, images []image, from, to int64, err error) {
	switch {
	case err == nil && c.epoch.dead.Load() && c.epoch.db.Metrics().Failure != "":
	case err == nil:
		c.record(&call{kind: callRead, keys: keys, images: images}, from, to)
	case !c.epoch.ending():
		c.err = fmt.Errorf("read %v: %w", keys, err)
	}
}

// view looks at several keys of one instant, which is fixed when the iterator or the
// snapshot has been made; the reads themselves come later, and other writes between.
func (c *linearClient) view(keys keyRange) {
	from := c.epoch.run.tick()
	if c.rng.IntN(2) == 0 {
		it, err := c.epoch.db.NewIterator(c.bounds(keys))
		to := c.epoch.run.tick()
		var images []image
		if err == nil {
			images, err = c.passes(keys, func() (image, error) { return iterate(it, c.rng.IntN(2) == 0) })
			err = errors.Join(err, it.Close())
		}
		c.saw(keys, images, from, to, err)
		return
	}
	s, err := c.epoch.db.NewSnapshot()
	to := c.epoch.run.tick()
	var images []image
	if err == nil {
		images, err = c.passes(keys, func() (image, error) { return c.look(s, keys) })
		err = errors.Join(err, s.Close())
	}
	c.saw(keys, images, from, to, err)
}

// passes reads a few times, with writes between.
func (c *linearClient) passes(keys keyRange, read func() (image, error)) ([]image, error) {
	var images []image
	for range 1 + c.rng.IntN(3) {
		if !c.watcher && c.rng.IntN(3) == 0 && !c.epoch.over.Load() {
			c.write(c.draw(1), c.durability())
		}
		found, err := read()
		if err != nil {
			return nil, err
		}
		images = append(images, found)
	}
	return images, nil
}

// look reads keys of a snapshot, each alone or by an iterator.
func (c *linearClient) look(r fixture.Reader, keys keyRange) (image, error) {
	if c.rng.IntN(2) == 0 {
		var found image
		for key := keys.low; key < keys.high; key++ {
			if err := getImage(r, key, &found); err != nil {
				return found, err
			}
		}
		return found, nil
	}
	it, err := r.NewIterator(c.bounds(keys))
	if err != nil {
		return image{}, err
	}
	found, err := iterate(it, c.rng.IntN(2) == 0)
	return found, errors.Join(err, it.Close())
}

func (c *linearClient) bounds(keys keyRange) *db.IterOptions {
	return &db.IterOptions{Lower: linearKey(keys.low), Upper: linearKey(keys.high)}
}

func iterate(it *db.Iterator, backward bool) (image, error) {
	all := it.All()
	if backward {
		all = it.Backward()
	}
	var found image
	for key, value := range all {
		at := int(key[len(key)-1] - '0')
		if at >= len(found) || string(key) != string(linearKey(at)) || found[at] != 0 {
			return found, fmt.Errorf("key %q was not expected", key)
		}
		var err error
		if found[at], err = linearNumber(value); err != nil {
			return found, err
		}
	}
	return found, it.Err()
}
