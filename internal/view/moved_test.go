package view

import (
	"errors"
	"path/filepath"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/memtable"
)

// TestChangesInLostMemtable: a transaction that cannot be told whether what it has read was
// changed, because a memtable was moved and lost, is told so. What is no memtable's fault
// stays what it is.
func TestChangesInLostMemtable(t *testing.T) {
	m := memtable.New(1 << 20)
	if !m.CanMove() {
		t.Skip("arenas lie on Go's heap here")
	}
	m.Apply(base.Op{Kind: base.KindSet, Key: []byte("a"), Value: []byte("value")}, 1)
	f, err := vfs.OS.Create(filepath.Join(t.TempDir(), "moved"))
	must(t, err)
	defer f.Close()
	must(t, m.MoveTo(f.(memtable.MappableFile)))
	p := new(Published)
	p.Publish(&State{Active: memtable.New(1 << 10), Sealed: []*memtable.Memtable{m}, Version: &manifest.Version{}}, 1)
	var key, walk Reads
	key.Add([]byte("a"))
	walk.spans = []span{{from: []byte("a"), to: []byte("b")}}
	for _, reads := range []*Reads{&key, &walk} {
		reads.Seal()
		if c, err := p.Changed(reads, 0); err != nil || c == nil {
			t.Fatalf("before: %v, %v", c, err)
		}
	}
	must(t, f.Truncate(0))
	for _, reads := range []*Reads{&key, &walk} {
		if c, err := p.Changed(reads, 0); err == nil || c != nil || errors.Is(err, base.ErrConflict) {
			t.Errorf("afterwards: %v, %v", c, err)
		}
	}
	defer func() {
		if fault := recover(); fault == nil {
			t.Error("a nil pointer was taken for a lost memtable")
		}
	}()
	var nowhere *int
	t.Error(p.State().guarded(func() { *nowhere = 1 }))
}
