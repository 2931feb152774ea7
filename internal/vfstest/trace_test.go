package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"lsmdb/internal/vfs"
)

// events writes a trace without the callers of syncs.
func events(t *Trace) string {
	var lines []string
	for _, e := range t.Events {
		line, _, _ := strings.Cut(e.String(), " by ")
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestTraceHasEveryChange(t *testing.T) {
	d := NewDisk()
	trace := d.Record("")
	if err := errors.Join(everything(NewFault(d, func(Op) error { return nil }))...); err != nil {
		t.Error(err)
	}
	d.Mark("done", 7)
	files := `create /d/f
write /d/f 2+5
truncate /d/f 6
sync /d/f
rename /d/f /d/g
syncdir /d
remove /d/g
`
	want := `mkdir /d
create /d/LOCK
` + files + files + `mark done 7`
	if got := events(trace); got != want {
		t.Errorf("trace:\n%s\nwant:\n%s", got, want)
	}
	trace.Stop()
	must(t, d.MkdirAll("/later"))
	if got := events(trace); got != want {
		t.Errorf("recorded after Stop:\n%s", got)
	}
}

// TestTraceKeepsBytes: what a caller does with its buffer later is its own affair.
func TestTraceKeepsBytes(t *testing.T) {
	d := NewDisk()
	trace := d.Record("")
	f, err := d.Create("/f")
	must(t, err)
	p := []byte("text")
	must(t, second(f.WriteAt(p, 0)))
	copy(p, "gone")
	must(t, second(f.WriteAt(make([]byte, 9000), 4)))
	if e := trace.Events; string(e[1].Data) != "text" || e[2].Data != nil || e[2].Length != 9000 {
		t.Errorf("%q; %d bytes of zeros kept", e[1].Data, len(e[2].Data))
	}
}

func TestFailuresLeaveNoEvent(t *testing.T) {
	d := NewDisk()
	trace := d.Record("")
	f, err := d.Create("/f")
	must(t, err)
	d.SetLimit(10)
	wantErr(t, "write", second(f.WriteAt(make([]byte, 11), 0)), syscall.ENOSPC)
	wantErr(t, "truncate", f.Truncate(11), syscall.ENOSPC)
	if d.Remove("/none") == nil || d.SyncDir("/none") == nil || d.Rename("/none", "/x") == nil {
		t.Error("no error")
	}
	if got := events(trace); got != "create /f" {
		t.Errorf("trace:\n%s", got)
	}
}

func TestRecordNeedsDurableDisk(t *testing.T) {
	d := NewDisk()
	put(t, d, "/f", "x", true)
	defer func() {
		if recover() == nil {
			t.Error("recorded from a name that is not durable")
		}
	}()
	d.Record("")
}

func TestSites(t *testing.T) {
	d := NewDisk()
	trace := d.Record("")
	f, err := d.Create("/f")
	must(t, err)
	must(t, f.Sync())
	must(t, d.SyncDir("/"))
	sites := trace.Sites()
	if len(sites) != 2 || !strings.HasPrefix(sites[0], "internal/vfstest/trace_test.go:") || !strings.HasSuffix(sites[0], " TestSites") {
		t.Errorf("%q", sites)
	}
}

// windowed returns a file that offers windows, on a disk that is recorded.
func windowed(t *testing.T) (*Disk, *Trace, vfs.LogFile) {
	t.Helper()
	d := NewDisk()
	trace := d.Record(t.TempDir())
	t.Cleanup(trace.Stop)
	f, err := d.Create("/f")
	must(t, err)
	log, ok := f.(vfs.LogFile)
	if !ok {
		t.Skip("files of this system offer no windows")
	}
	return d, trace, log
}

func TestWindowsAreRecorded(t *testing.T) {
	d, trace, log := windowed(t)
	must(t, second(log.WriteAt([]byte("0123456789"), 0)))
	must(t, log.Allocate(10, 200_000))
	w, err := log.Map(0, 100_000)
	must(t, err)
	must(t, second(w.WriteAt([]byte("ab"), 4)))
	d.Mark("one", 1)
	must(t, second(w.WriteAt([]byte("xyz"), 4095)))   // two pages
	must(t, second(log.WriteAt([]byte("direct"), 8))) // beside the window
	log.StartWriteback(0, 4096)
	must(t, second(w.WriteAt([]byte("!"), 99_999)))
	must(t, w.Close())
	must(t, log.Sync())
	must(t, log.Truncate(100_000))
	must(t, log.Close())
	want := `create /f
write /f 0+10
allocate /f 10+200000
write /f 4+2
mark one 1
write /f 4095+1
write /f 4096+2
write /f 8+6
writeback /f 0+4096
write /f 99999+1
sync /f
truncate /f 100000`
	if got := events(trace); got != want {
		t.Errorf("trace:\n%s\nwant:\n%s", got, want)
	}
	expected := make([]byte, 100_000)
	copy(expected, "0123ab67direct")
	copy(expected[4095:], "xyz")
	expected[99_999] = '!'
	if got := get(d, "/f"); !bytes.Equal([]byte(got), expected) {
		t.Error("the file does not hold what was written")
	}
	must(t, d.SyncDir("/"))
	if got := get(d.CrashClone(nil), "/f"); len(got) != 200_010 || got[:99_999] != string(expected[:99_999]) {
		t.Errorf("%d bytes are durable, or others than those", len(got))
	}
}

func TestWindowsNeedRoom(t *testing.T) {
	d, _, log := windowed(t)
	d.SetLimit(1000)
	wantErr(t, "allocate", log.Allocate(0, 1001), syscall.ENOSPC)
	must(t, log.Allocate(0, 1000))
	must(t, log.Allocate(0, 10)) // is there
	if d.UsedBytes() != 1000 {
		t.Error(fmt.Sprint(d.UsedBytes()))
	}
}
