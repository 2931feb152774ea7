package beside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"lsmdb/db"
)

// ErrLost says that the other process was there and is not any more.
var ErrLost = errors.New("lsmdb: the process that has the database open does not answer any more: it ended, closed it, or was kept waiting for too long")

// leftError is an ErrLost, of a process that has said so, or left no socket behind.
type leftError struct{ lost error }

func (leftError) Error() string {
	return "lsmdb: the process that had the database open has closed it, or serves it no more"
}

func (e leftError) Unwrap() error { return e.lost }

// failure is an error as it crosses the socket.
type failure struct {
	Message string `json:"message"`
	Kind    string `json:"kind,omitempty"` // of kinds; "": none of them

	// Of a *db.CorruptionError.
	File   string `json:"file,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// kinds are the errors that the other side can test for. The first one that an error is
// counts.
var kinds = []struct {
	name string
	err  error
}{
	{"corrupt", db.ErrCorrupt},
	{"not-found", db.ErrNotFound},
	{"closed", db.ErrClosed},
	{"disk-full", db.ErrDiskFull},
	{"read-only", db.ErrReadOnly},
	{"no-merger", db.ErrNoMerger},
	{"incompatible", db.ErrIncompatible},
	{"locked", db.ErrLocked},
	{"key-too-large", db.ErrKeyTooLarge},
	{"exist", fs.ErrExist},
	{"permission", fs.ErrPermission},
	{"canceled", context.Canceled},
}

// EncodeFailure returns an error in the form in which it crosses the socket.
func EncodeFailure(err error) []byte {
	encoded, jsonErr := json.Marshal(newFailure(err))
	if jsonErr != nil {
		panic("invariant: failures are plain values: " + jsonErr.Error())
	}
	return encoded
}

func newFailure(err error) failure {
	f := failure{Message: err.Error()}
	for _, kind := range kinds {
		if errors.Is(err, kind.err) {
			f.Kind = kind.name
			break
		}
	}
	if damage, is := errors.AsType[*db.CorruptionError](err); is {
		f.File, f.Offset, f.Detail = damage.File, damage.Offset, damage.Detail
	}
	return f
}

// remoteError says what an error of the other process said, and is what that was.
type remoteError struct {
	message string
	is      error // nil: none that anybody tests for
}

func (e *remoteError) Error() string { return e.message }

func (e *remoteError) Unwrap() error { return e.is }

// decodeFailure returns the error that a failure was made of, as far as others can tell.
func decodeFailure(encoded []byte) error {
	var f failure
	if err := json.Unmarshal(encoded, &f); err != nil {
		return fmt.Errorf("lsmdb: the process that has the database open sent an error that cannot be read: %w", err)
	}
	e := &remoteError{message: f.Message}
	for _, kind := range kinds {
		if kind.name == f.Kind {
			e.is = kind.err
		}
	}
	switch {
	case f.Detail != "":
		e.is = &db.CorruptionError{File: f.File, Offset: f.Offset, Detail: f.Detail}
	case e.is == db.ErrClosed || e.is == context.Canceled: // nobody here has closed or canceled anything
		return leftError{ErrLost}
	}
	return e
}
