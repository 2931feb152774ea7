package base

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// The errors a caller can test for with errors.Is. Package db exports them.
var (
	ErrNotFound      = errors.New("lsmdb: key not found")
	ErrClosed        = errors.New("lsmdb: closed")
	ErrLocked        = errors.New("lsmdb: database is in use")
	ErrReadOnly      = errors.New("lsmdb: database is read-only")
	ErrCorrupt       = errors.New("lsmdb: corrupt")
	ErrKeyTooLarge   = errors.New("lsmdb: key too large")
	ErrValueTooLarge = errors.New("lsmdb: value too large")
	ErrBatchTooLarge = errors.New("lsmdb: batch too large")
	ErrDiskFull      = errors.New("lsmdb: no space left")
	ErrIncompatible  = errors.New("lsmdb: incompatible format")
	ErrConflict      = errors.New("lsmdb: conflict")
	ErrTrimmed       = errors.New("lsmdb: changes are not kept any more")
)

// NameOf returns the name of a number that a format defines, or the number itself behind
// what it is where it has no name.
func NameOf[T ~uint8](names []string, what string, n T) string {
	if int(n) < len(names) && names[n] != "" {
		return names[n]
	}
	return fmt.Sprintf("%s %d", what, uint8(n))
}

// CorruptionError says which file is damaged and where. errors.Is(err,
// ErrCorrupt) holds for it.
type CorruptionError struct {
	File   string // path of the damaged file
	Offset int64  // byte offset of the damage; -1 where no single place can be named
	Detail string // what was expected and what was found
}

func (e *CorruptionError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%v: %s: %s", ErrCorrupt, e.File, e.Detail)
	}
	return fmt.Sprintf("%v: %s at offset %d: %s", ErrCorrupt, e.File, e.Offset, e.Detail)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptionError) Is(target error) bool { return target == ErrCorrupt }

// Corruptf builds a CorruptionError.
func Corruptf(file string, offset int64, format string, args ...any) error {
	return &CorruptionError{File: file, Offset: offset, Detail: fmt.Sprintf(format, args...)}
}

// ConflictError says which key of those that a transaction has read was changed by others,
// and by which write. errors.Is(err, ErrConflict) holds for it.
type ConflictError struct {
	Key []byte // whole
	Seq uint64 // sequence number of the newest change
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: key %q, which the transaction has read, was changed at %d", ErrConflict, e.Key, e.Seq)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// TrimmedError says that changes which somebody asked for are not kept any more.
// errors.Is(err, ErrTrimmed) holds for it.
type TrimmedError struct {
	Oldest uint64 // changes behind this number are there; it lies between two batches
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("%v: the oldest are behind %d", ErrTrimmed, e.Oldest)
}

// Is makes errors.Is(err, ErrTrimmed) true.
func (e *TrimmedError) Is(target error) bool { return target == ErrTrimmed }

// ShortageError says that a step had to stop because the system is short of something:
// room, descriptors, memory. Nothing of consequence was written, and the same can be
// tried again: such a shortage passes by itself. Only steps that prepare something make
// one (vfs.Shortage). errors.Is(err, ErrDiskFull) holds for a shortage of room.
type ShortageError struct {
	Cause    error
	DiskFull bool
}

func (e *ShortageError) Error() string {
	if e.DiskFull {
		return fmt.Sprintf("%v: %v", ErrDiskFull, e.Cause)
	}
	return fmt.Sprintf("lsmdb: the system is short of resources: %v", e.Cause)
}

// Is makes errors.Is(err, ErrDiskFull) true where room is short.
func (e *ShortageError) Is(target error) bool { return e.DiskFull && target == ErrDiskFull }

// Unwrap returns what the system said.
func (e *ShortageError) Unwrap() error { return e.Cause }

// IsShortage reports whether err says that a step can be tried again.
func IsShortage(err error) bool {
	_, is := errors.AsType[*ShortageError](err)
	return is
}

// Shortage is what a stage could not do, the last time that it tried, for want of something.
type Shortage struct{ err atomic.Pointer[error] }

// Note notes how a try ended.
func (s *Shortage) Note(err error) {
	if IsShortage(err) {
		noted := err
		s.err.Store(&noted)
	} else if s.err.Load() != nil {
		s.err.Store(nil)
	}
}

// Now returns what is wrong, nil if nothing is.
func (s *Shortage) Now() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

// DamageAt gives err, the finding of a decoder that knows no file, its place: a
// format of the future stays ErrIncompatible, anything else becomes a
// CorruptionError.
func DamageAt(file string, offset int64, err error) error {
	if errors.Is(err, ErrIncompatible) {
		return fmt.Errorf("%s at offset %d: %w", file, offset, err)
	}
	return Corruptf(file, offset, "%v", err)
}
