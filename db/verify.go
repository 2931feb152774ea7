package db

import (
	"context"

	"lsmdb/internal/recovery"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// VerifyProgress tells how far a Verify has come.
type VerifyProgress struct {
	File       string `json:"file"` // being read
	DoneBytes  int64  `json:"done_bytes"`
	TotalBytes int64  `json:"total_bytes"`
}

// VerifyReport is what Verify found.
type VerifyReport struct {
	Files    []VerifiedFile `json:"files"`
	Problems []Problem      `json:"problems"`
}

// OK reports whether nothing is wrong.
func (r *VerifyReport) OK() bool { return len(r.Problems) == 0 }

// VerifiedFile is one file that was read.
type VerifiedFile struct {
	Name    string `json:"name"` // without directory
	Type    string `json:"type"` // current, manifest, table or wal
	Bytes   int64  `json:"bytes"`
	Entries uint64 `json:"entries"` // edits, entries or operations

	// Of a table, beside or among its entries.
	RangeDeletes uint64 `json:"range_deletes,omitempty"` // each counted once in every span into which they cut each other
	Merges       uint64 `json:"merges,omitempty"`        // operands
	Expiring     uint64 `json:"expiring,omitempty"`      // values that end
}

// Problem is one thing that is wrong.
type Problem struct {
	File   string `json:"file"`   // without directory
	Offset int64  `json:"offset"` // of the damage; -1 where no single place can be named
	Detail string `json:"detail"`
	Fatal  bool   `json:"fatal"` // Open will refuse the database; otherwise only reads of the damaged place fail
}

// Verify reads every byte of the database in dir and reports what is wrong. It
// takes the shared lock, writes nothing and does not open the database. Progress,
// which may be nil, is called from time to time. The error says that the check could not be
// carried out: no database there, locked, ctx ended.
func Verify(ctx context.Context, dir string, progress func(VerifyProgress)) (*VerifyReport, error) {
	return verify(ctx, vfs.OS, dir, progress)
}

func verify(ctx context.Context, fsys vfs.FS, dir string, progress func(VerifyProgress)) (*VerifyReport, error) {
	report := &VerifyReport{}
	err := recovery.Verify(ctx, fsys, dir, recovery.Observer{
		File: func(name, kind string, sizeBytes int64, entries uint64, t *manifest.TableMeta) {
			f := VerifiedFile{Name: name, Type: kind, Bytes: sizeBytes, Entries: entries}
			if t != nil {
				f.RangeDeletes, f.Merges, f.Expiring = t.RangeDeletes, t.Merges, t.Expiring
			}
			report.Files = append(report.Files, f)
		},
		Problem: func(name string, offset int64, detail string, fatal bool) {
			report.Problems = append(report.Problems, Problem{name, offset, detail, fatal})
		},
		Progress: func(name string, doneBytes, totalBytes int64) {
			if progress != nil {
				progress(VerifyProgress{name, doneBytes, totalBytes})
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return report, nil
}
