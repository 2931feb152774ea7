package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"lsmdb/internal/vfs"
)

// A record that takes long to write holds up who else writes to the log. So it can be given a
// log of its own, beforehand and by anybody: Prepare writes and syncs all of it, though
// neither what comes before the log is known nor the first bytes of the record. These lie in
// the first block, which Place completes when the time has come. Until then the file has a
// temporary name: to a reader there is no such log, as if nothing had been written.

// unplaced is what the name of a prepared log ends with.
const unplaced = ".tmp"

// Prepare makes the file of a log that holds one record, the concatenation of parts. All of it
// is durable, but it is nobody's log before Place. Interrupted is asked on the way; its error
// ends the work. On an error nothing is left; all that was done was to prepare, so a
// *base.ShortageError means that it can be tried again. Either Place or Discard is to follow.
func Prepare(fs vfs.Files, path string, segment uint64, interrupted func() error, parts ...[]byte) (*Writer, error) {
	file, err := fs.Create(path + unplaced)
	if err != nil {
		return nil, vfs.Shortage(err)
	}
	w, err := NewWriter(file, path+unplaced, segment, Previous{})
	if err != nil {
		return nil, errors.Join(vfs.Shortage(err), file.Close(), fs.Remove(path+unplaced))
	}
	payload := 0
	for _, p := range parts {
		payload += len(p)
	}
	// As where syncs are rare, the file system makes the zeros, and the disk works meanwhile.
	w.unsynced, w.interrupted = rareSyncRecords, interrupted
	err = w.Reserve(int64(payload))
	w.log = nil // no window is worth while
	if err == nil {
		err = w.Append(parts...)
	}
	if err == nil {
		w.giveBack(w.offset)
		err = w.Sync()
	}
	if err != nil {
		return nil, errors.Join(vfs.Shortage(err), w.Discard(fs))
	}
	return w, nil
}

// Place makes a prepared log the one that follows previous, under its own name. Start takes the
// place of the first bytes of its record. When Place returns, all of it is durable, and the
// log is closed: what comes next goes to another one. A *base.ShortageError means that it is
// still prepared, and that Place can be called again with the same.
func (w *Writer) Place(fs vfs.Files, path string, previous Previous, start []byte) error {
	var err error
	if !w.closed {
		err = w.complete(previous, start)
	}
	if err == nil {
		err = fs.Rename(w.name, path)
	}
	if err != nil {
		return fmt.Errorf("complete log %s: %w", path, vfs.Shortage(err)) // which nobody knows yet
	}
	if err := fs.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("syncing %s: %w", filepath.Dir(path), err)
	}
	return nil
}

// complete writes the first block again, and closes the file: some systems rename no others.
func (w *Writer) complete(previous Previous, start []byte) error {
	block := make([]byte, min(BlockBytes, w.offset))
	if n, err := w.file.ReadAt(block, 0); n < len(block) {
		return err
	}
	w.binding.appendHeader(block[:0], previous)
	chunk := block[logStart:]
	chunk = chunk[:chunkHeaderBytes+int(binary.LittleEndian.Uint16(chunk[lengthAt:]))]
	copy(chunk[chunkHeaderBytes+1:], start) // behind a durable mark of one byte: all up to here is
	w.binding.seal(chunk, ChunkType(chunk[typeAt]), logStart)
	if _, err := w.file.WriteAt(block, 0); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	return w.Close()
}

// Discard removes a prepared log that is not to be placed.
func (w *Writer) Discard(fs vfs.Files) error {
	return errors.Join(w.Close(), vfs.RemoveInSteps(fs, w.name, nil))
}
