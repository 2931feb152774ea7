package debug

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"lsmdb/compactor"
	"lsmdb/internal/base"
	"lsmdb/internal/inside"
	"lsmdb/manifest"
	"lsmdb/sstable"
	"lsmdb/stages"
)

func table(number uint64, from, to string, bytes int64) *manifest.TableMeta {
	return &manifest.TableMeta{Number: number, Summary: sstable.Summary{
		SizeBytes: bytes, Entries: 10, SmallestSeq: 1, LargestSeq: 9,
		Smallest: base.MakeInternalKey([]byte(from), 1, base.KindSet), Largest: base.MakeInternalKey([]byte(to), 1, base.KindSet),
	}}
}

// many are neighbouring tables.
func many(first uint64, n int) (tables []*manifest.TableMeta) {
	for i := range n {
		tables = append(tables, table(first+uint64(i), fmt.Sprintf("key%06d", 10*i), fmt.Sprintf("key%06d", 10*i+9), 1000))
	}
	return tables
}

func pictureOf(v *manifest.Version) (*picture, *inside.Picture) {
	in := &inside.Picture{Version: v, Policy: compactor.NewPolicy(1 << 20)}
	return draw(1, in), in
}

// Boxes lie where their keys do, and large tables are wide.
func TestPlaces(t *testing.T) {
	v := &manifest.Version{}
	v.Levels[0] = []*manifest.TableMeta{table(9, "b", "y", 500), table(8, "a", "c", 500)}
	v.Levels[5] = []*manifest.TableMeta{table(1, "a", "f", 1000), table(2, "g", "m", 8000), table(3, "n", "n", 10)}
	v.Levels[6] = []*manifest.TableMeta{table(4, "a", "e", 4000), table(5, "z", "zz", 4000)}
	p, _ := pictureOf(v)
	if len(p.Levels) != 3 || p.Levels[1].Level != 5 || p.First != "a" || p.Last != "zz" {
		t.Fatalf("%+v", p)
	}
	for _, l := range p.Levels {
		for i, b := range l.Boxes {
			if b.X0 < 0 || b.X1 < b.X0 || b.X1 > unit {
				t.Errorf("table %d lies from %d to %d", b.Number, b.X0, b.X1)
			}
			if i > 0 && l.Level > 0 && b.X0 < l.Boxes[i-1].X1 {
				t.Errorf("table %d begins at %d, the one before ends at %d", b.Number, b.X0, l.Boxes[i-1].X1)
			}
		}
	}
	newest, small, large := p.Levels[0].Boxes[0], p.Levels[1].Boxes[0], p.Levels[1].Boxes[1]
	if newest.X0 <= small.X0 || newest.X1 <= large.X1 || large.X1-large.X0 <= small.X1-small.X0 {
		t.Errorf("newest %d to %d, small %d to %d, large %d to %d", newest.X0, newest.X1, small.X0, small.X1, large.X0, large.X1)
	}
	if last := p.Levels[2].Boxes[1]; last.X1 != unit && last.X1 != unit-1 {
		t.Errorf("the last box ends at %d", last.X1)
	}
	empty, _ := pictureOf(&manifest.Version{})
	if text := string(encode(empty)); len(empty.Levels) != 1 || !strings.Contains(text, `"boxes":[]`) {
		t.Errorf("an empty tree: %s", text)
	}
}

// A database of ten thousand tables fits on a screen, and into an event.
func TestManyTables(t *testing.T) {
	v := &manifest.Version{}
	v.Levels[0] = many(20_000, 100)
	v.Levels[6] = many(1, 10_000)
	p, _ := pictureOf(v)
	for _, l := range p.Levels {
		tables := 0
		for _, b := range l.Boxes {
			tables += max(b.Count, 1)
		}
		if tables != l.Tables || len(l.Boxes) > maxBoxes || len(l.Boxes) < maxBoxes/3 {
			t.Errorf("level %d: %d boxes for %d of %d tables", l.Level, len(l.Boxes), tables, l.Tables)
		}
	}
	if n := len(encode(p)); n > 32<<10 {
		t.Errorf("the event takes %d bytes", n)
	}
	tables, level := find(v, p.Levels[1].Boxes[3].Number, p.Levels[1].Boxes[3].Count)
	if level != 6 || len(tables) != p.Levels[1].Boxes[3].Count || tables[0].Number != p.Levels[1].Boxes[3].Number {
		t.Errorf("found %d tables of level %d", len(tables), level)
	}
}

// What is new, what is being merged, and what is hot.
func TestMarks(t *testing.T) {
	start := time.Unix(1000, 0)
	v := &manifest.Version{}
	v.Levels[6] = many(1, 3)
	var b births
	b.note(v, start)
	v = &manifest.Version{Levels: v.Levels}
	v.Levels[0] = []*manifest.TableMeta{table(7, "a", "z", 1000)}
	b.note(v, start.Add(time.Second))
	p, in := pictureOf(v)
	in.Running = []stages.Running{{}, {Compaction: &compactor.Job{Inputs: v.Levels[0], Overlaps: v.Levels[6][1:2]}}}
	p.Levels[1].Boxes[2].heat = 0.5
	for _, c := range []struct {
		after time.Duration
		age0  string
		heat  string
	}{{time.Second, "9", "005"}, {31 * time.Second, "4", "005"}, {2 * time.Minute, "0", "005"}} {
		m := p.mark(in, &b, start.Add(c.after))
		if m.Age[0] != c.age0 || m.Age[1] != "000" || m.Heat[1] != c.heat || m.Busy[0] != "1" || m.Busy[1] != "010" {
			t.Errorf("after %v: %+v", c.after, m)
		}
	}
	next := draw(2, in)
	next.takeOver(p)
	if next.Levels[1].Boxes[2].heat != 0.5 || next.Levels[1].Boxes[0].heat != 0 {
		t.Error("heat is lost when the tree changes")
	}
	next.feel() // nothing of that is open
	if h := next.Levels[1].Boxes[2].heat; h >= 0.5 || h < 0.4 {
		t.Errorf("cools to %v", h)
	}
}

// A browser may ask for any number of tables.
func TestFindTakesAnyCount(t *testing.T) {
	v := new(manifest.Version)
	v.Levels[3] = []*manifest.TableMeta{{Number: 7}, {Number: 8}, {Number: 9}}
	for most, want := range map[int]int{1: 1, 2: 2, 3: 2, math.MaxInt: 2} {
		if tables, level := find(v, 8, most); len(tables) != want || level != 3 || tables[0].Number != 8 {
			t.Errorf("%d tables from 8 on: %v of level %d", most, tables, level)
		}
	}
	if tables, _ := find(v, 1, 1); len(tables) > 0 {
		t.Errorf("found %v", tables)
	}
}
