package tour

import (
	"context"
	"fmt"
	"time"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
	"lsmdb/internal/beside"
)

// The steps of the tour, in their order.

func (t *tour) gather(ctx context.Context, root string) (err error) {
	start := time.Now()
	if t.tree, err = collect(ctx, root); err != nil {
		return err
	}
	t.acked = make([]bool, len(t.tree.files))
	t.sayf("%s\n%s\n\n", t.ink.Bold("A tour of lsmdb"), t.ink.Faint(tourPreface))
	t.done("source", start, "%s, %s, in %s", units.Plural(len(t.tree.files), "file", "files"), units.Size(t.tree.totalBytes), root)
	if n := len(t.tree.skipped); n > 0 {
		t.sayf("%*s%s\n", stepIndent, "", t.wrapped(t.ink.Warm(fmt.Sprintf("%s left out, unreadable or too large; the first: %s", units.Plural(n, "file", "files"), t.tree.skipped[0]))))
	}
	return nil
}

func (t *tour) load(ctx context.Context) error {
	start := time.Now()
	if err := t.loadAndKill(ctx); err != nil {
		return err
	}
	t.result.LoadSeconds = time.Since(start).Seconds()
	t.done("load", start, "in another process, %s: killed after %s, %s, were acknowledged", units.Rate(t.ackedBytes, time.Since(start)),
		units.Plural(t.ackedFiles, "file", "files"), units.Size(t.ackedBytes))
	return nil
}

// recover reopens the database that the killed process left behind.
func (t *tour) recover(ctx context.Context) (err error) {
	start := time.Now()
	paint := func() []string { return []string{"  " + t.display.Ink.Bold("recovering")} }
	err = t.display.During(ctx, paint, func(context.Context) error {
		t.database, err = db.Open(t.dir, tourOptions(t.console))
		return err
	})
	if err != nil {
		return fmt.Errorf("reopen after the kill: %w", err)
	}
	m := t.database.Metrics()
	t.result.Recovery = m.Recovery
	if m.Recovery.Created || m.Recovery.CleanClose {
		return exit.Failf(exit.Failed, "the database does not know that its process was killed: %s", display.RecoverySentence(&m.Recovery))
	}
	t.done("recover", start, "%s", display.RecoverySentence(&m.Recovery))
	return nil
}

// check compares every acknowledged file with the disk. Files that were written
// but whose acknowledgement never came may be there or not; if they are, they
// must be whole.
func (t *tour) check(ctx context.Context) error {
	start := time.Now()
	var wrong differences
	var doneBytes int64
	unacknowledged := 0
	for index, f := range t.tree.files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !t.acked[index] {
			switch there, err := t.database.Has(t.tree.key(index)); {
			case err != nil:
				return err
			case !there:
				continue
			}
			unacknowledged++
		}
		if err := t.compare(index, false, &wrong); err != nil {
			return err
		}
		doneBytes += f.sizeBytes
		t.live(display.Progress{Verb: "checking", Done: doneBytes, Total: t.ackedBytes, Since: start})
	}
	if err := wrong.failure(); err != nil {
		return err
	}
	more := ""
	if unacknowledged > 0 {
		more = fmt.Sprintf("; %s more were stored but not acknowledged yet", units.Count(unacknowledged))
	}
	t.done("check", start, "all %s acknowledged files are there, byte for byte%s", units.Count(t.ackedFiles), more)
	return nil
}

// finish loads every file that was not acknowledged.
func (t *tour) finish(ctx context.Context) error {
	start := time.Now()
	restBytes := t.tree.totalBytes - t.ackedBytes
	var doneBytes int64
	files := 0
	loader := newFileLoader(t.database, t.tree, func(_, valueBytes int) error {
		doneBytes += int64(valueBytes)
		files++
		t.live(display.Progress{Verb: "finishing", Done: doneBytes, Total: restBytes, Detail: units.Plural(files, "file", "files"), Since: start})
		return nil
	})
	for index, acked := range t.acked {
		if acked {
			continue
		}
		if err := loader.add(ctx, index); err != nil {
			return err
		}
	}
	if err := loader.drain(ctx); err != nil {
		return err
	}
	t.done("finish", start, "the other %s, %s, %s", units.Plural(files, "file", "files"), units.Size(doneBytes), units.Rate(doneBytes, time.Since(start)))
	return nil
}

// change overwrites and deletes a part, each as a commit on its own that is
// waited for, so that the times are those of single puts.
func (t *tour) change(ctx context.Context) error {
	start := time.Now()
	synced, unsynced, deletes := newTimings("put, synced"), newTimings("put, not synced"), newTimings("delete, not synced")
	overwritten := 0
	for index := range t.tree.files {
		var err error
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case isOverwritten(index) && index%2 == 0:
			err = t.overwrite(ctx, index, db.Sync, synced)
			overwritten++
		case isOverwritten(index):
			err = t.overwrite(ctx, index, db.NoSync, unsynced)
			overwritten++
		case isDeleted(index):
			err = deletes.time(0, func() error { return t.database.Delete(t.tree.key(index), db.NoSync) })
		}
		if err != nil {
			return err
		}
		t.live(display.Progress{Verb: "changing", Done: int64(index), Total: int64(len(t.tree.files)), Items: "files", Since: start})
	}
	if err := t.database.Sync(ctx); err != nil {
		return err
	}
	t.result.Timings = append(t.result.Timings, synced, unsynced, deletes)
	t.done("change", start, "%s overwritten, %s deleted", units.Plural(overwritten, "file", "files"), units.Count(len(deletes.spans)))
	return nil
}

func (t *tour) overwrite(ctx context.Context, index int, how db.Durability, into *timings) error {
	content, err := t.tree.content(index)
	if err != nil {
		return err
	}
	content = changed(content)
	batch := t.database.NewBatch()
	if err := batch.Put(t.tree.key(index), content); err != nil {
		return err
	}
	return into.time(len(content), func() error { return t.database.Apply(ctx, batch, how) })
}

func (t *tour) compact(ctx context.Context) error {
	start := time.Now()
	before := t.database.Metrics()
	if err := access.Compact(ctx, t.display, t.database, nil, nil); err != nil {
		return err
	}
	after := t.database.Metrics()
	tablesBefore, bytesBefore := before.Tables()
	tablesAfter, bytesAfter := after.Tables()
	t.done("compact", start, "%s with %s became %s with %s", units.Plural(tablesBefore, "table", "tables"), units.Size(bytesBefore),
		units.Plural(tablesAfter, "table", "tables"), units.Size(bytesAfter))
	return nil
}

// verify compares everything with the disk by its key, then scans once over all
// of it: deleted keys must be gone and nothing may be there that was not put.
func (t *tour) verify(ctx context.Context) error {
	start := time.Now()
	var wrong differences
	var doneBytes int64
	present := make(map[string]int64, len(t.tree.files)) // key to length of its value
	for index, f := range t.tree.files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		key := t.tree.key(index)
		if isDeleted(index) {
			switch there, err := t.database.Has(key); {
			case err != nil:
				return err
			case there:
				wrong.add(key, "deleted, but still there")
			}
			continue
		}
		if err := t.compare(index, isOverwritten(index), &wrong); err != nil {
			return err
		}
		present[f.path] = f.sizeBytes
		if isOverwritten(index) {
			present[f.path] += int64(len(changedMark))
		}
		doneBytes += f.sizeBytes
		t.live(display.Progress{Verb: "verifying", Done: doneBytes, Total: t.tree.totalBytes, Since: start})
	}
	if err := t.scanAll(ctx, present, &wrong); err != nil {
		return err
	}
	if err := wrong.failure(); err != nil {
		return err
	}
	t.done("verify", start, "all %s files are as they should be, all deleted ones are gone, a scan finds nothing else", units.Count(len(present)))
	return nil
}

// scanAll walks everything once and times it.
func (t *tour) scanAll(ctx context.Context, present map[string]int64, wrong *differences) error {
	it, err := t.database.NewIterator(nil)
	if err != nil {
		return err
	}
	defer it.Close()
	seen := 0
	last := ""
	start := time.Now()
	var rawBytes int64
	err = beside.Walk(ctx, it, false, func(key, value []byte) (bool, error) {
		rawBytes += int64(len(key) + len(value))
		wanted, ok := present[string(key)]
		switch {
		case !ok:
			wrong.add(key, "the scan finds it, but it was deleted or never stored")
		case int64(len(value)) != wanted:
			wrong.add(key, fmt.Sprintf("the scan finds %s bytes, not %s", units.Count(len(value)), units.Count(wanted)))
		case seen > 0 && string(key) <= last:
			wrong.add(key, "the scan finds it out of order")
		}
		last = string(key)
		seen++
		return true, nil
	})
	if err != nil {
		return err
	}
	if seen != len(present) {
		wrong.add(nil, fmt.Sprintf("the scan finds %s keys, not %s", units.Count(seen), units.Count(len(present))))
	}
	t.result.RawBytes, t.result.Entries = rawBytes, seen
	t.result.ScanSeconds = time.Since(start).Seconds()
	return nil
}

// examine closes the database and lets db.Verify read every byte of it.
func (t *tour) examine(ctx context.Context) error {
	start := time.Now()
	t.result.Metrics = t.database.Metrics()
	err := t.database.Close()
	t.database = nil
	if err != nil {
		return fmt.Errorf("close: %w", err)
	}
	report, err := access.Verify(ctx, t.display, t.dir)
	if err != nil {
		return err
	}
	if !report.OK() {
		return exit.Failf(exit.Failed, "the database is damaged after the tour: %s", access.ProblemLine(display.Ink{}, report.Problems[0]))
	}
	for _, f := range report.Files {
		t.result.StoredBytes += f.Bytes
	}
	t.done("examine", start, "every byte of %s, %s, is sound", units.Plural(len(report.Files), "file", "files"), units.Size(t.result.StoredBytes))
	return nil
}
