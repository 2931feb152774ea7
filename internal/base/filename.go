package base

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// FileType tells the files of a database directory apart.
type FileType int

const (
	FileOther     FileType = iota // not one of ours
	FileLock                      // LOCK
	FileCurrent                   // CURRENT
	FileManifest                  // MANIFEST-000001
	FileWAL                       // 000002.wal
	FileTable                     // 000003.sst
	FileTemporary                 // anything of ours being prepared: *.tmp
)

// Fixed names in a database directory.
const (
	LockName    = "LOCK"
	CurrentName = "CURRENT"
)

// ManifestName returns the name, without directory, of a MANIFEST.
func ManifestName(number uint64) string { return fmt.Sprintf("MANIFEST-%06d", number) }

// WALName returns the name, without directory, of a WAL segment.
func WALName(number uint64) string { return fmt.Sprintf("%06d.wal", number) }

// TableName returns the name, without directory, of a table.
func TableName(number uint64) string { return fmt.Sprintf("%06d.sst", number) }

// WALPath returns the path of a WAL segment.
func WALPath(dir string, number uint64) string { return filepath.Join(dir, WALName(number)) }

// TablePath returns the path of a table.
func TablePath(dir string, number uint64) string { return filepath.Join(dir, TableName(number)) }

// ParseFileName classifies a name without directory. Only the exact form that
// the functions above produce counts, so that a stranger's file is never ours.
func ParseFileName(name string) (t FileType, number uint64) {
	switch {
	case name == LockName:
		return FileLock, 0
	case name == CurrentName:
		return FileCurrent, 0
	case strings.HasSuffix(name, ".tmp"): // CURRENT.tmp, or the temporary form of a numbered file
		of, number := ParseFileName(strings.TrimSuffix(name, ".tmp"))
		if of == FileOther || of == FileLock || of == FileTemporary {
			return FileOther, 0
		}
		return FileTemporary, number
	}
	number, _ = strconv.ParseUint(strings.Trim(name, "MANIFEST-.walst"), 10, 64)
	switch name {
	case ManifestName(number):
		return FileManifest, number
	case WALName(number):
		return FileWAL, number
	case TableName(number):
		return FileTable, number
	}
	return FileOther, 0
}
