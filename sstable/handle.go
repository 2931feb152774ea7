package sstable

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// Handle is a table that a version of the tree lists. It is opened when it is first
// read, and its file is closed when nobody can reach the Handle any more: the garbage
// collector is what counts the readers. A Table and an Iterator keep the Handle that
// they came from reachable. All methods may be called concurrently.
type Handle struct {
	fs      vfs.FS
	path    string
	options ReaderOptions
	files   *OpenFiles

	table atomic.Pointer[Table] // nil until opened

	// The mutex makes concurrent first readers open the file once. Once the table is
	// open, readers do not touch it.
	mu sync.Mutex
}

// NewHandle makes a Handle; nothing is opened yet. The file is listed in files while
// it is open.
func NewHandle(fs vfs.FS, path string, o ReaderOptions, files *OpenFiles) *Handle {
	return &Handle{fs: fs, path: path, options: o, files: files}
}

// Table returns the table, opening it where that was not done yet. An error is not
// remembered: the next call tries again.
func (h *Handle) Table() (*Table, error) {
	if t := h.table.Load(); t != nil {
		return t, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.table.Load(); t != nil {
		return t, nil
	}
	return h.open()
}

// open opens the table. The caller holds the mutex.
func (h *Handle) open() (*Table, error) {
	s, err := h.files.open(h.fs, h.path, h.options)
	if err != nil {
		return nil, err
	}
	t, err := openSource(s, h.options.SizeBytes)
	if err != nil {
		return nil, errors.Join(err, h.files.close(s))
	}
	t.owner = h
	files := h.files
	runtime.AddCleanup(h, func(s *source) {
		files.close(s) // the file was only read: an error loses nothing, and nobody is left to hear of it
	}, s)
	h.table.Store(t)
	return t, nil
}

// Retire tells that the table left the tree: its cached blocks make room at once. What
// is still read of it, through an older version, is cached again until the file is closed.
func (h *Handle) Retire() {
	if t := h.table.Load(); t != nil {
		t.source.retire()
	}
}

// Close closes the file, if it is open, when nobody can come to the table any more.
func (h *Handle) Close() error {
	if t := h.table.Load(); t != nil {
		return h.files.close(t.source)
	}
	return nil
}

// OpenFiles is the set of a database's open table files. The zero value is ready; all
// methods may be called concurrently.
type OpenFiles struct {
	// The mutex is held while a file is opened or closed, so that none slips in behind
	// CloseAll, and none is open still when that returns.
	mu     sync.Mutex
	closed bool
	files  map[*source]struct{}
}

// Len returns the number of open files.
func (o *OpenFiles) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.files)
}

// CloseAll closes every file in the set. Reads of their tables fail with
// base.ErrClosed from now on, also those under way, and so does opening another one.
// It is idempotent.
func (o *OpenFiles) CloseAll() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	var errs []error
	for s := range o.files {
		if err := s.close(); err != nil {
			errs = append(errs, fmt.Errorf("close table %s: %w", s.name, err))
		}
	}
	clear(o.files)
	return errors.Join(errs...)
}

// open opens a file and adds it to the set.
func (o *OpenFiles) open(fs vfs.FS, path string, options ReaderOptions) (*source, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, base.ErrClosed
	}
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open table: %w", err)
	}
	s := newSource(f, path, options)
	if o.files == nil {
		o.files = make(map[*source]struct{})
	}
	o.files[s] = struct{}{}
	return s, nil
}

func (o *OpenFiles) close(s *source) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.files, s)
	return s.close()
}
