package vfstest

import (
	"sync"
	"time"

	"lsmdb/internal/vfs"
)

// Slow is a file system on a disk that writes some bytes a second, one request after the
// other. It goes by time.Now and time.Sleep, so it is as exact as they are; in a bubble of
// testing/synctest it takes no time.
//
// What is written waits in memory, in pages, as with an operating system: a sync puts what
// is left of its file into the disk's queue, and waits until that is written. So does
// StartWriteback, without waiting.
type Slow struct {
	vfs.FS
	BytesPerSecond int64

	mu   sync.Mutex
	idle time.Time // when the disk is done with what is in its queue
}

const slowPageBytes = 4 << 10

// queue has the disk write so many bytes behind all that it was given before, and returns
// when they are written.
func (s *Slow) queue(bytes int64) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.idle.Before(now) {
		s.idle = now
	}
	s.idle = s.idle.Add(time.Duration(float64(bytes) / float64(s.BytesPerSecond) * float64(time.Second)))
	return s.idle
}

// OpenDirectory implements vfs.FS.
func (s *Slow) OpenDirectory(dir string) (vfs.Directory, error) {
	d, err := s.FS.OpenDirectory(dir)
	return &slowDirectory{d, s}, err
}

type slowDirectory struct {
	vfs.Directory
	slow *Slow
}

func (d *slowDirectory) Create(name string) (vfs.File, error) {
	f, err := d.Directory.Create(name)
	if err != nil {
		return nil, err
	}
	return &slowFile{File: f, slow: d.slow, dirty: make(map[int64]bool), written: make(map[int64]time.Time)}, nil
}

func (d *slowDirectory) SyncDir(dir string) error {
	time.Sleep(time.Until(d.slow.queue(slowPageBytes)))
	return d.Directory.SyncDir(dir)
}

// slowFile is a file that is written.
type slowFile struct {
	vfs.File
	slow *Slow

	mu      sync.Mutex
	dirty   map[int64]bool      // pages that the disk was not given yet
	written map[int64]time.Time // when the disk is done with the others
}

func (f *slowFile) WriteAt(p []byte, offset int64) (int, error) {
	n, err := f.File.WriteAt(p, offset)
	f.mu.Lock()
	defer f.mu.Unlock()
	for page := offset / slowPageBytes; page*slowPageBytes < offset+int64(n); page++ {
		f.dirty[page] = true
	}
	return n, err
}

// Sync implements vfs.File.
func (f *slowFile) Sync() error {
	f.start(0, 1<<62)
	time.Sleep(time.Until(f.slow.queue(slowPageBytes))) // the journal's
	return f.File.Sync()
}

func (f *slowFile) start(offset, length int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for page := range f.dirty {
		if at := page * slowPageBytes; at >= offset && at < offset+length {
			delete(f.dirty, page)
			f.written[page] = f.slow.queue(slowPageBytes)
		}
	}
}

// StartWriteback implements vfs.WritebackFile.
func (f *slowFile) StartWriteback(offset, length int64) { f.start(offset, length) }

// AwaitWriteback implements vfs.WritebackFile.
func (f *slowFile) AwaitWriteback(offset, length int64) error {
	f.mu.Lock()
	var last time.Time
	for page := offset / slowPageBytes; page*slowPageBytes < offset+length; page++ {
		if at := f.written[page]; at.After(last) {
			last = at
		}
	}
	f.mu.Unlock()
	time.Sleep(time.Until(last))
	return nil
}
