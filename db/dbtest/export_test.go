package dbtest

import (
	"lsmdb/db"
	"lsmdb/internal/vfstest"
)

// DiskOf returns the disk on which a database lies.
func DiskOf(d *db.DB) *vfstest.Disk { return computerOf(d).disk }
