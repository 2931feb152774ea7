package tour

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/serve"
	"lsmdb/db"
)

// The live tour (--serve) shows a database in a browser and gives it one thing to do after
// the other, so that who watches for a minute has seen all of them.

// live is the database of the live tour and what is done to it.
type live struct {
	database *db.DB
	chunks   []chunk
	minute   time.Duration // how long all acts take
}

// chunk is a piece of a file: an entry of the database.
type chunk struct{ key, value []byte }

const (
	chunkBytes = 2 << 10
	liveBytes  = 96 << 20 // of files at most: it is held in memory, and the database is not to grow for ever
	clients    = 8        // that write at a time in the burst
)

// act is one thing that the database has to do.
type act struct {
	name, says string
	part       float64 // of the minute
	run        func(l *live, ctx context.Context) error
}

// acts are in the order of the minute.
var acts = []act{
	{"calm", "one client puts a few hundred entries a second, and waits for the disk each time; nobody waits for anybody", 0.15, (*live).calm},
	{"burst", "eight clients write as fast as they can: memtables fill, level 0 grows, workers merge, and writers wait", 0.25, (*live).burst},
	{"reads", "nobody writes; four clients read, most of them the same few files: some tables get hot, others stay cold", 0.2, (*live).read},
	{"deletes", "whole directories and single entries are deleted: marks go down the tree, and take with them what they cover", 0.15, (*live).remove},
	{"merge", "everything is merged into one sorted run, while others still read: what was deleted leaves the disk", 0.25, (*live).merge},
}

// serve shows the page until ctx ends.
func (t *tour) serve(ctx context.Context, root string) (err error) {
	defer console.IgnoreUnread()()
	tree, err := collect(ctx, root)
	if err != nil {
		return err
	}
	l := &live{minute: t.minute}
	if l.chunks, err = tree.chunks(ctx); err != nil {
		return err
	}
	remove, err := t.makeDirectory()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	options := tourOptions(t.console)
	options.MemtableBytes, options.CacheBytes = 2<<20, 32<<20
	if l.database, err = db.Open(t.dir, options); err != nil {
		return err
	}
	defer access.Closing(l.database, &err)
	page, err := serve.Show(l.database, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, page.Close()) }()
	if err := page.Announce(t.console); err != nil {
		return err
	}
	for n := 0; ctx.Err() == nil && t.console.Unwritten() == nil; n++ { // an interrupt is how it ends
		a := acts[n%len(acts)]
		t.sayf("  %s  %s\n", t.ink.Bold(fmt.Sprintf("%-7s", a.name)), t.ink.Faint(a.says))
		if err := l.play(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// chunks reads the files, up to liveBytes of them.
func (t *sourceTree) chunks(ctx context.Context) (list []chunk, err error) {
	total := 0
	for index := range t.files {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		content, err := t.content(index)
		if err != nil {
			return nil, err
		}
		for number, value := range slices.Collect(slices.Chunk(content, chunkBytes)) {
			list = append(list, chunk{fmt.Appendf(nil, "%s#%04d", t.files[index].path, number), value})
		}
		if total += len(content); total > liveBytes {
			break
		}
	}
	if len(list) == 0 {
		return nil, exit.Failf(exit.Failed, "the files in %s are empty", t.root)
	}
	return list, nil
}

// play runs an act for its time.
func (l *live) play(ctx context.Context, a act) error {
	during, cancel := context.WithTimeout(ctx, time.Duration(a.part*float64(l.minute)))
	defer cancel()
	err := a.run(l, during)
	if during.Err() != nil && (err == nil || errors.Is(err, during.Err())) {
		return nil
	}
	return err
}

func (l *live) any() chunk { return l.chunks[rand.IntN(len(l.chunks))] }

// calm puts entries at a steady pace.
func (l *live) calm(ctx context.Context) error {
	pace := time.NewTicker(4 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		c := l.any()
		if err := l.database.Put(c.key, c.value); err != nil {
			return err
		}
	}
}

// burst writes as fast as it can. A snapshot that is open meanwhile holds on to what it sees.
func (l *live) burst(ctx context.Context) error {
	view, err := l.database.NewSnapshot()
	if err != nil {
		return err
	}
	defer view.Close()
	var group errgroup.Group
	for client := range clients {
		group.Go(func() error {
			batch := l.database.NewBatch()
			for n := client; ctx.Err() == nil; n += clients {
				batch.Reset()
				for range 8 {
					c := l.any()
					if n%4 == 0 { // some of it in the order of keys
						c = l.chunks[n%len(l.chunks)]
					}
					if err := batch.Put(c.key, c.value); err != nil {
						return err
					}
				}
				if err := l.database.Apply(ctx, batch, db.NoSync); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// read gets entries, most of them from a hundredth of the keys, and walks now and then.
func (l *live) read(ctx context.Context) error {
	var group errgroup.Group
	for range clients / 2 {
		group.Go(func() error { return l.readOn(ctx) })
	}
	return group.Wait()
}

func (l *live) readOn(ctx context.Context) error {
	var value []byte
	hot := l.chunks[len(l.chunks)/3:][:max(1, len(l.chunks)/100)]
	for n := 0; ctx.Err() == nil; n++ {
		c := hot[rand.IntN(len(hot))]
		if n%500 == 0 {
			c = l.any()
		}
		var err error
		if value, err = l.database.AppendValue(value[:0], c.key); err != nil && !errors.Is(err, db.ErrNotFound) {
			return err
		}
		if n%100 == 0 { // so that a machine with few processors can show it, too
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// remove deletes a tenth of the keys as ranges, and others one by one.
func (l *live) remove(ctx context.Context) error {
	tenth := max(1, len(l.chunks)/10)
	first := l.chunks[rand.IntN(max(1, len(l.chunks)-tenth)):]
	batch := l.database.NewBatch()
	if err := batch.DeleteRange(first[0].key, first[min(tenth, len(first)-1)].key); err != nil {
		return err
	}
	if err := l.database.Apply(ctx, batch, db.NoSync); err != nil {
		return err
	}
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		batch.Reset()
		for range 10 {
			if err := batch.Delete(l.any().key); err != nil {
				return err
			}
		}
		if err := l.database.Apply(ctx, batch, db.NoSync); err != nil {
			return err
		}
	}
}

// merge compacts everything, beside readers, and lets the page rest for what is left.
func (l *live) merge(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return l.readOn(ctx) })
	group.Go(func() error { return l.database.Compact(ctx, nil, nil) })
	return group.Wait()
}
