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
type Log struct {
	writer *wal.Writer
	number uint64
	path   string
	err    error // the first failure that was final
}

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
	return &Log{writer: writer, number: number, path: path}, nil
}

// Append makes e durable. A *base.ShortageError means that it could not be prepared:
// nothing was written and the Log can be used on. Any other error is final and comes
// again from every later call: whether e is in the file is then unknown until it is
// read.
func (l *Log) Append(e *Edit) error {
	if l.err != nil {
		return l.err
	}
	record := encode(e)
	err := l.writer.Reserve(int64(len(record)))
	if base.IsShortage(err) {
		return err
	}
	if err == nil {
		err = l.writer.Append(record)
	}
	if err == nil {
		err = l.writer.Sync()
	}
	return l.final("append to", err)
}

// SizeBytes returns the length of the log, without what is preallocated.
func (l *Log) SizeBytes() int64 { return l.writer.Offset() }

// Number returns the file number.
func (l *Log) Number() uint64 { return l.number }

// Finish ends the log with a clean-close mark, made durable, closes the file and
// returns its size, which is what CURRENT's clean mark records. The file is closed
// also when Finish fails.
func (l *Log) Finish() (end int64, err error) {
	if l.err != nil {
		_ = l.writer.Close() // the first error says more
		return 0, l.err
	}
	end, err = l.writer.Finish()
	return end, l.final("finish", err)
}

// Close closes the file without a mark. It is idempotent, and does nothing after
// Finish.
func (l *Log) Close() error { return l.writer.Close() }

// final makes err, if there is one, the answer of every further call.
func (l *Log) final(operation string, err error) error {
	if err != nil {
		l.err = fmt.Errorf("%s %s: %w", operation, l.path, err)
	}
	return l.err
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
	r, err := OpenReader(fsys, path, number)
	if errors.Is(err, fs.ErrNotExist) {
		return state, facts, base.Corruptf(path, -1, "the file is missing")
	}
	if err != nil {
		return state, facts, err
	}
	defer r.Close()
	for {
		e, offset, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return state, facts, err
		}
		if state, err = state.Apply(e); err != nil {
			return state, facts, base.Corruptf(path, offset, "edit %d: %v", facts.Edits, err)
		}
		facts.Edits++
	}
	facts.End = r.End()
	if facts.Edits == 0 {
		// The snapshot is durable before CURRENT names the file.
		return state, facts, base.Corruptf(path, 0, "no snapshot; %d bytes do not verify", facts.End.TornBytes)
	}
	state.NextFile = max(state.NextFile, number+1)
	return state, facts, nil
}

// Reader reads the edits of one MANIFEST file. It is used by one goroutine at a
// time.
type Reader struct {
	file vfs.File
	path string
	log  *wal.Reader
}

// OpenReader opens the MANIFEST at path, which was written under the given file
// number.
func OpenReader(fsys vfs.Files, path string, number uint64) (*Reader, error) {
	file, err := fsys.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open MANIFEST: %w", err)
	}
	log, err := wal.Open(file, path, number)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Reader{file: file, path: path, log: log}, nil
}

// Next returns the next edit and the offset of its record, io.EOF at the end of
// the log. Errors are as for Load; after an edit that does not decode, Next may go
// on with the one after it.
func (r *Reader) Next() (e *Edit, offset int64, err error) {
	record, offset, err := r.log.Next()
	if err != nil {
		return nil, offset, err
	}
	if e, err = DecodeEdit(record); err != nil {
		return nil, offset, base.DamageAt(r.path, offset, err)
	}
	return e, offset, nil
}

// End tells how the log ended, once Next has returned io.EOF.
func (r *Reader) End() wal.End { return r.log.End() }

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }
