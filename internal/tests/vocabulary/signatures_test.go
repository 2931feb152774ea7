package vocabulary

import (
	"context"
	"io"
	"iter"
	"time"

	"lsmdb/db"
)

// Programs are written against these names and types. Whoever changes one breaks them: it
// is meant to be an error of the compiler here.
type (
	durable = db.Durability

	get         = func([]byte) ([]byte, error)
	appendValue = func(dst, key []byte) ([]byte, error)
	has         = func([]byte) (bool, error)
	getSize     = func([]byte) (int, error)
	iterate     = func(*db.IterOptions) (*db.Iterator, error)
	move        = func() bool
	seek        = func([]byte) bool
)

// Reads: the same on everything that can be read.
var (
	_ = []get{(*db.DB)(nil).Get, (*db.Snapshot)(nil).Get, (*db.Tx)(nil).Get, (*db.Keyspace)(nil).Get}
	_ = []appendValue{(*db.DB)(nil).AppendValue, (*db.Snapshot)(nil).AppendValue, (*db.Tx)(nil).AppendValue, (*db.Keyspace)(nil).AppendValue}
	_ = []has{(*db.DB)(nil).Has, (*db.Snapshot)(nil).Has, (*db.Tx)(nil).Has, (*db.Keyspace)(nil).Has}
	_ = []getSize{(*db.DB)(nil).GetSize, (*db.Snapshot)(nil).GetSize, (*db.Tx)(nil).GetSize, (*db.Keyspace)(nil).GetSize}
	_ = []iterate{(*db.DB)(nil).NewIterator, (*db.Snapshot)(nil).NewIterator, (*db.Tx)(nil).NewIterator, (*db.Keyspace)(nil).NewIterator}
)

// Writes that say how durable they are to be.
var (
	_ func(*db.DB, []byte, []byte, ...durable) error                  = (*db.DB).Put
	_ func(*db.DB, []byte, ...durable) error                          = (*db.DB).Delete
	_ func(*db.DB, []byte, []byte, ...durable) error                  = (*db.DB).DeleteRange
	_ func(*db.DB, []byte, []byte, ...durable) error                  = (*db.DB).Merge
	_ func(*db.DB, []byte, []byte, time.Time, ...durable) error       = (*db.DB).PutUntil
	_ func(*db.Keyspace, []byte, []byte, ...durable) error            = (*db.Keyspace).Put
	_ func(*db.Keyspace, []byte, ...durable) error                    = (*db.Keyspace).Delete
	_ func(*db.Keyspace, []byte, []byte, ...durable) error            = (*db.Keyspace).DeleteRange
	_ func(*db.Keyspace, []byte, []byte, ...durable) error            = (*db.Keyspace).Merge
	_ func(*db.Keyspace, []byte, []byte, time.Time, ...durable) error = (*db.Keyspace).PutUntil
	_ func(*db.Keyspace, context.Context) error                       = (*db.Keyspace).Drop
)

// collector is what a batch and a transaction have in common.
type collector interface {
	Put(key, value []byte) error
	Delete(key []byte) error
	DeleteRange(start, end []byte) error
	Merge(key, operand []byte) error
	PutUntil(key, value []byte, until time.Time) error
}

var _ = []collector{(*db.Batch)(nil), (*db.Tx)(nil)}

// Transactions, and everything that is seen from keyspaces.
var (
	_ func(*db.DB, func(*db.Snapshot) error) error                              = (*db.DB).View
	_ func(*db.DB, context.Context, func(*db.Tx) error, ...durable) error       = (*db.DB).Update
	_ func(*db.DB) (*db.Tx, error)                                              = (*db.DB).Begin
	_ func(*db.Tx) *db.Snapshot                                                 = (*db.Tx).Snapshot
	_ func(*db.Tx, context.Context, ...durable) error                           = (*db.Tx).Commit
	_ func(*db.Tx)                                                              = (*db.Tx).Discard
	_ func(*db.DB, []byte) *db.Keyspace                                         = (*db.DB).Keyspace
	_ func(*db.Tx, *db.Keyspace) *db.Tx                                         = (*db.Tx).In
	_ func(*db.Batch, *db.Keyspace) *db.Batch                                   = (*db.Batch).In
	_ func(*db.Snapshot, *db.Keyspace) *db.Snapshot                             = (*db.Snapshot).In
	_ func([]byte) (start, end []byte)                                          = db.PrefixRange
	_                                                                           = db.ConflictError{Key: []byte(nil), Seq: uint64(0)}
	_ error                                                                     = (*db.ConflictError)(nil)
	_ func(target error) bool                                                   = (*db.ConflictError)(nil).Is
	_ *error                                                                    = &db.ErrConflict
	_ func(*db.DB, context.Context, *db.Batch, ...durable) error                = (*db.DB).Apply
	_ func(*db.DB, context.Context, *db.Batch, ...durable) (*db.Pending, error) = (*db.DB).Submit
)

// Expiry, merging, walks.
var (
	_ = db.Merger{Name: "", Merge: (func(dst, key, older, newer []byte) ([]byte, error))(nil)}
	_ = []**db.Merger{&db.SumInt64, &db.MaxBytes, &db.AppendBytes}
	_ = db.Options{Now: (func() time.Time)(nil), Merger: (*db.Merger)(nil), Compression: db.Zstd, MaxOpenFiles: int(0)}
	_ = db.IterOptions{KeysOnly: true, NoCacheFill: true, Lower: []byte(nil), Upper: []byte(nil), Prefix: []byte(nil)}

	_ func(*db.Iterator) time.Time = (*db.Iterator).Until
	_                              = []move{(*db.Iterator)(nil).First, (*db.Iterator)(nil).Last, (*db.Iterator)(nil).Next, (*db.Iterator)(nil).Prev}
	_                              = []seek{(*db.Iterator)(nil).SeekGE, (*db.Iterator)(nil).SeekLT}
)

// Files.
var (
	_ func(*db.DB, context.Context) (*db.Checkpoint, error)          = (*db.DB).NewCheckpoint
	_ func(*db.Checkpoint) uint64                                    = (*db.Checkpoint).Seq
	_ func(*db.Checkpoint) iter.Seq[db.CheckpointFile]               = (*db.Checkpoint).Files
	_ func(*db.Checkpoint, string) error                             = (*db.Checkpoint).Link
	_ func(*db.Checkpoint, io.Writer) (int64, error)                 = (*db.Checkpoint).WriteTo
	_ func(*db.Checkpoint) error                                     = (*db.Checkpoint).Close
	_                                                                = db.CheckpointFile{Name: "", Bytes: int64(0)}
	_ func(context.Context, io.Reader, string) error                 = db.Restore
	_ func(*db.DB, context.Context, iter.Seq2[[]byte, []byte]) error = (*db.DB).Load
)

// Changes.
var (
	_ func(*db.DB, context.Context, uint64) iter.Seq2[db.Change, error] = (*db.DB).Changes

	_        = db.Change{First: uint64(0), Seq: uint64(0), Ops: []db.Op(nil)}
	_        = db.Op{Kind: db.OpKind(0), Key: []byte(nil), Value: []byte(nil), End: []byte(nil), Until: time.Time{}}
	_        = []db.OpKind{db.OpPut, db.OpDelete, db.OpDeleteRange, db.OpMerge, db.OpLoad}
	_        = db.TrimmedError{Oldest: uint64(0)}
	_ error  = (*db.TrimmedError)(nil)
	_ *error = &db.ErrTrimmed
	_        = db.Options{KeepChangesBytes: int64(0)}
)
