package salvage

import "testing"

// LowerMemtableBytes has the log spilled to tables when so much of it is in memory.
func LowerMemtableBytes(t *testing.T, bytes int64) {
	before := memtableBytes
	memtableBytes = bytes
	t.Cleanup(func() { memtableBytes = before })
}
