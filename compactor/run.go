package compactor

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"lsmdb/internal/base"
	"lsmdb/internal/merge"
	"lsmdb/internal/output"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// Stats says what a job cost.
type Stats struct {
	BytesRead, BytesWritten int64
	EntriesIn, EntriesOut   uint64
}

const (
	pauseBytes     = 1024      // entries between two looks at ctx: a few microseconds
	readAheadBytes = 256 << 10 // inputs are read from end to end
)

// merging is one Run in progress.
type merging struct {
	job       *Job
	entries   base.Iterator
	retention *output.Retention
	tables    *output.Tables
	yield     func()
	stats     Stats
}

// Run merges the inputs and returns the tables that replace them, durable but not
// yet part of any Version: apply Edit(outputs) next. snapshots are the live ones in
// ascending order; newer ones may appear meanwhile. v is a Version that holds the
// job's tables. yield is called every few microseconds, so that others get the processor.
//
// It ends early with the cause of ctx. On any error no output is left behind and
// the inputs are untouched: the same tables may be tried again, except after
// output.ErrDirectorySync, or when Damaged names some. Its calls, for different jobs, may
// run concurrently.
func (j *Job) Run(ctx context.Context, env output.Environment, snapshots []base.Seq, v *manifest.Version, yield func()) ([]*manifest.TableMeta, Stats, error) {
	if j.Trivial {
		panic("invariant: a trivial compaction is run")
	}
	entries, err := j.open()
	if err != nil {
		return nil, Stats{}, fmt.Errorf("%s: %w", j, err)
	}
	m := &merging{
		job:       j,
		entries:   entries,
		retention: output.NewRetention(snapshots, j.newDepths(v).none),
		tables:    output.NewTables(env, j.newCutter().cut),
		yield:     yield,
	}
	outputs, err := m.run(ctx)
	if err != nil {
		return nil, Stats{}, fmt.Errorf("%s: %w", j, err)
	}
	m.stats.BytesRead = j.InputBytes()
	m.stats.BytesWritten = totalBytes(outputs)
	return outputs, m.stats, nil
}

func (m *merging) run(ctx context.Context) ([]*manifest.TableMeta, error) {
	err := m.copyEntries(ctx)
	err = errors.Join(err, m.entries.Close())
	if err == nil {
		err = m.checkComplete()
	}
	if err != nil {
		return nil, errors.Join(err, m.tables.Abort())
	}
	return m.tables.Finish()
}

func (m *merging) copyEntries(ctx context.Context) error {
	unpausedBytes := pauseBytes // look at ctx before the first entry
	for ok := m.entries.First(); ok; ok = m.entries.Next() {
		if unpausedBytes >= pauseBytes {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			m.yield()
			unpausedBytes = 0
		}
		key, value := m.entries.Key(), m.entries.Value()
		unpausedBytes += len(key) + len(value)
		m.stats.EntriesIn++
		if !m.retention.Keep(key) {
			continue
		}
		m.stats.EntriesOut++
		if err := m.tables.Add(key, value); err != nil {
			return err
		}
	}
	return nil // an error of the iterator comes out of its Close
}

// checkComplete compares what was read with what the manifest says of the inputs,
// before they are thrown away for it.
func (m *merging) checkComplete() error {
	var want uint64
	for _, t := range m.job.tables() {
		want += t.Entries
	}
	if m.stats.EntriesIn != want {
		return base.Corruptf("inputs of the compaction", -1, "%d entries were read, the manifest counts %d", m.stats.EntriesIn, want)
	}
	return nil
}

// open returns all entries of the inputs in internal order.
func (j *Job) open() (base.Iterator, error) {
	options := sstable.IteratorOptions{NoFill: true, ReadAheadBytes: readAheadBytes}
	var runs []base.Iterator
	if j.Level == 0 {
		for _, t := range j.Inputs {
			table, err := t.Handle.Table()
			if err != nil {
				return nil, errors.Join(err, merge.New(runs...).Close())
			}
			runs = append(runs, table.NewIterator(options))
		}
	} else {
		runs = append(runs, manifest.NewLevelIterator(j.Inputs, options))
	}
	if len(j.Overlaps) > 0 {
		runs = append(runs, manifest.NewLevelIterator(j.Overlaps, options))
	}
	return merge.New(runs...), nil
}

// cutter ends an output where the next one should begin.
type cutter struct {
	job          *Job
	grandparents []*manifest.TableMeta // not yet passed
	passedBytes  int64                 // of those passed since the last cut
}

func (j *Job) newCutter() *cutter { return &cutter{job: j, grandparents: j.Grandparents} }

// cut is asked with ascending user keys. A table ends at its full size, or where
// it overlaps too much of the level after next. Where a grandparent ends is also a
// good place once it is half full: tables whose borders coincide overlap fewer of
// each other when they are compacted.
func (c *cutter) cut(sizeBytes int64, next []byte) bool {
	passed := false
	for len(c.grandparents) > 0 && bytes.Compare(c.grandparents[0].Largest.UserKey(), next) < 0 {
		c.passedBytes += c.grandparents[0].SizeBytes
		c.grandparents = c.grandparents[1:]
		passed = true
	}
	if sizeBytes >= c.job.TableBytes || c.passedBytes > c.job.OverlapBytes || (passed && sizeBytes >= c.job.TableBytes/2) {
		c.passedBytes = 0
		return true
	}
	return false
}

// depths tells what lies deeper than a job's output, for ascending user keys.
type depths struct {
	levels [][]*manifest.TableMeta // of each deeper level, what the keys have not yet passed
}

func (j *Job) newDepths(v *manifest.Version) *depths {
	d := &depths{}
	for level := j.OutputLevel + 1; level <= bottom; level++ {
		if tables := v.Overlapping(level, j.Lower, j.Upper); len(tables) > 0 {
			d.levels = append(d.levels, tables)
		}
	}
	return d
}

// none reports whether no deeper table can hold the user key.
func (d *depths) none(userKey []byte) bool {
	for i, tables := range d.levels {
		for len(tables) > 0 && bytes.Compare(tables[0].Largest.UserKey(), userKey) < 0 {
			tables = tables[1:]
		}
		d.levels[i] = tables
		if len(tables) > 0 && bytes.Compare(tables[0].Smallest.UserKey(), userKey) <= 0 {
			return false
		}
	}
	return true
}
