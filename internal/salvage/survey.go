package salvage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// survey is what the ends of all table files tell, before any is read.
type survey struct {
	files      map[uint64]*ending // by file number
	byIdentity map[uint64]uint64  // the number of the file that holds a table
	databaseID uint64             // 0: unknown
	flushed    base.Seq           // the largest number in any table that tells it
}

// surveyTables reads footers and properties.
func (r *rescue) surveyTables() error {
	s := &r.survey
	s.files, s.byIdentity = make(map[uint64]*ending), make(map[uint64]uint64)
	votes := make(map[uint64]int) // for the database's number
	for _, name := range slices.Sorted(maps.Keys(r.names)) {
		kind, number := base.ParseFileName(name)
		if kind != base.FileTable {
			continue
		}
		e := &ending{}
		s.files[number] = e
		f, err := r.open(name)
		if err != nil {
			e.fault = err.Error()
			continue
		}
		e.read(f)
		if err := f.Close(); err != nil {
			return err
		}
		if !e.footer {
			continue
		}
		s.byIdentity[e.identity] = number
		votes[databaseOf(e.identity, number)]++
		if p := e.properties; p != nil && !p.placeholder && !r.tree.removed[number] {
			s.flushed = max(s.flushed, p.largestSeq)
		}
	}
	s.databaseID = r.tree.databaseID
	if s.databaseID == 0 && len(votes) > 0 {
		s.databaseID = slices.MaxFunc(slices.Collect(maps.Keys(votes)), func(a, b uint64) int { return cmp.Or(cmp.Compare(votes[a], votes[b]), cmp.Compare(a, b)) })
	}
	return nil
}

// databaseOf undoes sstable.Identity: of the file number and the identity it makes the number
// of the database. The multipliers are the inverses of those there, modulo 2^64.
func databaseOf(identity, fileNumber uint64) uint64 {
	const increment = 0x9e3779b97f4a7c15
	return unmix(unmix(identity)^(fileNumber+increment)) - increment
}

func unmix(x uint64) uint64 {
	x ^= x>>31 ^ x>>62
	x *= 0x319642b2d24d8ec3
	x ^= x>>27 ^ x>>54
	x *= 0x96de1b173f119089
	return x ^ x>>30 ^ x>>60
}

// ending is the end of a table file: the footer, and the properties that it leads to.
type ending struct {
	fault      string // why the file cannot be opened
	sizeBytes  int64
	footer     bool // it verifies; without one the identity is only what seems to stand there
	identity   uint64
	newer      uint32 // a version of the format that is not known; 0: it is
	offset     int64  // of the properties block
	properties *properties
}

const (
	footerBytes    = 32
	tableVersion   = 1
	tableMagic     = "lsmdbsst"
	trailerBytes   = 6 // of a block: compression, type, checksum
	maxBlockBytes  = 512<<20 + trailerBytes
	maxValueBytes  = base.MaxValueBytes + base.ExpiryBytes
	noCompression  = byte(sstable.CompressionNone)
	maxCompression = byte(sstable.CompressionZstd)
)

// read reads it.
func (e *ending) read(f *source) {
	e.sizeBytes = f.sizeBytes
	at := f.sizeBytes - footerBytes
	if at < 0 {
		return
	}
	p := f.slice(at, f.sizeBytes)
	if string(p[footerBytes-len(tableMagic):]) != tableMagic {
		return
	}
	length, version := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint32(p[16:])
	e.identity = binary.LittleEndian.Uint64(p[8:])
	if base.Checksum(placeSum(e.identity, at), p[:20]) != binary.LittleEndian.Uint32(p[20:]) || e.identity == 0 {
		return
	}
	e.footer = true
	if version != tableVersion {
		e.newer = version
		return
	}
	if length > uint64(at) || length < trailerBytes {
		return
	}
	e.offset = at - int64(length)
	if b, err := readBlock(f, e.identity, extent{e.offset, int64(length)}); err == nil && b.kind == sstable.BlockProperties {
		e.properties, _ = decodeProperties(b.payload)
	}
}

// properties are those that matter here.
type properties struct {
	entries, rangeDeletes                uint64
	smallest, largest                    base.InternalKey
	smallestSeq, largestSeq              base.Seq
	indexBytes, filterBytes, rangesBytes int64
	placeholder                          bool
}

// decodeProperties decodes the payload of a properties block: for each property tag uvarint,
// length uvarint, content.
func decodeProperties(payload []byte) (*properties, error) {
	p := &properties{}
	numbers := map[uint64]func(uint64){
		1: func(n uint64) { p.entries = n }, 13: func(n uint64) { p.rangeDeletes = n },
		6: func(n uint64) { p.smallestSeq = base.Seq(n) }, 7: func(n uint64) { p.largestSeq = base.Seq(n) },
		11: func(n uint64) { p.indexBytes = int64(n) }, 12: func(n uint64) { p.filterBytes = int64(n) },
		18: func(n uint64) { p.rangesBytes = int64(n) }, 20: func(n uint64) { p.placeholder = n != 0 },
	}
	const smallest, largest = 4, 5
	seen := 0
	for f := (base.Fields{Rest: payload}); len(f.Rest) > 0; seen++ {
		tag, content := f.Uvarint("tag"), f.Field("property")
		if f.Err != nil {
			return nil, f.Err
		}
		if tag == smallest || tag == largest {
			if len(content) > 0 && len(content) < base.TrailerBytes {
				return nil, fmt.Errorf("a bound of %d bytes", len(content))
			}
			if tag == smallest {
				p.smallest = base.InternalKey(content).Clone()
			} else {
				p.largest = base.InternalKey(content).Clone()
			}
		} else if set := numbers[tag]; set != nil {
			if len(content) != 8 {
				return nil, fmt.Errorf("property %d of %d bytes", tag, len(content))
			}
			set(binary.LittleEndian.Uint64(content))
		}
	}
	if seen < 12 || p.indexBytes < 0 || p.filterBytes < 0 || p.rangesBytes < 0 {
		return nil, fmt.Errorf("%d properties", seen)
	}
	return p, nil
}

// placeSum starts the checksum of what stands at an offset of a table.
func placeSum(identity uint64, offset int64) uint32 {
	return base.ChecksumNumber(base.ChecksumNumber(0, identity), uint64(offset))
}
