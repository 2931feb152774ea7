package db

import (
	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// What a caller can test for with errors.Is.
var (
	// ErrNotFound: the key has no value.
	ErrNotFound = base.ErrNotFound
	// ErrClosed: the database, iterator or snapshot is closed.
	ErrClosed = base.ErrClosed
	// ErrLocked: another process, or this one, has the database open.
	ErrLocked = base.ErrLocked
	// ErrReadOnly: the database was opened read-only, or turned read-only after a
	// failure, whose cause is wrapped as well.
	ErrReadOnly = base.ErrReadOnly
	// ErrCorrupt: a file is damaged; errors.As with *CorruptionError says where.
	ErrCorrupt = base.ErrCorrupt
	// ErrKeyTooLarge: a key is longer than MaxKeyBytes.
	ErrKeyTooLarge = base.ErrKeyTooLarge
	// ErrValueTooLarge: a value is longer than MaxValueBytes.
	ErrValueTooLarge = base.ErrValueTooLarge
	// ErrBatchTooLarge: a batch is longer than MaxBatchBytes.
	ErrBatchTooLarge = base.ErrBatchTooLarge
	// ErrDiskFull: there is no room, or no quota. Nothing of the write was stored; writes
	// succeed again once there is room.
	ErrDiskFull = base.ErrDiskFull
	// ErrDisplaced: somebody moved, replaced or removed the directory, the live log or
	// LOCK while the database was open. It is read-only from then on.
	ErrDisplaced = vfs.ErrDisplaced
	// ErrIncompatible: a file was written by a newer version, or with another Merger.
	ErrIncompatible = base.ErrIncompatible
	// ErrNoMerger: Merge, or a read of a key that has operands, without Options.Merger.
	ErrNoMerger = base.ErrNoMerger
	// ErrConflict: somebody has changed what a transaction has read; errors.As with
	// *ConflictError says which key. Nothing of it was stored.
	ErrConflict = base.ErrConflict
)

// CorruptionError says which file is damaged, and where.
type CorruptionError = base.CorruptionError

// ConflictError says which key that a transaction has read was changed, and by which
// write.
type ConflictError = base.ConflictError

// Limits. Beyond them a call fails before any state changes.
const (
	MaxKeyBytes   = base.MaxKeyBytes
	MaxValueBytes = base.MaxValueBytes
	MaxBatchBytes = base.MaxBatchBytes
)
