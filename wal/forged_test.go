package wal

import "testing"

// countingFile counts how often it is read.
type countingFile struct {
	*memoryFile
	reads int
}

func (f *countingFile) ReadAt(p []byte, offset int64) (int, error) {
	f.reads++
	return f.memoryFile.ReadAt(p, offset)
}

// TestWalkOverManyHoles walks a log in which every other chunk is bad and that goes on
// with zeros for long. It reads each block a few times, not the zeros for each hole.
func TestWalkOverManyHoles(t *testing.T) {
	const holes, zeroBlocks = 500, 100
	pieces := []piece{headerPiece(1)}
	for range 2 * holes {
		pieces = append(pieces, piece{TypeFull, "\x00payload"})
	}
	log := forge(pieces...)
	for i := range holes {
		log[logStart+2*i*(chunkHeaderBytes+8)] ^= 1
	}
	f := &countingFile{memoryFile: &memoryFile{data: append(log, make([]byte, zeroBlocks*BlockBytes)...)}}
	seen, bad := 0, 0
	for c, err := range Chunks(f, testName, testSegment) {
		if seen++; err != nil {
			bad++
		}
		if seen > 2*holes+2 {
			t.Fatalf("a chunk too many at %d", c.Offset)
		}
	}
	if seen != 2*holes+2 || bad != holes || f.reads > 4*(zeroBlocks+2) {
		t.Errorf("%d chunks, %d of them bad, in %d reads of %d blocks", seen, bad, f.reads, zeroBlocks+1)
	}
}
