package tour

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
)

// tourOnDisk is a tour whose database, in a directory, holds all files of a small tree.
func tourOnDisk(t *testing.T) *tour {
	t.Helper()
	root, _ := smallTree(t)
	tree, err := collect(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	c := &console.Console{Out: io.Discard, Err: io.Discard}
	tr := &tour{console: c, display: c.NewDisplay(), tree: tree, dir: filepath.Join(t.TempDir(), "db")}
	if tr.database, err = db.Open(tr.dir, tourOptions(c)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.database.Close() })
	for index := range tree.files {
		content, err := tree.content(index)
		if err == nil {
			err = tr.database.Put(tree.key(index), content, db.NoSync)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// What the database holds at the end is what it held before.
func TestMoreLeavesNothing(t *testing.T) {
	tr := tourOnDisk(t)
	entries := func() (all []byte) {
		it, err := tr.database.NewIterator(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer it.Close()
		for key, value := range it.All() {
			all = append(append(all, key...), value...)
		}
		return all
	}
	before := entries()
	if err := tr.more(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(entries(), before) {
		t.Error("something is left, or gone")
	}
	if m := tr.result.More; m.Copied != 15 || m.Directory != "dir0/" || m.Merges != 60 || m.Kinds != 1 || m.CheckpointEntries != 76 || m.CheckpointFiles < 3 {
		t.Errorf("got %+v", m)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(tr.dir), ".lsmdb-tour-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What is not as it should be is noticed, and its key named.
func TestMoreFindsMismatches(t *testing.T) {
	within := func(name string) []byte { return append(bytes.Clone(moreSpace), name...) }
	for what, tamper := range map[string]func(m *more) error{
		"the copy: missing in the database": func(m *more) error { return m.database.Put(within("copy/stranger"), nil) },
		"60 merges came to 61":              func(m *more) error { return m.database.Merge(within("kinds/"), []byte{1, 0, 0, 0, 0, 0, 0, 0}) },
		"0 merges came to 0":                func(m *more) error { return m.database.Put(within("kinds/.zip"), nil) },
	} {
		tr := tourOnDisk(t)
		m := &more{tour: tr, space: tr.database.Keyspace(moreSpace)}
		if err := tamper(m); err != nil {
			t.Fatal(err)
		}
		err := m.copy(t.Context())
		if err == nil {
			err = m.count(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if f := exit.Explain(m.wrong.failure()); f.Code != exit.Failed || !strings.Contains(f.Sentence, what) {
			t.Errorf("got %q, want %q", f.Sentence, what)
		}
	}

	tr := tourOnDisk(t)
	m := &more{tour: tr, space: tr.database.Keyspace(moreSpace)}
	other, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := m.compareAll(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if f := exit.Explain(m.wrong.failure()); !strings.Contains(f.Sentence, "not the same in the checkpoint") {
		t.Errorf("an empty checkpoint: %q", f.Sentence)
	}
	m.wrong = differences{}
	for _, d := range []*db.DB{tr.database, other} {
		if err := d.DeleteRange(nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Put([]byte("more"), nil); err != nil {
		t.Fatal(err)
	}
	if err := m.compareAll(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if f := exit.Explain(m.wrong.failure()); !strings.Contains(f.Sentence, "only in the checkpoint") {
		t.Errorf("a checkpoint with more: %q", f.Sentence)
	}
}
