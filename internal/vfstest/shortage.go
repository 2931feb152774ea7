package vfstest

import (
	"io/fs"
	"slices"
	"sync"
	"syscall"
)

// Shortage makes a Fault fail for lack of something that passes by itself: descriptors,
// memory, quota. Give its Inject to NewFault. The errors are the system's.
type Shortage struct {
	errno syscall.Errno
	kinds []OpKind

	mu    sync.Mutex // the operations of all goroutines have one order here
	lasts bool       // between Begin and End
	wait  int        // operations that pass before the next that fail
	fail  int        // of those
	met   int        // that failed
}

// needs says which operations may meet an error on a system in use. Writes and syncs meet
// only the quota, closes nothing.
var needs = map[syscall.Errno][]OpKind{
	syscall.EMFILE: {OpCreate, OpOpen, OpOpenDir, OpLock, OpList, OpSyncDir},
	syscall.ENFILE: {OpCreate, OpOpen, OpOpenDir, OpLock, OpList, OpSyncDir},
	syscall.ENOMEM: {OpCreate, OpOpen, OpOpenDir, OpLock, OpList, OpStat, OpCheck, OpMkdir, OpRename, OpRemove, OpMap},
	syscall.EAGAIN: {OpCreate, OpOpen, OpOpenDir, OpLock, OpMap},
	syscall.EINTR:  {OpCreate, OpOpen, OpOpenDir, OpLock, OpAllocate, OpMap},
	syscall.EDQUOT: {OpCreate, OpLock, OpMkdir, OpRename, OpWrite, OpTruncate, OpAllocate},
}

// NewShortage returns a shortage that has not begun. Without kinds it concerns the
// operations that may meet such an error.
func NewShortage(errno syscall.Errno, kinds ...OpKind) *Shortage {
	if kinds == nil {
		kinds = needs[errno]
	}
	return &Shortage{errno: errno, kinds: kinds}
}

// Begin lets all operations that are concerned fail until End.
func (s *Shortage) Begin() { s.set(true, 0, 0) }

// End ends the shortage.
func (s *Shortage) End() { s.set(false, 0, 0) }

// Strike lets count operations fail, the first of them the n-th from now on that is
// concerned, counted from 1.
func (s *Shortage) Strike(n, count int) { s.set(false, n-1, count) }

func (s *Shortage) set(lasts bool, wait, fail int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lasts, s.wait, s.fail = lasts, wait, fail
}

// Met returns how many operations have failed.
func (s *Shortage) Met() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.met
}

// Inject says what becomes of an operation.
func (s *Shortage) Inject(op Op) error {
	if !slices.Contains(s.kinds, op.Kind) || s.descriptors() && op.InDirectory && (op.Kind == OpList || op.Kind == OpSyncDir) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.lasts:
	case s.wait > 0:
		s.wait--
		return nil
	case s.fail > 0:
		s.fail--
	default:
		return nil
	}
	s.met++
	return &fs.PathError{Op: op.Kind.String(), Path: op.Name, Err: s.errno}
}

// descriptors reports whether they are what is short. An open directory needs no more.
func (s *Shortage) descriptors() bool { return s.errno == syscall.EMFILE || s.errno == syscall.ENFILE }
