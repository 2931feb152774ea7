// Package inside shows what the public API of db does not: the tree table by table, and the
// jobs that change it at this moment. It is for lsmdb/db/debug. Package db fills it in.
package inside

import (
	"lsmdb/compactor"
	"lsmdb/manifest"
	"lsmdb/stages"
)

// Look looks into a *db.DB. It blocks no stage, and may be called at any time, also after
// Close.
var Look func(db any) Picture

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
