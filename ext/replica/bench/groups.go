package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/ext/replica/raftlog"
)

// manyGroups is how many Raft groups the process of the second table has.
const manyGroups = 64

// groupsKinds are ways to store the logs of many groups.
func groupsKinds() []kind {
	all := []kind{{name: "lsmdb, one database", open: openShared}}
	for _, k := range kinds {
		k.name += ", one each"
		k.open = openEach(k.open)
		all = append(all, k)
	}
	return all
}

// groups are the stores of many groups as one. Only StoreLogs of its parts is measured.
type groups struct {
	store
	each  []store
	last  []uint64
	close func() error
}

func openShared(dir string) (store, error) {
	d, err := db.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	g := &groups{close: d.Close}
	for i := range manyGroups {
		s, err := raftlog.StoreIn(d, fmt.Appendf(nil, "%04d/", i))
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		g.add(s)
	}
	return g, nil
}

func openEach(open func(dir string) (store, error)) func(dir string) (store, error) {
	return func(dir string) (store, error) {
		g := &groups{close: func() error { return nil }}
		for i := range manyGroups {
			own := filepath.Join(dir, fmt.Sprint(i))
			err := os.Mkdir(own, 0o700)
			if err != nil {
				return nil, errors.Join(err, g.Close())
			}
			s, err := open(own)
			if err != nil {
				return nil, errors.Join(err, g.Close())
			}
			g.add(s)
		}
		return g, nil
	}
}

func (g *groups) add(s store) {
	g.each, g.last = append(g.each, s), append(g.last, 0)
}

func (g *groups) Close() (err error) {
	for _, s := range g.each {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, g.close())
}

// groupsRow has every group append one entry after the other, all at the same time.
var groupsRow = row{
	name:    "StoreLogs, 64 groups",
	prepare: func(s store) error { return appendEach(s.(*groups), manyGroups) },
	run: func(b *testing.B, s store) {
		if err := appendEach(s.(*groups), b.N); err != nil {
			b.Fatal(err)
		}
	},
}

// appendEach appends so many entries in all.
func appendEach(g *groups, entries int) error {
	var left atomic.Int64
	left.Store(int64(entries))
	var all sync.WaitGroup
	failed := make([]error, len(g.each))
	data := noise(entryBytes)
	for i, s := range g.each {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if failed[i] = s.StoreLogs([]*raft.Log{{Index: g.last[i] + 1, Term: 3, Data: data}}); failed[i] != nil {
					return
				}
				g.last[i]++
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}
