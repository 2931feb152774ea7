package wal

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// memoryFile is a vfs.File whose bytes the tests make, cut and damage at will,
// and that records what it was asked to write.
type memoryFile struct {
	data       []byte
	limitBytes int64 // no room beyond; 0: no limit
	onWrite    func(offset int64, n int) (int, error)
	syncErr    error
	cutErr     error
	readErr    error
	journal    []change
	writes     int
	syncs      int
	closed     bool
}

// change is one step in the life of a file.
type change struct {
	kind   changeKind
	offset int64
	data   []byte
	size   int64
}

type changeKind int

const (
	changeWrite changeKind = iota
	changeCut
	changeSync
)

var _ vfs.File = (*memoryFile)(nil)

func (f *memoryFile) ReadAt(p []byte, offset int64) (int, error) {
	if f.readErr != nil {
		return 0, f.readErr
	}
	if offset >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, offset int64) (int, error) {
	if f.closed {
		return 0, fs.ErrClosed
	}
	f.writes++
	var err error
	if f.onWrite != nil {
		var n int
		n, err = f.onWrite(offset, len(p))
		p = p[:n]
	}
	if end := offset + int64(len(p)); f.limitBytes > 0 && end > f.limitBytes {
		p, err = p[:max(0, f.limitBytes-offset)], syscall.ENOSPC
	}
	f.journal = append(f.journal, change{kind: changeWrite, offset: offset, data: slices.Clone(p)})
	f.apply(f.journal[len(f.journal)-1])
	return len(p), err
}

func (f *memoryFile) apply(c change) {
	switch c.kind {
	case changeCut:
		f.data = append(f.data, make([]byte, max(0, c.size-int64(len(f.data))))...)[:c.size]
	case changeWrite:
		if missing := c.offset + int64(len(c.data)) - int64(len(f.data)); missing > 0 && len(c.data) > 0 {
			f.data = append(f.data, make([]byte, missing)...)
		}
		copy(f.data[min(c.offset, int64(len(f.data))):], c.data)
	}
}

func (f *memoryFile) Truncate(size int64) error {
	if f.cutErr != nil {
		return f.cutErr
	}
	f.journal = append(f.journal, change{kind: changeCut, size: size})
	f.apply(f.journal[len(f.journal)-1])
	return nil
}

func (f *memoryFile) Sync() error {
	f.syncs++
	if f.syncErr != nil {
		return f.syncErr
	}
	f.journal = append(f.journal, change{kind: changeSync})
	return nil
}

func (f *memoryFile) Size() (int64, error) { return int64(len(f.data)), nil }

func (f *memoryFile) Check() error { return nil }

func (f *memoryFile) Close() error {
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	return nil
}

const testName, testSegment = "000007.wal", 7

func mustWriter(t testing.TB, f vfs.File) *Writer {
	t.Helper()
	w, err := NewWriter(f, testName, testSegment, Previous{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustDo(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// outcome is everything that reading a log says.
type outcome struct {
	records [][]byte
	offsets []int64
	end     End
	empty   bool
	err     error // nil for io.EOF
}

func readLog(data []byte) outcome { return readSegment(data, testSegment) }

func readSegment(data []byte, segment uint64) (o outcome) {
	r, err := Open(&memoryFile{data: data}, testName, segment)
	if err != nil {
		return outcome{err: err}
	}
	o.empty = r.Empty()
	for {
		payload, offset, err := r.Next()
		if err == io.EOF {
			o.end = r.End()
			return o
		}
		if err != nil {
			o.err = err
			return o
		}
		o.records = append(o.records, slices.Clone(payload))
		o.offsets = append(o.offsets, offset)
	}
}

// damageOffset returns the place that a corruption error names, or -1.
func damageOffset(err error) int64 {
	var c *base.CorruptionError
	if errors.As(err, &c) {
		return c.Offset
	}
	return -1
}

// noise returns n bytes without structure, the same ones for the same seed.
func noise(seed uint64, n int) []byte {
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	b := make([]byte, n)
	source.Read(b)
	return b
}
