package corruption

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Mutant is one change of one file of a victim.
type Mutant struct {
	File   string // its name
	Change string // what is done: bit, cut, block zeroed, blocks swapped, block over the next, missing, stale
	At     int64  // bit: number of the bit; cut: new size; block: offset
	Other  int64  // blocks swapped: offset of the second one
	End    bool   // nothing whole is left behind the damage
}

func (m Mutant) String() string { return fmt.Sprintf("%s of %s at %d", m.Change, m.File, m.At) }

const blockBytes = 512

// Amounts say how many mutants of each kind there are for each kind of file; 0: all
// there can be of bits and cuts.
type Amounts struct {
	Bits, Cuts, Blocks int
}

// Mutants lists those of a victim, the same ones each time. older is the victim as it
// was once.
func Mutants(image, older *Image, a Amounts) []Mutant {
	rng := rand.New(rand.NewPCG(1, 2))
	var list []Mutant
	byKind := make(map[string][]string)
	for _, name := range image.Names {
		if kind := FileKind(name); kind != "" {
			byKind[kind] = append(byKind[kind], name)
			list = append(list, Mutant{File: name, Change: "missing"})
			if old, ok := older.Files[name]; ok && !bytes.Equal(old.Data, image.Files[name].Data) {
				list = append(list, Mutant{File: name, Change: "stale"})
			}
		}
	}
	for _, kind := range Kinds {
		names := byKind[kind]
		list = append(list, spread(rng, image, names, a.Bits, "bit", 8)...)
		list = append(list, spread(rng, image, names, a.Cuts, "cut", 1)...)
		list = append(list, blocks(rng, image, names, a.Blocks)...)
	}
	return list
}

// Kinds are the kinds of files in the order of the table.
var Kinds = []string{"log", "value log", "table", "tree", "MANIFEST", "CURRENT", "other"}

// spread picks places in the used parts of some files.
func spread(rng *rand.Rand, image *Image, names []string, n int, change string, perByte int64) (list []Mutant) {
	var places []Mutant
	for _, name := range names {
		for at := range perByte * int64(len(image.Files[name].Data)) {
			places = append(places, Mutant{File: name, Change: change, At: at})
		}
	}
	if n == 0 || n >= len(places) {
		return places
	}
	for _, i := range rng.Perm(len(places))[:n] {
		list = append(list, places[i])
	}
	return list
}

func blocks(rng *rand.Rand, image *Image, names []string, n int) (list []Mutant) {
	var places []Mutant
	for _, name := range names {
		for at := int64(0); at < int64(len(image.Files[name].Data)); at += blockBytes {
			places = append(places, Mutant{File: name, At: at})
		}
	}
	if n > 0 && n < len(places) {
		rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
		places = places[:n]
	}
	for _, p := range places {
		for _, change := range []string{"block zeroed", "block over the next", "blocks swapped"} {
			p.Change = change
			length := int64(len(image.Files[p.File].Data))
			whole := length / blockBytes
			p.End = p.At+blockBytes >= length || change == "block over the next" && p.At+2*blockBytes >= length
			if change == "blocks swapped" {
				if p.Other = blockBytes * rng.Int64N(max(1, whole)); p.Other == p.At || p.At/blockBytes >= whole {
					continue
				}
			}
			list = append(list, p)
		}
	}
	return list
}

// Apply returns the victim with the change, nil if that changes nothing.
func (m Mutant) Apply(image, older *Image) *Image {
	changed := &Image{Names: slices.Clone(image.Names), Files: make(map[string]File, len(image.Files))}
	for name, f := range image.Files {
		changed.Files[name] = f
	}
	f := image.Files[m.File]
	switch m.Change {
	case "missing":
		changed.Names = slices.DeleteFunc(changed.Names, func(name string) bool { return name == m.File })
		return changed
	case "stale":
		changed.Files[m.File] = older.Files[m.File]
		return changed
	case "cut":
		f.Data, f.Size = f.Data[:m.At], m.At
	default:
		f.Data = m.change(bytes.Clone(f.Data))
	}
	if f.Size == image.Files[m.File].Size && bytes.Equal(f.Data, image.Files[m.File].Data) {
		return nil
	}
	changed.Files[m.File] = f
	return changed
}

// change damages data in place.
func (m Mutant) change(data []byte) []byte {
	end := min(m.At+blockBytes, int64(len(data))) // of a block
	switch m.Change {
	case "bit":
		data[m.At/8] ^= 1 << (m.At % 8)
	case "block zeroed":
		clear(data[m.At:end])
	case "block over the next":
		copy(data[end:], data[m.At:end])
	case "blocks swapped":
		one := bytes.Clone(data[m.At:end])
		copy(data[m.At:], data[m.Other:m.Other+blockBytes])
		copy(data[m.Other:], one)
	}
	return data
}
