package faults

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// shortages are what a system in use may be short of, for a moment or a while.
var shortages = []syscall.Errno{syscall.EMFILE, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN, syscall.EDQUOT}

// aWhile is how long a shortage lasts that strikes more than once, on the clock of the
// bubble: longer than any three tries of a stage.
const aWhile = 3 * time.Second

// concerns reports whether an operation may meet a shortage.
func concerns(errno syscall.Errno, op vfstest.Op) bool {
	s := vfstest.NewShortage(errno)
	s.Begin()
	return s.Inject(op) != nil
}

// TestShortageSweep lets the system be short of something at each operation of the
// histories that may notice, once or for a while. The database refuses or waits, and goes
// on by itself: it fails only where the rename of CURRENT was hit. Everything else is as
// in TestFaultSweep.
func TestShortageSweep(t *testing.T) {
	eachHistory(t, func(t *testing.T, name string, start *fixture.Filled, ops []vfstest.Op) {
		figures := make(map[string]int)
		for at, errno := range shortages {
			seen := 0
			for n, op := range ops {
				if !concerns(errno, op) {
					continue
				}
				if seen++; (seen+at)%shortageStride() != 0 {
					continue
				}
				for _, lasts := range []bool{false, true} {
					r := &faultRun{
						start: start, steps: faultHistories[name].steps,
						what:  fmt.Sprintf("%s: %v (for a while: %v) at operation %d of %d, %s %s", name, errno, lasts, n, len(ops), op.Kind, op.Name),
						fault: &breakage{fault: fault{name: errno.Error(), errno: errno, sticky: lasts}, kind: op.Kind, file: fileType(op), left: n},
					}
					r.run(t)
					figures["runs"]++
					figures[r.outcome()]++
				}
			}
		}
		t.Logf("%d operations, %v", len(ops), figures)
		if figures["runs"] > 100 && figures["writes refused for a while"]+figures["no effect"] == 0 {
			t.Error("no shortage was waited out")
		}
	})
}

// shortageStride makes fewer runs of fewer operations: what may meet a shortage is rare.
func shortageStride() int { return (faultStride() + 3) / 4 }

// short is inject for a shortage. Only what grows needs quota.
func (b *breakage) short(m *fixture.Machine, op vfstest.Op) error {
	if b.errno == syscall.EDQUOT && (op.Kind == vfstest.OpWrite || op.Kind == vfstest.OpTruncate) {
		if info, err := m.Disk.Stat(op.Name); err == nil && info.SizeBytes >= op.Offset+int64(op.Length) {
			return nil
		}
	}
	if !concerns(b.errno, op) {
		return nil
	}
	if b.fired++; b.fired == 1 {
		b.since = time.Now()
	}
	b.final = b.final || op.Kind == vfstest.OpRename
	return fmt.Errorf("injected: %s %s: %w", op.Kind, op.Name, b.errno)
}

// mayStop reports whether the database may turn read-only for good.
func (b *breakage) mayStop() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.full && b.errno == 0 || b.final
}

// TestNoShortageStopsReads: who reads while the system is short of descriptors or memory
// may be refused, and finds everything afterwards without opening anew.
func TestNoShortageStopsReads(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENOMEM} {
		m, d, want := running(t)
		s := vfstest.NewShortage(errno)
		fixture.Must(t, d.Close())
		d = m.OpenDB(t)                // no table is open
		for key, value := range want { // those of the log may lie in one by now
			if strings.HasPrefix(key, "memory") {
				fixture.Must(t, d.Put([]byte(key), []byte(value)))
			}
		}
		m.Fail(s.Inject)
		s.Begin()
		refused := 0
		for _, key := range slices.Sorted(maps.Keys(want)) {
			switch value, err := d.Get([]byte(key)); {
			case err == nil && string(value) == want[key]:
			case strings.HasPrefix(key, "table") && errors.Is(err, errno):
				refused++
			default:
				t.Errorf("%v: Get(%s): %q, %v", errno, key, value, err)
			}
		}
		if refused == 0 {
			t.Errorf("%v: no table had to be opened", errno)
		}
		s.End()
		fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
		fixture.Must(t, d.Put([]byte("after"), nil, db.Sync))
		if failure := d.Metrics().Failure; failure != "" {
			t.Errorf("%v stopped the database: %s", errno, failure)
		}
		fixture.Must(t, d.Close())
	}
}
