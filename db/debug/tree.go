package debug

import (
	"bytes"
	"slices"
	"time"

	"lsmdb/internal/inside"
	"lsmdb/manifest"
)

// A database may have tens of thousands of tables. A screen has room for a few hundred boxes.
const (
	maxBoxes = 96 // of a level: where it has more tables, neighbours share a box
	maxRuns  = 64 // of level 0, which lie above each other
	unit     = 10_000
)

// picture is the tree as boxes, to be sent when it has changed.
type picture struct {
	ID     int64   `json:"id"`
	First  string  `json:"first"` // key in the tree
	Last   string  `json:"last"`
	Levels []level `json:"levels"`
}

// level is a level of the tree: level 0, and all from the first below it that has tables.
type level struct {
	Level   int    `json:"level"`
	Tables  int    `json:"tables"`
	Bytes   int64  `json:"bytes"`
	Target  int64  `json:"target"` // it is to have at most; 0: it is to be empty, or there is no bound
	Entries uint64 `json:"entries"`
	Boxes   []box  `json:"boxes"` // level 0: newest first; otherwise by ascending key
}

// box is a table, or some neighbours.
type box struct {
	Number  uint64 `json:"n"`           // of the (first) table
	Count   int    `json:"c,omitempty"` // of tables, if there are several
	Bytes   int64  `json:"b"`
	Deletes int    `json:"d,omitempty"` // percent of the entries
	X0      int    `json:"x"`           // from where to where it reaches on the axis of keys, of unit
	X1      int    `json:"y"`
	From    string `json:"f"`
	To      string `json:"t"`

	tables []*manifest.TableMeta
	heat   float64 // share of the last seconds in which its tables were read
}

// marks are what changes about the boxes of a tree: for each level a string with a digit for
// each box. Heat 9: read in each of the last seconds. Age 9: written in this second, 1: within
// the last minute, 0: before. Busy are boxes with tables that jobs take away.
type marks struct {
	Heat []string `json:"heat"`
	Age  []string `json:"age"`
	Busy []string `json:"busy"`
}

// draw makes the boxes of a tree.
func draw(id int64, in *inside.Picture) *picture {
	p := &picture{ID: id}
	targets := in.Policy.Targets(in.Version)
	populated := false
	for i, tables := range in.Version.Levels {
		populated = populated || i > 0 && len(tables) > 0
		if i > 0 && !populated {
			continue
		}
		l := level{Level: i, Tables: len(tables), Boxes: boxes(tables, i)}
		if i > 0 && i < manifest.NumLevels-1 {
			l.Target = targets.Bytes[i]
		}
		for _, t := range tables {
			l.Bytes += t.SizeBytes
			l.Entries += t.Entries
		}
		p.Levels = append(p.Levels, l)
	}
	p.place()
	return p
}

// boxes puts tables into as many boxes as there is room for.
func boxes(tables []*manifest.TableMeta, level int) []box {
	most := maxBoxes
	if level == 0 {
		most = maxRuns
	}
	each := max(1, (len(tables)+most-1)/most)
	list := []box{}
	for group := range slices.Chunk(tables, each) {
		b := box{Number: group[0].Number, tables: group}
		if len(group) > 1 {
			b.Count = len(group)
		}
		var deletes, entries uint64
		for _, t := range group {
			b.Bytes += t.SizeBytes
			deletes += t.Deletes + t.RangeDeletes
			entries += t.Entries + t.RangeDeletes
		}
		b.Deletes = int(100 * deletes / max(entries, 1))
		from, to := b.bounds()
		b.From, b.To = keyText(from, shownKeyBytes), keyText(to, shownKeyBytes)
		list = append(list, b)
	}
	return list
}

// shownKeyBytes is how much of a key stands beside a box.
const shownKeyBytes = 40

// bounds are the first and the last user key of its tables.
func (b *box) bounds() (from, to []byte) {
	for i, t := range b.tables {
		smallest, largest := t.Smallest.UserKey(), t.Largest.UserKey()
		if i == 0 || bytes.Compare(smallest, from) < 0 {
			from = smallest
		}
		if i == 0 || bytes.Compare(largest, to) > 0 {
			to = largest
		}
	}
	return from, to
}

// place gives each box its place on an axis of keys. Where much data lies between two keys,
// they are far from each other.
func (p *picture) place() {
	var keys [][]byte
	for _, l := range p.Levels {
		for i := range l.Boxes {
			from, to := l.Boxes[i].bounds()
			keys = append(keys, from, to)
		}
	}
	if len(keys) == 0 {
		return
	}
	slices.SortFunc(keys, bytes.Compare)
	keys = slices.CompactFunc(keys, bytes.Equal)
	p.First, p.Last = keyText(keys[0], shownKeyBytes), keyText(keys[len(keys)-1], shownKeyBytes)
	at := func(key []byte) int {
		i, _ := slices.BinarySearchFunc(keys, key, bytes.Compare)
		return i
	}
	// Each box spreads its bytes evenly over the intervals between keys that it encloses.
	changes := make([]float64, len(keys)+1)
	var total float64
	for _, l := range p.Levels {
		for i := range l.Boxes {
			b := &l.Boxes[i]
			from, to := b.bounds()
			b.X0, b.X1 = at(from), at(to)
			if b.X1 > b.X0 {
				share := float64(b.Bytes) / float64(b.X1-b.X0)
				changes[b.X0] += share
				changes[b.X1] -= share
				total += float64(b.Bytes)
			}
		}
	}
	least := (total + 1) / 50 / float64(len(keys)) // also of intervals without anything
	places := make([]float64, len(keys))
	weight := 0.0
	for i := range len(keys) - 1 {
		weight += changes[i]
		places[i+1] = places[i] + max(weight, 0) + least
	}
	scale := unit / max(places[len(keys)-1], least)
	for _, l := range p.Levels {
		for i := range l.Boxes {
			b := &l.Boxes[i]
			b.X0, b.X1 = int(places[b.X0]*scale), int(places[b.X1]*scale)
		}
	}
}

// takeOver keeps what is known of boxes that there were before.
func (p *picture) takeOver(before *picture) {
	if before == nil {
		return
	}
	heat := make(map[uint64]float64)
	for _, l := range before.Levels {
		for i := range l.Boxes {
			heat[l.Boxes[i].Number] = l.Boxes[i].heat
		}
	}
	for _, l := range p.Levels {
		for i := range l.Boxes {
			l.Boxes[i].heat = heat[l.Boxes[i].Number]
		}
	}
}

// cooling is how much of the heat is left after a second.
const cooling = 0.85

// overlook forgets which tables were read since the last call of feel.
func (p *picture) overlook() {
	for _, l := range p.Levels {
		for i := range l.Boxes {
			l.Boxes[i].read()
		}
	}
}

// read counts the tables that were read since the last call.
func (b *box) read() (tables int) {
	for _, t := range b.tables {
		if t.Handle != nil && t.Handle.UsedSince() {
			tables++
		}
	}
	return tables
}

// feel notes which tables were read since the last call.
func (p *picture) feel() {
	for _, l := range p.Levels {
		for i := range l.Boxes {
			b := &l.Boxes[i]
			b.heat = cooling*b.heat + (1-cooling)*float64(b.read())/float64(len(b.tables))
		}
	}
}

// births tell how old tables are, by their numbers, which ascend.
type births struct {
	looked *manifest.Version
	newest []uint64 // number of the newest table at each of the last looks, the oldest look first
	at     []time.Time
}

const (
	youth     = time.Minute // how long tables count as young
	maxBirths = 64
)

// note looks at a tree.
func (b *births) note(v *manifest.Version, now time.Time) {
	if v == b.looked {
		return
	}
	b.looked = v
	var newest uint64
	for _, tables := range v.Levels {
		for _, t := range tables {
			newest = max(newest, t.Number)
		}
	}
	if n := len(b.newest); n > 0 {
		newest = max(newest, b.newest[n-1])
	}
	b.newest, b.at = append(b.newest, newest), append(b.at, now)
	if len(b.newest) > maxBirths {
		b.newest, b.at = b.newest[1:], b.at[1:]
	}
}

// age is 9 for the youngest tables, and 0 for those that are older than a minute or were
// there at the first look.
func (b *births) age(number uint64, now time.Time) int {
	i, _ := slices.BinarySearch(b.newest, number)
	if i == 0 || i == len(b.newest) {
		return 0
	}
	return int(9 * (1 - min(1, now.Sub(b.at[i]).Seconds()/youth.Seconds())))
}

// mark says what has changed about the boxes.
func (p *picture) mark(in *inside.Picture, b *births, now time.Time) *marks {
	busy := make(map[uint64]bool)
	for _, r := range in.Running {
		if r.Compaction != nil {
			for _, t := range slices.Concat(r.Compaction.Inputs, r.Compaction.Overlaps) {
				busy[t.Number] = true
			}
		}
	}
	m := &marks{}
	for _, l := range p.Levels {
		heat, age, taken := make([]byte, len(l.Boxes)), make([]byte, len(l.Boxes)), make([]byte, len(l.Boxes))
		for i := range l.Boxes {
			box := &l.Boxes[i]
			heat[i] = '0' + byte(9*box.heat+0.5)
			youngest, any := 0, byte('0')
			for _, t := range box.tables {
				youngest = max(youngest, b.age(t.Number, now))
				if busy[t.Number] {
					any = '1'
				}
			}
			age[i], taken[i] = '0'+byte(youngest), any
		}
		m.Heat, m.Age, m.Busy = append(m.Heat, string(heat)), append(m.Age, string(age)), append(m.Busy, string(taken))
	}
	return m
}

// find returns some neighbouring tables from one on, and their level.
func find(v *manifest.Version, number uint64, most int) (tables []*manifest.TableMeta, level int) {
	for level, all := range v.Levels {
		for i, t := range all {
			if t.Number == number {
				return all[i:][:min(most, len(all)-i)], level
			}
		}
	}
	return nil, 0
}
