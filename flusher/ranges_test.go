package flusher

import (
	"fmt"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/output"
	"lsmdb/manifest"
	"lsmdb/memtable"
	"lsmdb/sstable"
)

// TestRangeDeletesReachTheLastKey: in a table a range delete ends, behind the last key that
// there is, in the memtable or anywhere in the tree.
func TestRangeDeletesReachTheLastKey(t *testing.T) {
	longest := strings.Repeat("z", base.MaxKeyBytes)
	for _, c := range []struct {
		name   string
		tree   map[int]string // last key by level; with ")" the end of a range delete
		key    string         // in the memtable
		start  string
		end    string
		reach  string
		absent bool
	}{
		{name: "nothing is there", absent: true},
		{name: "the memtable's own", key: "k", reach: "k\x00"},
		{name: "the tree's", key: "k", tree: map[int]string{0: "l", 6: "p"}, reach: "p\x00"},
		{name: "level 0", key: "k", tree: map[int]string{0: "q", 6: "p"}, reach: "q\x00"},
		{name: "the end of a range delete", key: "k", tree: map[int]string{5: "p)"}, reach: "p"},
		{name: "the longest key", key: longest, reach: longest + "\x00"},
		{name: "the end behind the longest key", tree: map[int]string{5: longest + "\x00)"}, reach: longest + "\x00"},
		{name: "an end behind all keys", key: "k", end: "zz", reach: "k\x00"},
		{name: "an end before", key: "k", end: "b", reach: "b"},
		{name: "a start behind all keys", key: "k", start: "x", absent: true},
		{name: "the empty key", tree: map[int]string{6: ""}, reach: "\x00"},
	} {
		m := memtable.New(1 << 20)
		if c.key != "" {
			m.Insert([]byte(c.key), nil, 5, base.KindSet)
		}
		m.Apply(base.Op{Kind: base.KindRangeDelete, Key: []byte(c.start), Value: []byte(c.end)}, 6)
		tree := &manifest.Version{}
		for level, last := range c.tree {
			largest := base.MakeInternalKey([]byte(last), 1, base.KindSet)
			if end, excluded := strings.CutSuffix(last, ")"); excluded {
				largest = base.MakeInternalKey([]byte(end), base.MaxSeq, base.KindRangeDelete)
			}
			tree.Levels[level] = []*manifest.TableMeta{{Summary: sstable.Summary{Largest: largest}}}
		}
		l := RangeDeletes(m, tree, output.Readers{})
		if (len(l) == 0) != c.absent {
			t.Errorf("%s: %v", c.name, l)
			continue
		}
		if c.absent {
			continue
		}
		if start, end := l.Bounds(); string(start) != c.start || string(end) != c.reach {
			t.Errorf("%s: from %.10q to %.10q", c.name, start, end)
		}
		env, mem := newEnvironment(t, direct)
		metas, err := Run(t.Context(), env, m.NewIterator(), l, output.Readers{}, func(_, _ int64) {})
		if err != nil || len(metas) != 1 || metas[0].RangeDeletes != 1 || fmt.Sprint(files(t, mem)) != "[000001.sst]" {
			t.Errorf("%s: %v, %v", c.name, metas, err)
		}
	}
}
