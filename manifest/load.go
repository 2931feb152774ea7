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
func Load(fsys vfs.FS, dir string, number uint64) (State, Facts, error) {
	path := filepath.Join(dir, base.ManifestName(number))
	var facts Facts
	if err := checkFileNumber(number); err != nil {
		return State{}, facts, base.Corruptf(path, -1, "%v", err)
	}
	r, err := OpenReader(fsys, path, number)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, facts, base.Corruptf(path, -1, "the file is missing")
	}
	if err != nil {
		return State{}, facts, err
	}
	defer r.Close()
	state, err := r.replay(&facts)
	if err != nil {
		return State{}, facts, err
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
func OpenReader(fsys vfs.FS, path string, number uint64) (*Reader, error) {
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

// replay applies every edit, starting from nothing.
func (r *Reader) replay(facts *Facts) (State, error) {
	state := State{Version: &Version{}}
	for {
		e, offset, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return State{}, err
		}
		if state, err = state.Apply(e); err != nil {
			return State{}, base.Corruptf(r.path, offset, "edit %d: %v", facts.Edits, err)
		}
		facts.Edits++
	}
	facts.End = r.End()
	if facts.Edits == 0 {
		// The snapshot is durable before CURRENT names the file.
		return State{}, base.Corruptf(r.path, 0, "no snapshot; %d bytes do not verify", facts.End.TornBytes)
	}
	return state, nil
}
