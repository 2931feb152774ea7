package vfstest

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// The operations that only a trace has.
const (
	OpWriteback OpKind = "writeback" // vfs.LogFile.StartWriteback: no durability
	OpMark      OpKind = "mark"      // no operation: Disk.Mark
)

// Trace is what happened on a Disk since Record, in order. Legal tells what a power
// failure at any place of it may leave. It may be read when nobody uses the Disk
// any more.
type Trace struct {
	Events []Event

	disk    *Disk
	base    map[string]*diskNode    // what was there at the beginning, all of it durable
	first   map[*diskNode]*contents // as it was then
	windows string                  // a directory of the operating system; "": files offer no windows
	mirrors []*mirror
}

// Event is one operation that succeeded.
type Event struct {
	Kind    OpKind
	Name    string // clean path
	NewName string // of OpRename, OpLink and OpMoveDirectory
	Offset  int64  // of OpWrite, OpAllocate and OpWriteback; of OpTruncate the new size
	Length  int64  // of the same
	Data    []byte // of OpWrite; nil: zeros
	Site    string // of OpSync and OpSyncDir: who called, innermost first
	Value   int    // of OpMark

	file *diskNode  // of an operation on contents
	tree treeChange // of an operation on names
}

// String describes the event in one line.
func (e Event) String() string {
	text := fmt.Sprintf("%s %s", e.Kind, e.Name)
	switch e.Kind {
	case OpRename, OpLink, OpMoveDirectory:
		text += " " + e.NewName
	case OpWrite, OpAllocate, OpWriteback:
		text += fmt.Sprintf(" %d+%d", e.Offset, e.Length)
	case OpTruncate:
		text += fmt.Sprintf(" %d", e.Offset)
	case OpMark:
		text += fmt.Sprintf(" %d", e.Value)
	case OpSync, OpSyncDir:
		text += " by " + e.Site
	}
	return text
}

// Record starts a trace of all that changes the file system from now on. Everything
// must be durable, as in a new Disk or a crashed one. With a directory of the
// operating system as windows, files that are created offer windows where the
// system's do (vfs.LogFile).
func (d *Disk) Record(windows string) *Trace {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &Trace{disk: d, base: maps.Clone(d.entries), first: make(map[*diskNode]*contents), windows: windows}
	for name, node := range d.entries {
		if len(d.pending) > 0 || len(node.changed) > 0 || node.size != node.durableSize {
			panic(fmt.Sprintf("vfstest: Record of a Disk with pending changes: %s", name))
		}
		node.cloned = true
		t.first[node] = &contents{pages: maps.Clone(node.pages), size: node.size, cloned: true}
	}
	d.trace.Store(t)
	return t
}

// Mark notes in the trace that something happened outside of the file system.
func (d *Disk) Mark(name string, value int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(Event{Kind: OpMark, Name: name, Value: value})
}

// Stop ends the trace.
func (t *Trace) Stop() {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	t.absorb()
	t.disk.trace.Store(nil)
	for _, m := range t.mirrors {
		m.close()
	}
}

// note adds an event to the trace, if there is one. The caller holds mu whole.
func (d *Disk) note(e Event) {
	t := d.trace.Load()
	if t == nil {
		return
	}
	if e.file == nil {
		t.absorb() // the others have done that before they acted
	} else {
		e.Name = clean(e.Name)
	}
	switch e.Kind {
	case OpWrite:
		e.Data = keep(e.Data)
	case OpSync, OpSyncDir:
		e.Site = site()
	}
	t.Events = append(t.Events, e)
}

// keep copies bytes, and none for zeros.
func keep(p []byte) []byte {
	for i := 0; i < len(p); i += pageBytes {
		if end := min(i+pageBytes, len(p)); !bytes.Equal(p[i:end], zeros[:end-i]) {
			return bytes.Clone(p)
		}
	}
	return nil
}

// site names the calls that led here from outside of this package and package vfs, up
// to the start of the goroutine or to a test.
func site() string {
	var pcs [48]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	var names []string
	for {
		f, more := frames.Next()
		inside := strings.HasPrefix(f.Function, "lsmdb/internal/vfs.") || strings.HasPrefix(f.Function, "lsmdb/internal/vfstest.")
		if !inside || strings.HasSuffix(f.File, "_test.go") {
			byTest := strings.HasSuffix(f.File, "_test.go") || strings.HasPrefix(f.Function, "lsmdb/internal/tests/")
			if !strings.HasPrefix(f.Function, "lsmdb/") || byTest && len(names) > 0 {
				break
			}
			names = append(names, place(f))
		}
		if !more {
			break
		}
	}
	return strings.Join(names, " < ")
}

// place writes a frame as "wal/writer.go:304 (*Writer).Sync".
func place(f runtime.Frame) string {
	function := strings.TrimPrefix(f.Function, "lsmdb/")
	packageEnd := strings.LastIndex(function, "/") + 1
	packageEnd += strings.IndexByte(function[packageEnd:], '.')
	return fmt.Sprintf("%s/%s:%d %s", function[:packageEnd], filepath.Base(f.File), f.Line, function[packageEnd+1:])
}

// Sites returns the different callers of syncs, sorted.
func (t *Trace) Sites() []string {
	var sites []string
	for _, e := range t.Events {
		if e.Site != "" {
			sites = append(sites, e.Site)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(sites)))
}
