package db

import (
	"context"

	"lsmdb/internal/recovery"
	"lsmdb/internal/vfs"
)

type (
	// VerifyReport is what Verify found.
	VerifyReport = recovery.VerifyReport
	// VerifiedFile is one file that was read.
	VerifiedFile = recovery.VerifiedFile
	// Problem is one thing that is wrong.
	Problem = recovery.Problem
	// VerifyProgress tells how far a Verify has come.
	VerifyProgress = recovery.VerifyProgress
)

// Verify reads every byte of the database in dir and reports what is wrong. It
// takes the shared lock, writes nothing and does not open the database. Progress,
// which may be nil, is called from time to time. The error says that the check could not be
// carried out: no database there, locked, ctx ended.
func Verify(ctx context.Context, dir string, progress func(VerifyProgress)) (*VerifyReport, error) {
	return recovery.Verify(ctx, vfs.OS, dir, progress)
}
