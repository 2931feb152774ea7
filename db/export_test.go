package db

import (
	"context"

	"lsmdb/internal/vfs"
)

// SetFS makes Open use a file system of a test.
func (o *Options) SetFS(fsys vfs.FS) { o.fs = fsys }

// VerifyFS is Verify on a file system of a test.
func VerifyFS(ctx context.Context, fsys vfs.FS, dir string) (*VerifyReport, error) {
	return verify(ctx, fsys, dir, nil)
}
