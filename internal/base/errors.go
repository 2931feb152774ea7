package base

import (
	"errors"
	"fmt"
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
)

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

// Final takes the promise out of an error that matches ErrDiskFull, that nothing
// was written and that the same can be tried again, where it does not hold. The
// result matches everything else that err matches.
func Final(err error) error {
	if errors.Is(err, ErrDiskFull) {
		return finalError{err}
	}
	return err
}

type finalError struct{ cause error }

func (e finalError) Error() string        { return e.cause.Error() }
func (e finalError) Is(target error) bool { return target != ErrDiskFull && errors.Is(e.cause, target) }
func (e finalError) As(target any) bool   { return errors.As(e.cause, target) }

// DamageAt gives err, the finding of a decoder that knows no file, its place: a
// format of the future stays ErrIncompatible, anything else becomes a
// CorruptionError.
func DamageAt(file string, offset int64, err error) error {
	if errors.Is(err, ErrIncompatible) {
		return fmt.Errorf("%s at offset %d: %w", file, offset, err)
	}
	return Corruptf(file, offset, "%v", err)
}
