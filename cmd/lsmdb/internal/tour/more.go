package tour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// more shows one of each of what else the database can be told, on the tour's own data: a
// sorted load, a transaction, merges, a value that ends, a checkpoint, a range delete. It
// works in a keyspace of its own, and leaves nothing of that.
type more struct {
	*tour
	space  *db.Keyspace
	source string // the directory that is copied; "": the first files of all
	shown  moreResult
	wrong  differences
}

// moreResult is what it came to.
type moreResult struct {
	Copied            int    `json:"copied"` // files of the directory
	Directory         string `json:"directory"`
	Merges            int    `json:"merges"`
	Kinds             int    `json:"kinds"` // of files, that the merges counted
	CheckpointEntries int    `json:"checkpoint_entries"`
	CheckpointFiles   int    `json:"checkpoint_files"`
}

// Within the keyspace; no name of a file begins with a zero byte.
var (
	moreSpace   = []byte("\x00more/")
	copyPrefix  = []byte("copy/")
	countPrefix = []byte("kinds/")
	marker      = []byte("marker")
)

const (
	mostCopied      = 2000
	mostCopiedBytes = 32 << 20
	markerLife      = 300 * time.Millisecond
)

func (t *tour) more(ctx context.Context) error {
	start := time.Now()
	m := &more{tour: t, space: t.database.Keyspace(moreSpace)}
	until := time.Now().Add(markerLife)
	if err := m.space.PutUntil(marker, []byte("here"), until, db.NoSync); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{m.copy, m.rename, m.count, m.checkpoint,
		func(ctx context.Context) error { return m.expire(ctx, until) }, m.drop} {
		if err := step(ctx); err != nil {
			return err
		}
		t.live(display.Progress{Verb: "showing", Total: 1, Items: "steps", Since: start})
	}
	if err := m.wrong.failure(); err != nil {
		return err
	}
	t.result.More = m.shown
	t.done("more", start, "a sorted load copied %s; a transaction renamed one; %s merges counted %s of files; a checkpoint, opened, holds the same %s entries; a value ended by itself; one range delete dropped the copies",
		m.name(), units.Count(m.shown.Merges), units.Plural(m.shown.Kinds, "kind", "kinds"), units.Count(m.shown.CheckpointEntries))
	return nil
}

// name is what is copied, for people.
func (m *more) name() string {
	files := units.Plural(m.shown.Copied, "file", "files")
	if m.source == "" {
		return files
	}
	return files + " of " + m.source
}

// chooseDirectory returns the largest directory at the top that is not too large.
func (t *tour) chooseDirectory() (name string) {
	count, sizes := map[string]int{}, map[string]int64{}
	for _, f := range t.tree.files {
		if top, _, found := strings.Cut(f.path, "/"); found {
			count[top+"/"]++
			sizes[top+"/"] += f.sizeBytes
		}
	}
	for top, n := range count {
		if n <= mostCopied && sizes[top] <= mostCopiedBytes && (n > count[name] || n == count[name] && top < name) {
			name = top
		}
	}
	return name
}

// copy loads a directory once more, under another prefix, from an iterator of itself.
func (m *more) copy(ctx context.Context) error {
	m.source = m.chooseDirectory()
	m.shown.Directory = m.source
	from, err := m.database.NewIterator(&db.IterOptions{Prefix: []byte(m.source)})
	if err != nil {
		return err
	}
	defer from.Close()
	if err := m.database.Load(ctx, m.copies(from)); err != nil {
		return err
	}
	if err := from.Err(); err != nil {
		return err
	}
	return m.compareCopies()
}

// copies are the entries of an iterator under their new keys, as many as are copied.
func (m *more) copies(from *db.Iterator) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		m.shown.Copied = 0
		key, copiedBytes := append(bytes.Clone(moreSpace), copyPrefix...), 0
		start := len(key)
		for name, value := range from.All() {
			if bytes.HasPrefix(name, moreSpace) { // where everything is copied
				continue
			}
			if m.shown.Copied == mostCopied || copiedBytes > mostCopiedBytes || !yield(append(key[:start], name...), value) {
				return
			}
			m.shown.Copied++
			copiedBytes += len(value)
		}
	}
}

// compareCopies walks over the files and their copies side by side.
func (m *more) compareCopies() error {
	copied, err := m.space.NewIterator(&db.IterOptions{Prefix: copyPrefix})
	if err != nil {
		return err
	}
	defer copied.Close()
	n := 0
	for key, value := range copied.All() {
		n++
		difference, err := mismatch(m.database, key[len(copyPrefix):], value)
		if err != nil {
			return err
		}
		if difference != "" {
			m.wrong.add(key, "the copy: "+difference)
		}
	}
	if n != m.shown.Copied {
		m.wrong.add(copyPrefix, fmt.Sprintf("%s copies, not %s", units.Count(n), units.Count(m.shown.Copied)))
	}
	return copied.Err()
}

// rename gives the first copy another name. Nobody sees it under both, or under none.
func (m *more) rename(ctx context.Context) error {
	newName := append(bytes.Clone(copyPrefix), "renamed"...)
	var oldName, content []byte
	err := m.database.Update(ctx, func(tx *db.Tx) error {
		copies := tx.In(m.space)
		it, err := copies.NewIterator(&db.IterOptions{Prefix: copyPrefix})
		if err != nil {
			return err
		}
		defer it.Close()
		if !it.First() {
			return errors.Join(it.Err(), errors.New("there is nothing to rename"))
		}
		oldName, content = bytes.Clone(it.Key()), bytes.Clone(it.Value())
		return errors.Join(copies.Put(newName, content), copies.Delete(oldName))
	})
	if err != nil {
		return err
	}
	there, err := m.space.Has(oldName)
	if there {
		m.wrong.add(oldName, "renamed, and still there")
	}
	if value, getErr := m.space.Get(newName); getErr != nil || !bytes.Equal(value, content) {
		m.wrong.add(newName, "not what was renamed")
	}
	return err
}

// count counts the files by their kind: one merge for each, which reads nothing.
func (m *more) count(ctx context.Context) error {
	want := map[string]int64{}
	batch := m.database.NewBatch()
	counts := batch.In(m.space)
	one := access.AppendNumber(nil, 1)
	for n, f := range m.tree.files {
		kind := string(countPrefix) + filepath.Ext(f.path)
		want[kind]++
		if err := counts.Merge([]byte(kind), one); err != nil {
			return err
		}
		if batch.Len() == 1000 || n == len(m.tree.files)-1 {
			if err := m.database.Apply(ctx, batch, db.NoSync); err != nil {
				return err
			}
			batch.Reset()
		}
	}
	m.shown.Merges, m.shown.Kinds = len(m.tree.files), len(want)
	it, err := m.space.NewIterator(&db.IterOptions{Prefix: countPrefix})
	if err != nil {
		return err
	}
	defer it.Close()
	for key, value := range it.All() {
		if n, ok := access.Number(value); !ok || n != want[string(key)] {
			m.wrong.add(key, fmt.Sprintf("%d merges came to %d", want[string(key)], n))
		}
		delete(want, string(key))
	}
	for kind := range want {
		m.wrong.add([]byte(kind), "merged, and not there")
	}
	return it.Err()
}

// checkpoint copies the whole database beside itself, opens the copy, and compares.
func (m *more) checkpoint(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(filepath.Clean(m.dir)), ".lsmdb-tour-checkpoint-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := m.database.NewCheckpoint(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Link(dir); err != nil {
		return err
	}
	for range c.Files() {
		m.shown.CheckpointFiles++
	}
	options := tourOptions(m.console)
	options.ReadOnly = true
	other, err := db.Open(dir, options)
	if err != nil {
		return err
	}
	defer access.Closing(other, &err)
	return m.compareAll(ctx, other)
}

// compareAll walks over both databases side by side.
func (m *more) compareAll(ctx context.Context, other *db.DB) error {
	own, err := m.database.NewIterator(&db.IterOptions{NoCacheFill: true})
	if err != nil {
		return err
	}
	defer own.Close()
	theirs, err := other.NewIterator(&db.IterOptions{NoCacheFill: true})
	if err != nil {
		return err
	}
	defer theirs.Close()
	ended := append(bytes.Clone(moreSpace), marker...) // may have, for one of the two
	for own.Next() {
		if bytes.Equal(own.Key(), ended) {
			continue
		}
		if theirs.Next(); bytes.Equal(theirs.Key(), ended) {
			theirs.Next()
		}
		if !bytes.Equal(own.Key(), theirs.Key()) || !bytes.Equal(own.Value(), theirs.Value()) {
			m.wrong.add(own.Key(), "not the same in the checkpoint")
			break
		}
		if m.shown.CheckpointEntries++; m.shown.CheckpointEntries%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if theirs.Next() && !bytes.Equal(theirs.Key(), ended) && m.wrong.count == 0 {
		m.wrong.add(theirs.Key(), "only in the checkpoint")
	}
	return errors.Join(own.Err(), theirs.Err())
}

// expire waits until the marker has ended, and looks.
func (m *more) expire(ctx context.Context, until time.Time) error {
	there, err := m.space.Has(marker)
	if err == nil && !there && time.Now().Before(until) {
		m.wrong.add(marker, "ended before its time")
	}
	select {
	case <-time.After(time.Until(until)):
	case <-ctx.Done():
		return ctx.Err()
	}
	still, stillErr := m.space.Has(marker)
	if still {
		m.wrong.add(marker, "there after its time")
	}
	return errors.Join(err, stillErr)
}

// drop deletes all of it by one write, and has its space back.
func (m *more) drop(ctx context.Context) error {
	if err := m.space.Drop(ctx); err != nil {
		return err
	}
	it, err := m.space.NewIterator(nil)
	if err != nil {
		return err
	}
	defer it.Close()
	for key := range it.All() {
		m.wrong.add(key, "dropped, and still there")
	}
	if err := it.Err(); err != nil {
		return err
	}
	if there, err := m.database.Has(m.tree.key(0)); err != nil || !there {
		return errors.Join(err, exit.Failf(exit.Failed, "the range delete took more than its range"))
	}
	start, end := db.PrefixRange(moreSpace)
	return m.database.Compact(ctx, start, end)
}
