package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

const (
	// Preallocation doubles what is there, so that it takes little where little is written.
	firstStepBytes = 32 << 10
	lastStepBytes  = 512 << 10 // the longest step of zeros: the next sync has to wait for them
	shortStepBytes = 4 << 10   // the next step where the disk was full
	maxWriteBytes  = 128 << 10 // a longer record takes several writes, so that the buffer stays small

	// As many records in a row without a sync make the Writer go over to windows.
	rareSyncRecords     = 16
	lastAllocationBytes = 8 << 20  // the longest step of what the file system fills with zeros
	windowBytes         = 1 << 20  // counts as the process's memory while it is open
	aheadBytes          = 8 << 20  // so much may be on its way to the disk
	maxWindowedBytes    = 16 << 10 // a longer write is as fast by a system call
)

// zeros is what preallocation writes and what "all zero" compares with. Nobody
// ever changes it.
var zeros [64 << 10]byte

// Writer appends records to one log. It writes only into space that it has
// filled with zeros before, so that syncing a record changes no metadata of the
// file system and running out of space never tears a record.
//
// Where syncs are rare, zeros and system calls would cost more than they save. Then
// the file system is asked for zeroed space instead, and records are copied into a
// window on the file (vfs.LogFile). The bytes in the file, their order and what a
// sync or a killed process make of them are the same.
//
// Invariants: logStart <= durable <= offset, and offset + endRoomBytes <=
// reserved, so that a clean close needs no space. Every byte from offset to
// reserved is zero in the file, unless err is set.
type Writer struct {
	file    vfs.File
	name    string
	segment uint64
	binding binding

	offset    int64 // behind the last record
	durable   int64 // everything before it was synced
	reserved  int64 // the file holds records or zeros up to here, all with their place on the disk
	stepBytes int64 // next step of preallocation

	unsynced int             // records since the last sync
	log      vfs.LogFile     // the file, if it offers windows; nil otherwise
	window   *vfs.Window     // where records go while syncs are rare; may be nil
	next     *vfs.Window     // was prepared to come after it; may be nil
	ahead    <-chan prepared // the answer of whoever was asked (see Ahead); nil: nobody was
	syncing  bool            // for a sync

	// Ask, if it is set, is called when a window was used up: somebody shall prepare what comes
	// next. It must not wait. No more than one is under way.
	Ask func(*Ahead)

	interrupted func() error // says why a record under way is to be given up; nil: never, see Prepare

	// While syncs are rare, the disk works on what was written meanwhile: less is left for the
	// sync at the end of the segment, and whoever writes feels a disk that is slower.
	writeback vfs.Writeback

	buffer []byte // the chunks of one write
	err    error  // the first failure but a shortage, or base.ErrClosed; final
	closed bool
}

// Create makes the file of a new log and starts the log, with some records where there
// are any. When it returns, file and directory entry are durable. On an error nothing is
// left of it; a *base.ShortageError then means that it can be tried again.
func Create(fs vfs.Files, path string, segment uint64, previous Previous, records ...[]byte) (*Writer, error) {
	file, err := fs.Create(path)
	if err != nil {
		return nil, vfs.Shortage(err)
	}
	w, err := NewWriter(file, path, segment, previous)
	for _, record := range records {
		if err == nil {
			err = w.Append(record)
		}
	}
	if err == nil {
		err = w.Sync()
	}
	if err == nil {
		if err = fs.SyncDir(filepath.Dir(path)); err == nil {
			return w, nil
		}
		err = fmt.Errorf("syncing %s: %w", filepath.Dir(path), err)
	}
	return nil, errors.Join(err, file.Close(), fs.Remove(path))
}

// NewWriter starts a log in the empty file f: it preallocates, writes the header
// and syncs it. The entry in the directory is the caller's to sync; so is f to
// close and to remove when NewWriter fails. name is for messages; segment is the
// number that every checksum covers.
//
// A *base.ShortageError means that f holds zeros at most, so that nothing is there
// even if f should outlive its removal. (Some file systems find out about a lack of
// room at the sync: the zeros are synced for that.)
func NewWriter(f vfs.File, name string, segment uint64, previous Previous) (*Writer, error) {
	sizeBytes, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("size of log %s: %w", name, vfs.Shortage(err))
	}
	if sizeBytes != 0 {
		panic(fmt.Sprintf("invariant: new log %s has %d bytes already", name, sizeBytes))
	}
	w := &Writer{
		file: f, name: name, segment: segment,
		binding:   newBinding(segment),
		stepBytes: firstStepBytes,
		buffer:    make([]byte, 0, BlockBytes),
	}
	w.log, _ = f.(vfs.LogFile)
	w.writeback = vfs.NewWriteback(f, aheadBytes)
	if err := w.Reserve(logHeaderBytes); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("sync preallocated log %s: %w", name, vfs.Shortage(err))
	}
	if err := w.write(w.binding.appendHeader(w.buffer[:0], previous), 0); err != nil {
		return nil, err
	}
	w.offset = logStart
	return w, w.Sync()
}

// Segment returns the number of the log.
func (w *Writer) Segment() uint64 { return w.segment }

// Offset returns the logical end of the log: the offset behind the last record.
func (w *Writer) Offset() int64 { return w.offset }

// Closed reports whether Close was called, or Finish.
func (w *Writer) Closed() bool { return w.closed }

// Durable returns the offset up to which the log has been synced.
func (w *Writer) Durable() int64 { return w.durable }

// ReservedBytes returns the size of the file, preallocated zeros included.
func (w *Writer) ReservedBytes() int64 { return w.reserved }

// Reserve ensures that a record of that many bytes lies in preallocated space,
// so that appending it cannot run out of any. When it fails the file is as long as before,
// and after a *base.ShortageError the writer stays usable.
func (w *Writer) Reserve(payload int64) error {
	if w.err != nil || w.Room(payload) || w.collect(true) && w.Room(payload) {
		return w.err
	}
	need, start := recordLimit(w.offset, payload), w.reserved
	filled, end := start, start
	err := errors.ErrUnsupported // of who is not asked
	if w.syncsAreRare() {
		end = max(need, start+min(w.stepBytes, lastAllocationBytes))
		if err = w.log.Allocate(start, end-start); err != nil {
			w.giveBack(start) // zeros find out how much there is room for
		}
	}
	if err != nil {
		end = max(need, start+min(w.stepBytes, lastStepBytes))
		filled, err = w.fill(start, end)
	}
	if err == nil {
		w.reserved, w.stepBytes = end, min(2*w.stepBytes, end)
		return nil
	}
	w.stepBytes = shortStepBytes
	if base.IsShortage(err) && filled >= need { // the step was too long, but the record fits
		w.giveBack(need)
		return nil
	}
	w.giveBack(start)
	err = fmt.Errorf("preallocate log %s at offset %d: %w", w.name, filled, err)
	if !base.IsShortage(err) {
		w.err = err
	}
	return err
}

// Room reports whether a record of that many bytes fits into what is reserved already.
func (w *Writer) Room(payload int64) bool { return recordLimit(w.offset, payload) <= w.reserved }

// fill writes zeros from start to end and returns how far it came.
func (w *Writer) fill(start, end int64) (filled int64, err error) {
	for filled = start; filled < end && err == nil; {
		var n int
		n, err = w.file.WriteAt(zeros[:min(int64(len(zeros)), end-filled)], filled)
		filled += int64(n)
	}
	return filled, vfs.Shortage(err)
}

// giveBack cuts off what was preallocated behind end: who else writes to a full disk
// needs it more. Where the system refuses that, zeros stay in the file, which do no harm.
func (w *Writer) giveBack(end int64) {
	w.reserved = end
	_ = w.file.Truncate(end)
}

// syncsAreRare reports whether the file can, and should, be written through windows.
func (w *Writer) syncsAreRare() bool { return w.log != nil && w.unsynced >= rareSyncRecords }

// recordLimit returns an offset that a record of payload bytes appended at
// offset, and an End chunk behind it, cannot exceed.
func recordLimit(offset, payload int64) int64 {
	if payload < 0 {
		panic(fmt.Sprintf("invariant: record of %d bytes", payload))
	}
	n := payload + maxLagBytes
	chunks := n/fullPayloadBytes + 2
	return chunkStart(offset) + n + chunks*chunkHeaderBytes + endRoomBytes
}

// Append writes one record, the concatenation of parts, with a single WriteAt
// unless it is longer than 128 KiB. It reserves space itself where Reserve was not
// called. A *base.ShortageError changes nothing. Any other failure is final: every later
// call returns it.
func (w *Writer) Append(parts ...[]byte) error {
	payload := 0
	for _, p := range parts {
		payload += len(p)
	}
	if err := w.Reserve(int64(payload)); err != nil {
		return err
	}
	at := chunkStart(w.offset) // where the buffer goes
	buffer := binary.AppendUvarint(w.buffer[:chunkHeaderBytes], uint64(at-w.durable))
	chunk := 0 // where the chunk being filled starts in the buffer
	room := BlockBytes - int(at%BlockBytes) - len(buffer)
	cut, whole := TypeFirst, TypeFull // what the chunk is if the record goes on behind it, and if not
	for _, p := range parts {
		for len(p) > 0 {
			if room == 0 {
				w.binding.seal(buffer[chunk:], cut, at+int64(chunk))
				if len(buffer) > maxWriteBytes-BlockBytes {
					if err := w.write(buffer, at); err != nil {
						return err
					}
					at, buffer = at+int64(len(buffer)), buffer[:0]
				}
				chunk, room = len(buffer), fullPayloadBytes
				buffer = append(buffer, zeros[:chunkHeaderBytes]...)
				cut, whole = TypeMiddle, TypeLast
			}
			n := min(room, len(p))
			buffer = append(buffer, p[:n]...)
			p, room = p[n:], room-n
		}
	}
	w.binding.seal(buffer[chunk:], whole, at+int64(chunk))
	if err := w.write(buffer, at); err != nil {
		return err
	}
	w.offset = at + int64(len(buffer))
	w.unsynced++
	return nil
}

// write puts chunks at offset, behind the last record and inside what is reserved.
func (w *Writer) write(chunks []byte, offset int64) error {
	if end := offset + int64(len(chunks)); end > w.reserved || offset < w.offset {
		panic(fmt.Sprintf("invariant: write to log %s from %d to %d, outside %d to %d", w.name, offset, end, w.offset, w.reserved))
	}
	w.buffer = chunks[:0] // it may have grown
	if w.interrupted != nil {
		if w.err = w.interrupted(); w.err != nil {
			return w.err
		}
	}
	if _, err := w.way(offset, len(chunks)).WriteAt(chunks, offset); err != nil {
		w.err = fmt.Errorf("write to log %s at offset %d: %w", w.name, offset, err)
		return w.err
	}
	if w.unsynced >= rareSyncRecords { // whoever has prepared a window has begun what lies before the last
		if err := w.writeback.Wrote(offset + int64(len(chunks)) - windowBytes); err != nil {
			w.err = fmt.Errorf("sync log %s: %w", w.name, err)
		}
	}
	return w.err
}

// way returns what takes the next write: the file, or a window on it.
func (w *Writer) way(offset int64, length int) io.WriterAt {
	switch {
	case !w.syncsAreRare() || length > maxWindowedBytes:
		return w.file
	case w.window.Covers(offset, length):
	case !w.collect(false): // the next one is not ready: the file can be written without
		return w.file
	case w.moveWindow(offset, length) != nil:
		w.log = nil
		return w.file
	}
	return w.window
}

// moveWindow goes over to the next window, or opens one from offset on where none was
// prepared.
func (w *Writer) moveWindow(offset int64, length int) error {
	used := w.window
	if w.next.Covers(offset, length) {
		w.window, w.next = w.next, nil
	} else {
		err := w.closeWindows()
		if err != nil {
			return err
		}
		start := offset - offset%vfs.WindowAlignBytes
		if w.window, err = w.log.Map(start, min(w.reserved-start, windowBytes)); err != nil {
			return err
		}
		if used == nil { // the first one: perhaps not much is written
			return nil
		}
		used = nil
	}
	w.askAhead(used)
	return nil
}

// Sync makes every record durable that was appended before. It does nothing
// where everything is durable already. A failure is final and never retried: after
// it nobody knows what the disk holds.
func (w *Writer) Sync() error {
	if w.err != nil {
		return w.err
	}
	if w.durable == w.offset {
		return nil
	}
	err := w.file.Sync()
	if w.syncing { // an error of the disk is told once: perhaps not to us
		w.collect(true)
		err = cmp.Or(w.err, err)
	}
	if err == nil {
		// What is durable in a file that nobody can find is lost. Where the system would not
		// tell, the file is taken to be in its place.
		if displaced := w.file.Check(); errors.Is(displaced, vfs.ErrDisplaced) {
			err = displaced
		}
	}
	if err != nil {
		w.err = fmt.Errorf("sync log %s: %w", w.name, err)
		return w.err
	}
	if !w.syncsAreRare() { // any more: nobody needs the window
		_ = w.closeWindows()
	}
	w.durable, w.unsynced = w.offset, 0
	return nil
}

// Finish closes the log properly: it syncs, writes the End chunk, cuts the
// preallocated space, syncs again and closes the file. end is the offset behind
// the End chunk. The file is closed also when Finish fails.
func (w *Writer) Finish() (end int64, err error) {
	err = w.Sync()
	if err == nil {
		err = w.writeEnd()
	}
	return w.offset, cmp.Or(err, w.Close())
}

func (w *Writer) writeEnd() error {
	chunk := w.buffer[:chunkHeaderBytes]
	at := chunkStart(w.offset)
	w.binding.seal(chunk, TypeEnd, at)
	if err := w.write(chunk, at); err != nil {
		return err
	}
	w.offset = at + chunkHeaderBytes
	if err := errors.Join(w.closeWindows(), w.file.Truncate(w.offset)); err != nil {
		w.err = fmt.Errorf("cut log %s to %d bytes: %w", w.name, w.offset, err)
		return w.err
	}
	w.reserved = w.offset
	return w.Sync()
}

// Close closes the file without an End chunk and without a sync, and gives the space
// behind the last record back: what a segment with a successor does not hold is nobody's.
// A reader takes the end of the file for what zeros are, so it does not matter whether a
// crash undoes the cut. After a failure the file stays as it is. Later calls return nil;
// appending to a closed log fails with base.ErrClosed.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	err := w.closeWindows()
	if w.err == nil {
		if w.offset < w.reserved {
			w.giveBack(w.offset)
		}
		w.err = fmt.Errorf("log %s: %w", w.name, base.ErrClosed)
	}
	if err = errors.Join(err, w.file.Close()); err != nil {
		return fmt.Errorf("close log %s: %w", w.name, err)
	}
	return nil
}
