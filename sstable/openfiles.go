package sstable

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/vfs"
)

// OpenFiles is the set of a database's open table files, which it bounds. The zero value
// is ready and bounds nothing; all methods may be called concurrently.
//
// Where one file too many is needed, the set closes one that was not read lately and
// that nobody reads at the moment. Only if all are being read the newcomer waits, for as
// long as one of these reads takes. The same happens when the system is out of descriptors:
// reads get by with as few as there are, and fail only if there is not a single one.
type OpenFiles struct {
	// These are set before the first use.
	Limit   int             // how many may be open at once; 0: any number
	Account *budget.Account // pays for tables that are loaded, and for what is read ahead; nil: nobody does

	waiting atomic.Int32 // for a read to end: it says so only if somebody wants to hear it

	// The mutex guards what follows. Reads of open files do not touch it, and it is not
	// held while a file is opened.
	mu      sync.Mutex
	changed sync.Cond            // there may be room: a read has ended, or a file was closed or not opened
	handles map[*Handle]struct{} // every table of which something may be in memory
	open    list.List            // of *openFile: a clock whose hand points at the first
	opening int
	closed  bool
	shuts   uint64 // how often a file was closed: who was out of descriptors then tries again
}

// openFile is an open file of a table.
type openFile struct {
	vfs.File
	handle  *Handle
	element *list.Element // of OpenFiles.open
	reads   atomic.Int64  // under way; negative from when the file is closed to make room
	used    atomic.Bool   // since the clock's hand came by
}

// begin notes that a read begins. It returns false if the file is no longer open.
func (f *openFile) begin() bool {
	if f.reads.Add(1) <= 0 {
		return false
	}
	if !f.used.Load() {
		f.used.Store(true)
	}
	return true
}

// end notes that a read has ended.
func (o *OpenFiles) end(f *openFile) {
	if f.reads.Add(-1) == 0 && o.waiting.Load() > 0 {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.changed.Signal()
	}
}

// Len returns the number of open files.
func (o *OpenFiles) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open.Len()
}

// CloseAll closes every table in the set, and none is open when it returns. Reads fail
// with base.ErrClosed from now on, also those under way, and so does opening another
// one. It is idempotent.
func (o *OpenFiles) CloseAll() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	var errs []error
	for h := range o.handles {
		h.closed.Store(true)
		h.unload()
		if err := o.shut(h); err != nil {
			errs = append(errs, fmt.Errorf("close table %s: %w", h.name, err))
		}
	}
	clear(o.handles)
	o.changed.Broadcast()
	for o.opening > 0 {
		o.wait()
	}
	return errors.Join(errs...)
}

// GiveTables unloads tables, first those that were not read since it was called last, until
// so many bytes are given back, or all are. It returns how many.
func (o *OpenFiles) GiveTables(bytes int64) (given int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for range 2 {
		for h := range o.handles {
			if given >= bytes {
				return given
			}
			if h.used.And(^usedForUnloading)&usedForUnloading == 0 {
				given += h.unload()
			}
		}
	}
	return given
}

// reopen opens the file of h, which the caller has locked for that, and begins a read.
func (o *OpenFiles) reopen(h *Handle) (f *openFile, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := h.file.Load(); f != nil {
		f.begin() // nothing makes room without the mutex
		return f, nil
	}
	defer func() {
		if f == nil {
			o.changed.Broadcast()
		}
	}()
	for o.Limit > 0 && o.open.Len()+o.opening >= o.Limit && o.makeRoom() {
	}
	for !o.closed && !h.closed.Load() {
		shuts := o.shuts
		file, err := o.unlocked(h)
		err = vfs.Shortage(err) // reading changes nothing
		switch {
		case err == nil && !o.closed && !h.closed.Load():
			return o.add(h, file), nil
		case err == nil:
			file.Close() // nobody was told of it
			o.shuts++
		case !base.IsShortage(err) || o.shuts == shuts && !o.makeRoom() && !o.closed:
			return nil, fmt.Errorf("open table: %w", err)
		}
	}
	return nil, base.ErrClosed
}

// unlocked opens the file of h without the mutex, which the caller holds.
func (o *OpenFiles) unlocked(h *Handle) (vfs.File, error) {
	o.opening++
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.opening--
	}()
	return h.fs.Open(h.name)
}

// add lists an open file, which a read has begun for. The caller holds the mutex.
func (o *OpenFiles) add(h *Handle, file vfs.File) *openFile {
	f := &openFile{File: file, handle: h}
	f.reads.Store(1)
	f.element = o.open.PushBack(f)
	if o.handles == nil {
		o.handles = make(map[*Handle]struct{})
	}
	o.handles[h] = struct{}{}
	h.file.Store(f)
	return f
}

// makeRoom closes a file, waiting until it can or somebody else has. It returns false if
// none is left that it could wait for. The caller holds the mutex.
func (o *OpenFiles) makeRoom() bool {
	o.waiting.Add(1)
	defer o.waiting.Add(-1)
	for shuts := o.shuts; o.shuts == shuts && !o.evict(); {
		if o.closed || o.open.Len()+o.opening == 0 {
			return false
		}
		o.wait()
	}
	return true
}

// wait waits for a change. The caller holds the mutex.
func (o *OpenFiles) wait() {
	o.changed.L = &o.mu
	o.changed.Wait()
}

// evict closes a file that nobody reads, if there is one: the first that was not used
// since the hand came by last, or any. The caller holds the mutex.
func (o *OpenFiles) evict() bool {
	for i := range 2 * o.open.Len() {
		f := o.open.Front().Value.(*openFile)
		o.open.MoveToBack(f.element)
		if spared := f.used.Swap(false) && i < o.open.Len(); !spared && f.reads.CompareAndSwap(0, math.MinInt64) {
			o.shut(f.handle) // the file was only read: an error loses nothing
			return true
		}
	}
	return false
}

// shut closes the file of h if it is open. The caller holds the mutex.
func (o *OpenFiles) shut(h *Handle) error {
	f := h.file.Swap(nil)
	if f == nil {
		return nil
	}
	o.open.Remove(f.element)
	o.shuts++
	return f.Close()
}

// remove closes the file of h and forgets the table.
func (o *OpenFiles) remove(h *Handle) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.handles, h)
	o.changed.Broadcast()
	return o.shut(h)
}
