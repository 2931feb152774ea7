package sstable

import (
	"errors"
	"fmt"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// broken is a file whose first part does not reach the disk. A sync knows nothing of that
// any more.
type broken struct {
	vfs.File
	err error
}

func (b *broken) StartWriteback(int64, int64)       {}
func (b *broken) AwaitWriteback(int64, int64) error { return b.err }

// TestWritebackFails: a table of which the disk has lost a part is never finished.
func TestWritebackFails(t *testing.T) {
	f, err := vfs.NewMem().Create("table")
	if err != nil {
		t.Fatal(err)
	}
	b := &broken{f, errors.New("the disk is broken")}
	w := NewWriter(b, "table", WriterOptions{Identity: 1})
	value := make([]byte, 100<<10)
	for i := range 40 {
		key := base.AppendInternalKey(nil, fmt.Appendf(nil, "%03d", i), base.MakeTrailer(1, base.KindSet))
		if err = w.Add(key, value); err != nil {
			break
		}
	}
	if err == nil {
		_, err = w.Finish()
	}
	if !errors.Is(err, b.err) {
		t.Errorf("the table was finished: %v", err)
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
}
