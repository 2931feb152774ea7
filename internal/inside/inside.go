// Package inside is what the public API of db does not offer to those who show a database to
// others: the tree table by table, with the jobs that change it at this moment; reads and
// copies for people who may leave before these are done; and what an operation of the log means. It is for lsmdb/db/debug and
// lsmdb/internal/beside. Package db fills it in.
package inside

import (
	"context"

	"lsmdb/compactor"
	"lsmdb/manifest"
	"lsmdb/stages"
)

var (
	// Look looks into a *db.DB. It blocks no stage, and may be called at any time, also after
	// Close.
	Look func(db any) Picture

	// Snapshot is DB.NewSnapshot: of a *db.DB it makes a *db.Snapshot. It waits for what was
	// Queued no longer than until ctx ends, and returns its error then. Reads of the snapshot
	// wait for no stage.
	Snapshot func(ctx context.Context, db any) (snapshot any, err error)

	// Link is Checkpoint.Link of a *db.Checkpoint. When ctx ends it gives up, within the time
	// that it takes to copy a piece of a table or to sync a copied one.
	Link func(ctx context.Context, checkpoint any, dir string) error

	// DecodeOps appends operations as the log has them to a *[]db.Op. They share the memory of
	// what is decoded.
	DecodeOps func(ops any, count uint32, encoded []byte) error
)

// Picture is what there is at one moment.
type Picture struct {
	Closed        bool // Close has begun
	ReadOnly      bool // no stage runs
	Version       *manifest.Version
	Policy        compactor.Policy
	MemtableBytes int64            // at which a memtable is full
	Running       []stages.Running // the flush and the compactions at work
	Workers       int              // how many compactions there may be
}
