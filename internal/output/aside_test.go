package output

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// beside is how the engine runs the jobs of a load.
func beside(job func() error) (wait func() error) {
	outcome := make(chan error, 1)
	go func() { outcome <- job() }()
	return sync.OnceValue(func() error { return <-outcome })
}

// late runs a job when it is waited for, so that one that nobody waits for is never done.
func late(job func() error) (wait func() error) { return sync.OnceValue(job) }

// noise does not shrink.
var noise = func() []byte {
	p := make([]byte, 4<<10)
	rand.NewChaCha8([32]byte{}).Read(p)
	return p
}()

// loadSome loads entries that do not shrink, so that blocks are handed over before the
// table ends, and tables end while the next are written.
func loadSome(fsys vfs.FS, aside func(func() error) func() error) (h history, metas []*manifest.TableMeta, err error) {
	tables := NewLoadedTables(newDirectory(fsys), aside, func(sizeBytes int64, _ []byte) bool { return sizeBytes > 700<<10 })
	for i := range 3000 {
		h = append(h, base.MakeInternalKey(fmt.Appendf(nil, "key%06d", i), LoadedSeq, base.KindSet))
		if err := tables.Add(h[i], noise[i:i+1<<10]); err != nil {
			return nil, nil, errors.Join(err, tables.Abort())
		}
	}
	metas, err = tables.Finish()
	return h, metas, err
}

// TestAside: what is stored and completed aside is complete and in order when Finish
// returns, and whichever operation fails there, that is told and no file stays.
func TestAside(t *testing.T) {
	t.Run("beside", func(t *testing.T) { testAside(t, beside) })
	t.Run("late", func(t *testing.T) { testAside(t, late) })
}

func testAside(t *testing.T, aside func(func() error) func() error) {
	broken := errors.New("broken")
	for at := 0; ; at++ {
		var mu sync.Mutex // operations happen side by side
		count, mem := 0, newMem(t)
		fault := vfstest.NewFault(mem, func(op vfstest.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind == vfstest.OpOpenDir {
				return nil
			}
			if count++; count-1 == at {
				return broken
			}
			return nil
		})
		h, metas, err := loadSome(fault, aside)
		if count <= at {
			if len(metas) < 3 || at < 20 {
				t.Errorf("%d tables by %d operations", len(metas), at)
			}
			entries := uint64(0)
			for i, m := range metas {
				table, err := sstable.Open(mem, base.TablePath(dir, m.Number), sstable.ReaderOptions{SizeBytes: m.SizeBytes, Identity: m.Identity})
				if err == nil {
					err = table.Verify(nil)
				}
				if entries += m.Entries; err != nil || !bytes.Equal(m.Largest, h[entries-1]) {
					t.Errorf("table %d is %s: %v", i, m, err)
				}
			}
			if entries != uint64(len(h)) {
				t.Errorf("%d entries", entries)
			}
			return
		}
		if !errors.Is(err, broken) || metas != nil {
			t.Errorf("operation %d failed, but the result is %v, %v", at, metas, err)
		}
		if names, n := listTables(t, mem), fault.OpenFiles(); len(names) > 0 || n > 0 {
			t.Errorf("operation %d failed and left %v, %d of them open", at, names, n)
		}
	}
}
