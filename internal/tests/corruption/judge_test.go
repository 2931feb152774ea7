package corruption

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
)

// verdict is what became of a mutant.
type verdict string

const (
	atOpen    verdict = "detected at open"
	atMissing verdict = "detected at open by a missing file"
	atRead    verdict = "detected at read"
	byVerify  verdict = "detected by Verify"
	harmless  verdict = "harmless"
	torn      verdict = "looks like an unfinished write" // of a killed process; documented
	silent    verdict = "SILENT LOSS"
	wrong     verdict = "WRONG DATA"
	panicked  verdict = "PANIC"
	strange   verdict = "UNEXPECTED ERROR"
)

// judgement is a verdict and its reason.
type judgement struct {
	verdict
	problem   string // more that is wrong; empty: nothing
	allocated uint64 // bytes
}

// mostAllocated bounds the memory for one mutant, whose reading takes about 1 MiB without
// damage.
const mostAllocated = 64 << 20

// bad says what is wrong with the engine, if anything is.
func (j *judgement) bad() string {
	switch {
	case j.allocated > mostAllocated:
		return fmt.Sprintf("%d bytes were allocated", j.allocated)
	case j.verdict == silent, j.verdict == wrong, j.verdict == panicked, j.verdict == strange:
		return "this must not happen: " + j.problem
	}
	return j.problem
}

// judge opens a mutant read-only, reads everything and verifies it.
func (v *victim) judge(m mutant, damaged fixture.Files) (j judgement) {
	before := allocatedSoFar()
	slow := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("%s %s %s hangs", m.kind, m.file, m.what)) })
	defer func() {
		slow.Stop()
		if p := recover(); p != nil {
			j = judgement{verdict: panicked, problem: fmt.Sprintf("%v\n%s", p, debug.Stack())}
		}
		j.allocated = allocatedSoFar() - before
	}()
	image := imageFS(damaged)
	d, err := db.Open(fixture.Dir, fixture.On(image, opening(db.Options{ReadOnly: true, MemtableBytes: 1, CacheBytes: -1})))
	if err != nil {
		return v.noticed(m, atOpen, err)
	}
	defer d.Close()
	r := &reading{d: d, found: fixture.View{}}
	if r.forward(); !m.idle {
		r.again(v)
	}
	switch {
	case r.err != nil:
		return v.noticed(m, atRead, r.err)
	case fixture.Differ(v.want(), r.found) == nil:
		return verified(m, image)
	}
	return v.lost(m, d, r.found)
}

// noticed is the verdict on a mutant whose damage was noticed: the error must be one of
// damage, and name the file if it is one file that was damaged. (Without the last edits of
// its MANIFEST, which may look unfinished after a kill, a database misses the files that
// they made obsolete.)
func (v *victim) noticed(m mutant, how verdict, err error) judgement {
	if !errors.Is(err, db.ErrCorrupt) && !errors.Is(err, db.ErrIncompatible) {
		return judgement{verdict: strange, problem: err.Error()}
	}
	j := judgement{verdict: how}
	file := damagedFile(err)
	if v.killed && kindOfFile(m.file) == "MANIFEST" && v.Files[file] == nil {
		return judgement{verdict: atMissing}
	}
	if m.kind == "bit" && file != m.file {
		j.problem = fmt.Sprintf("the error names %q: %v", file, err)
	}
	return j
}

// verified is the verdict on a mutant that shows what it should.
func verified(m mutant, image imageFS) judgement {
	if kindOfFile(m.file) == "WAL" {
		return judgement{verdict: harmless} // every record was replayed
	}
	report, err := fixture.VerifyOn(image, fixture.Dir)
	if err != nil {
		return judgement{verdict: strange, problem: err.Error()}
	}
	if !report.OK() {
		return judgement{verdict: byVerify}
	}
	return judgement{verdict: harmless}
}

// lost is the verdict on a mutant that shows something else without an error: the
// log of a killed process may have ended earlier where it was cut. One bit loses nothing:
// a mark behind the last record proves that it was durable.
func (v *victim) lost(m mutant, d *db.DB, found fixture.View) judgement {
	sequence := d.Metrics().Sequence
	if past := v.views[sequence]; past != nil && fixture.Differ(past.At(victimNow), found) == nil {
		isTail := v.killed && (m.file == v.lastLog() || m.file == "")
		if isTail && m.kind != "bit" {
			return judgement{verdict: torn}
		}
		return judgement{verdict: silent, problem: fmt.Sprintf("as of sequence number %d of %d", sequence, v.sequence)}
	}
	return judgement{verdict: wrong, problem: fixture.Differ(v.want(), found).Error()}
}

// reading is one look at everything. It ends at the first error.
type reading struct {
	d       *db.DB
	scanned []fixture.Operation
	found   fixture.View
	err     error
}

func (r *reading) forward() {
	r.scanned = r.scan((*db.Iterator).First, (*db.Iterator).Next)
	for _, entry := range r.scanned {
		r.found[entry.Key] = entry.Value
	}
}

// again reads backward and by key and compares.
func (r *reading) again(v *victim) {
	backward := r.scan((*db.Iterator).Last, (*db.Iterator).Prev)
	slices.Reverse(backward)
	if r.err == nil && !slices.Equal(r.scanned, backward) {
		r.found["backward"] = "shows something else than forward"
	}
	for key := range v.want() {
		r.get(key)
	}
	for _, key := range v.absent {
		r.get(key)
	}
}

func (r *reading) scan(first, next func(*db.Iterator) bool) (shown []fixture.Operation) {
	it, err := r.d.NewIterator(nil)
	if err != nil {
		r.err = err
		return nil
	}
	for ok := first(it); ok; ok = next(it) {
		shown = append(shown, fixture.Operation{Key: string(it.Key()), Value: string(it.Value())})
	}
	r.err = errors.Join(r.err, it.Err(), it.Close())
	return shown
}

// get compares with what the scan found.
func (r *reading) get(key string) {
	value, err := r.d.Get([]byte(key))
	scanned, there := r.found[key]
	switch {
	case errors.Is(err, db.ErrNotFound):
		if there && r.err == nil {
			r.found[key] = "not found by Get"
		}
	case err != nil:
		r.err = errors.Join(r.err, err)
	case r.err == nil && (!there || scanned != string(value)):
		r.found[key] = "another value by Get: " + string(value)
	}
}

func allocatedSoFar() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// imageFS shows files as they are and cannot be written to.
type imageFS fixture.Files

var errImage = errors.New("an image cannot be changed")

func (f imageFS) Open(name string) (vfs.File, error) {
	data, ok := f[filepath.Base(name)]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return imageFile{bytes.NewReader(data)}, nil
}

func (f imageFS) Stat(name string) (vfs.Info, error) {
	if name == fixture.Dir {
		return vfs.Info{IsDir: true}, nil
	}
	data, ok := f[filepath.Base(name)]
	if !ok {
		return vfs.Info{}, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return vfs.Info{SizeBytes: int64(len(data))}, nil
}

func (f imageFS) List(string) (names []string, err error) {
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (f imageFS) OpenDirectory(string) (vfs.Directory, error) { return imageDirectory{f}, nil }

// imageDirectory needs no lock.
type imageDirectory struct{ imageFS }

func (imageDirectory) Lock(bool) error        { return nil }
func (imageDirectory) Link(_, _ string) error { return errImage }
func (imageDirectory) SyncFile(string) error  { return errImage }
func (imageDirectory) NoteHolder()            {}
func (imageDirectory) Check() error           { return nil }
func (imageDirectory) Close() error           { return nil }

func (imageFS) Create(string) (vfs.File, error) { return nil, errImage }
func (imageFS) Remove(string) error             { return errImage }
func (imageFS) Rename(string, string) error     { return errImage }
func (imageFS) MkdirAll(string) error           { return errImage }
func (imageFS) SyncDir(string) error            { return errImage }

type imageFile struct{ *bytes.Reader }

func (f imageFile) Size() (int64, error)             { return f.Reader.Size(), nil }
func (imageFile) WriteAt([]byte, int64) (int, error) { return 0, errImage }
func (imageFile) Sync() error                        { return errImage }
func (imageFile) Truncate(int64) error               { return errImage }
func (imageFile) Check() error                       { return nil }
func (imageFile) Close() error                       { return nil }
