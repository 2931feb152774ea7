package vfs

import (
	"errors"
	"slices"

	"lsmdb/internal/base"
)

// Shortage turns err, which ended a step that only prepares, into a
// *base.ShortageError if it is one that passes by itself. A step prepares as long as
// no write or sync that somebody relies on was tried: then nothing is lost when the
// same is tried again. Every other step must leave its error alone, because after a
// failed write or sync nobody knows what the disk holds. So an error is final unless
// the step that met it says otherwise.
func Shortage(err error) error {
	switch {
	case base.IsShortage(err):
	case matchesAny(err, diskFull):
		return &base.ShortageError{Cause: err, DiskFull: true}
	case matchesAny(err, scarce):
		return &base.ShortageError{Cause: err}
	}
	return err
}

func matchesAny(err error, targets []error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
