package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/wal"
)

// Log writes one MANIFEST: a log whose first record is a snapshot and every
// further one an edit. A MANIFEST is never appended to again once its process has
// ended; the next one starts a new file. Log is used by one goroutine at a time.
//
// Invariant: everything appended is durable, so every record is proof that all
// before it was.
type Log struct{ *wal.Writer }

// CreateLog starts MANIFEST-number in dir with the snapshot of s. When it
// returns, file and directory entry are durable, but CURRENT does not name the
// file yet. When it fails the file is removed; a *base.ShortageError then means that
// it can be tried again.
func CreateLog(fs vfs.Files, dir string, number uint64, s State) (*Log, error) {
	path := filepath.Join(dir, base.ManifestName(number))
	writer, err := wal.Create(fs, path, number, wal.Previous{}, encode(s.Snapshot()))
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return &Log{writer}, nil
}

// Append makes e durable. A *base.ShortageError means that it could not be prepared:
// nothing was written and the Log can be used on. Any other error is final and comes
// again from every later call: whether e is in the file is then unknown until it is
// read.
func (l *Log) Append(e *Edit) error {
	if err := l.Writer.Append(encode(e)); err != nil {
		return err
	}
	return l.Sync()
}

// encode returns the record of an edit. What could not be read back must not
// reach the file, where it would make the database unreadable.
func encode(e *Edit) []byte {
	record := e.AppendTo(nil)
	if _, err := DecodeEdit(record); err != nil {
		panic(fmt.Sprintf("invariant: edit cannot be recorded: %v", err))
	}
	return record
}

// Facts tells what Load found in a MANIFEST besides the State.
type Facts struct {
	End   wal.End // where the log ends, how, and how many torn bytes lie behind
	Edits int     // records read, the snapshot included
}

// Load reads MANIFEST-number in dir and applies its edits. The tables of the State
// have no Handle yet, and its NextFile is beyond number. A torn tail is left out
// and told in Facts. A file that is missing, holds no snapshot, is damaged where
// it was durable, or holds an edit that cannot be applied is a
// *base.CorruptionError; an edit of a newer version is base.ErrIncompatible.
func Load(fsys vfs.Files, dir string, number uint64) (state State, facts Facts, err error) {
	path := filepath.Join(dir, base.ManifestName(number))
	if err := checkFileNumber(number); err != nil {
		return state, facts, base.Corruptf(path, -1, "%v", err)
	}
	file, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state, facts, base.Corruptf(path, -1, "the file is missing")
	}
	if err != nil {
		return state, facts, fmt.Errorf("open MANIFEST: %w", err)
	}
	defer file.Close()
	log, err := wal.Open(file, path, number)
	if err != nil {
		return state, facts, err
	}
	for {
		record, offset, err := log.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return state, facts, err
		}
		e, err := DecodeEdit(record)
		if err != nil {
			return state, facts, base.DamageAt(path, offset, err)
		}
		if state, err = state.Apply(e); err != nil {
			return state, facts, base.Corruptf(path, offset, "edit %d: %v", facts.Edits, err)
		}
		facts.Edits++
	}
	facts.End = log.End()
	if facts.Edits == 0 {
		// The snapshot is durable before CURRENT names the file.
		return state, facts, base.Corruptf(path, 0, "no snapshot; %d bytes do not verify", facts.End.TornBytes)
	}
	state.NextFile = max(state.NextFile, number+1)
	return state, facts, nil
}
