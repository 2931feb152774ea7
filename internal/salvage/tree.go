package salvage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// tree is what a MANIFEST tells. Levels do not matter here: the sequence numbers say which
// version of a key is newer.
type tree struct {
	name    string // of the MANIFEST; empty: there is none
	tables  map[uint64]*manifest.TableMeta
	removed map[uint64]bool // tables that an edit has removed

	snapshot bool   // the first record was read
	holes    bool   // an edit is missing between others
	sealed   bool   // an End chunk stands behind the last edit
	offset   int64  // of the first hole; behind the last edit if there is none
	fault    string // what is wrong there

	databaseID, nextFile, oldestWAL uint64
	lastSeq                         base.Seq
	now                             int64
	merger                          string

	clean *manifest.CleanMark // what CURRENT says, if it says anything
	whole bool                // it lists every table that counts, or did before its last edits
}

// findTree reads the MANIFEST that CURRENT names. Where one of the two is lost, it reads the
// newest MANIFEST that begins with a whole snapshot.
func (r *rescue) findTree() error {
	current, err := manifest.ReadCurrent(r.fs, r.dir)
	known := err == nil
	var numbers []uint64
	for name := range r.names {
		if kind, number := base.ParseFileName(name); kind == base.FileManifest && number != current.Manifest {
			numbers = append(numbers, number)
		}
	}
	slices.SortFunc(numbers, func(a, b uint64) int { return cmp.Compare(b, a) })
	if known {
		numbers = append([]uint64{current.Manifest}, numbers...)
	} else {
		r.note("CURRENT cannot be read (%v)", err)
	}
	for i, number := range numbers {
		t, err := r.readTree(number)
		if err != nil {
			return err
		}
		if t.name != "" && (r.tree.name == "" || t.snapshot) {
			r.tree = t
			r.tree.whole = t.snapshot && !t.holes && (!known || i == 0)
		}
		if r.tree.snapshot {
			break
		}
	}
	if known {
		r.tree.clean = current.Clean
		if c := current.Clean; c != nil && r.tree.whole && !r.tree.sealed {
			r.tree.whole, r.tree.fault = false, fmt.Sprintf("ends here, but a clean close left it at %d", c.ManifestEnd)
		}
	}
	r.doubtTree(known, current.Manifest)
	return nil
}

func (r *rescue) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// doubtTree reports what follows for everything where no MANIFEST is whole.
func (r *rescue) doubtTree(known bool, named uint64) {
	t := &r.tree
	const consequence = "; all tables that are there are used, but for those that are known to be obsolete: a table that is missing is not noticed, deleted keys may come back, and merged values may be wrong where tables are missing"
	switch {
	case t.name == "":
		name := "MANIFEST"
		if known {
			name = base.ManifestName(named)
		}
		r.lose(Loss{File: name, Offset: -1, Doubtful: true, Detail: "no MANIFEST can be read" + consequence})
	case !t.whole && (t.holes || !t.snapshot || t.fault != ""):
		r.lose(Loss{File: t.name, Offset: t.offset, Doubtful: true, Detail: t.fault + consequence})
	case !t.whole:
		r.lose(Loss{File: base.ManifestName(named), Offset: -1, Doubtful: true, Detail: "cannot be read, and " + t.name + " may be out of date" + consequence})
	}
	if t.name != "" && (!known || t.name != base.ManifestName(named)) {
		r.note("%s, the newest that can be read, says which tables count", t.name)
	}
}

// readTree reads one MANIFEST, past its holes. The tree has no name if it cannot be opened.
func (r *rescue) readTree(number uint64) (t tree, err error) {
	name := base.ManifestName(number)
	f, err := r.open(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.note("%s cannot be opened (%v)", name, err)
		}
		return t, nil
	}
	defer f.Close()
	t = tree{name: name, tables: make(map[uint64]*manifest.TableMeta), removed: make(map[uint64]bool)}
	pending := piece{offset: -1} // a hole that nothing follows yet
	confirm := func() {
		if pending.offset >= 0 && !t.holes {
			t.holes, t.offset, t.fault = true, pending.offset, pending.fault
		}
		pending.offset = -1
	}
	edits := 0
	_, t.sealed, err = walkLog(f, name, number, func(p piece) error {
		var e *manifest.Edit
		if p.record != nil {
			var damage error
			if e, damage = manifest.DecodeEdit(p.record); damage != nil {
				p.fault = damage.Error()
			}
		}
		if e == nil {
			if pending.offset < 0 {
				pending = p
			}
			return nil
		}
		confirm()
		t.snapshot = t.snapshot || edits == 0 && !t.holes
		edits++
		t.apply(e)
		if !t.holes {
			t.offset = p.end
		}
		return nil
	})
	if t.sealed {
		confirm() // there was an edit
	}
	if !t.snapshot && t.fault == "" {
		t.fault = "no snapshot"
		if pending.offset >= 0 {
			t.fault = "the snapshot cannot be read: " + pending.fault
		}
	}
	return t, err
}

// apply changes the tree. What is missing before the edit does not matter to it.
func (t *tree) apply(e *manifest.Edit) {
	for _, gone := range e.Removed {
		delete(t.tables, gone.Number)
		t.removed[gone.Number] = true
	}
	for _, a := range e.Added {
		t.tables[a.Meta.Number] = a.Meta
		delete(t.removed, a.Meta.Number)
		t.lastSeq = max(t.lastSeq, a.Meta.LargestSeq)
		t.nextFile = max(t.nextFile, a.Meta.Number+1)
	}
	t.databaseID = max(t.databaseID, e.DatabaseID)
	t.nextFile = max(t.nextFile, e.NextFile)
	t.oldestWAL = max(t.oldestWAL, e.OldestWAL)
	t.lastSeq = max(t.lastSeq, e.LastSeq)
	t.now = max(t.now, e.Now)
	if e.Merger != "" {
		t.merger = e.Merger
	}
}
