package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lsmdb/internal/base"
)

// eachLog runs a test on every small log, in parallel.
func eachLog(t *testing.T, test func(t *testing.T, m *model)) {
	for name, m := range logs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, m)
		})
	}
}

func TestUndamagedLogReadsWhole(t *testing.T) {
	eachLog(t, func(t *testing.T, m *model) {
		mustDo(t, m.compare(m.data))
		o := readLog(m.data)
		if len(o.records) != len(m.records) || o.err != nil || o.end.Sealed != m.sealed || o.end.TornBytes != 0 {
			t.Fatalf("%d records of %d, error %v, end %+v", len(o.records), len(m.records), o.err, o.end)
		}
	})
}

func TestEveryTruncation(t *testing.T) {
	eachLog(t, func(t *testing.T, m *model) {
		for _, length := range m.places(40) {
			if err := m.compare(m.data[:length]); err != nil {
				t.Fatalf("cut to %d bytes: %v", length, err)
			}
		}
	})
}

func TestEveryBitFlip(t *testing.T) {
	eachLog(t, func(t *testing.T, m *model) {
		data := slices.Clone(m.data)
		for _, at := range m.places(40) {
			for bit := range 8 {
				if base.Invariants && bit != int(at%8) {
					continue // one in eight where the race detector is slow
				}
				data[at] ^= 1 << bit
				if err := m.compare(data); err != nil {
					t.Fatalf("bit %d of byte %d flipped: %v", bit, at, err)
				}
				data[at] ^= 1 << bit
			}
		}
	})
}

// A machine that stops may leave zeros where it had not written yet.
func TestZeroedRanges(t *testing.T) {
	eachLog(t, func(t *testing.T, m *model) {
		borders := m.borders()
		for i, from := range borders {
			for _, to := range borders[i+1:] {
				data := slices.Clone(m.data)
				clear(data[from:to])
				if err := m.compare(data); err != nil {
					t.Fatalf("bytes %d to %d zeroed: %v", from, to, err)
				}
			}
		}
	})
}

// borders returns offsets around the edges of chunks, sectors and blocks.
func (m *model) borders() []int64 {
	var borders []int64
	for _, c := range m.chunks {
		borders = append(borders, c.from, c.from+4, c.from+7, c.from+8, (c.from+c.to)/2, c.to-1, c.to)
	}
	for at := int64(0); at < int64(len(m.data)); at += 4096 {
		borders = append(borders, at, at+512)
	}
	last := m.chunks[len(m.chunks)-1].to
	borders = slices.DeleteFunc(borders, func(at int64) bool { return at > last || at > int64(len(m.data)) })
	slices.Sort(borders)
	borders = slices.Compact(borders)
	if base.Invariants {
		rand.Shuffle(len(borders), func(i, j int) { borders[i], borders[j] = borders[j], borders[i] })
		borders = borders[:min(len(borders), 10)]
		slices.Sort(borders)
	}
	return borders
}

// Bytes that an older life of the file left behind never verify, whether they
// belonged to another segment, to another place or to both.
func TestBytesOfAnotherLife(t *testing.T) {
	older := map[string][]byte{}
	for name, m := range logs(t) {
		older[name] = rewriteAs(t, m, testSegment+1)
	}
	eachLog(t, func(t *testing.T, m *model) {
		for name, old := range older {
			for _, from := range m.borders() {
				data := slices.Clone(m.data)
				data = append(data, make([]byte, max(0, len(old)-len(data)))...)
				copy(data[from:], old[min(from, int64(len(old))):])
				if err := m.compare(data); err != nil {
					t.Fatalf("from %d on the bytes of log %q: %v", from, name, err)
				}
			}
		}
	})
}

// rewriteAs writes the records of a log into a log of another number.
func rewriteAs(t *testing.T, m *model, segment uint64) []byte {
	f := &memoryFile{}
	w, err := NewWriter(f, testName, segment, Previous{})
	mustDo(t, err)
	for _, record := range m.records {
		mustDo(t, w.Append(record))
		mustDo(t, w.Sync())
	}
	if m.sealed {
		_, err := w.Finish()
		mustDo(t, err)
	}
	return f.data
}

func TestMovedBytes(t *testing.T) {
	eachLog(t, func(t *testing.T, m *model) {
		const blockBytes = 32768
		for i := 0; i+blockBytes <= len(m.data); i += blockBytes {
			for j := i + blockBytes; j+blockBytes <= len(m.data); j += blockBytes {
				data := slices.Clone(m.data)
				copy(data[i:i+blockBytes], m.data[j:])
				copy(data[j:j+blockBytes], m.data[i:i+blockBytes])
				if err := m.compare(data); err != nil {
					t.Errorf("blocks at %d and %d swapped: %v", i, j, err)
				}
				data = slices.Clone(m.data)
				copy(data[j:j+blockBytes], m.data[i:])
				if err := m.compare(data); err != nil {
					t.Errorf("block at %d copied to %d: %v", i, j, err)
				}
			}
		}
		for _, shift := range []int{1, 7, 512} {
			moved := slices.Insert(slices.Clone(m.data), 27, make([]byte, shift)...)
			if err := m.compare(moved); err != nil {
				t.Errorf("everything behind the header moved by %d: %v", shift, err)
			}
		}
	})
}

// Random damage of every sort at once.
func TestRandomDamage(t *testing.T) {
	tries := 2000
	if base.Invariants {
		tries = 60
	}
	eachLog(t, func(t *testing.T, m *model) {
		rng := rand.New(rand.NewPCG(1, uint64(len(m.data))))
		for range tries {
			seed := rng.Uint64()
			if err := m.compare(mutilate(m.data, seed)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	})
}

func mutilate(original []byte, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 2))
	data := slices.Clone(original)
	solid := len(bytes.TrimRight(data, "\x00"))
	for range 1 + rng.IntN(3) {
		at := rng.IntN(min(solid+64, len(data)))
		n := min(1+rng.IntN(1<<rng.IntN(14)), len(data)-at)
		switch rng.IntN(6) {
		case 0:
			data[at] ^= byte(1 + rng.IntN(255))
		case 1:
			clear(data[at : at+n])
		case 2:
			copy(data[at:at+n], noise(seed, n))
		case 3:
			copy(data[rng.IntN(len(data)):], data[at:at+n])
		case 4:
			copy(data[at:at+n], bytes.Repeat([]byte{byte(rng.IntN(8))}, n))
		case 5:
			data = data[:max(at, 1)]
			solid = len(data)
		}
	}
	return data
}

// The model itself must not be blind: in a log that was synced throughout, damage
// anywhere but in the last record is an error.
func TestDamageBelowTheMarkIsAnError(t *testing.T) {
	for _, name := range []string{"all synced", "sealed"} {
		m := logs(t)[name]
		last := m.chunks[len(m.chunks)-1]
		for _, c := range m.chunks[:len(m.chunks)-1] {
			data := slices.Clone(m.data)
			data[c.to-1] ^= 0x40
			if at := damageOffset(readLog(data).err); at != c.from {
				t.Errorf("%s: chunk at %d damaged, error names %d", name, c.from, at)
			}
		}
		data := slices.Clone(m.data)
		data[last.to-1] ^= 0x40
		if o := readLog(data); o.err != nil || o.end.TornBytes != last.to-last.from {
			t.Errorf("%s: last chunk damaged: error %v, end %+v", name, o.err, o.end)
		}
	}
}

// countingFile counts how often it is read.
type countingFile struct {
	*memoryFile
	reads int
}

func (f *countingFile) ReadAt(p []byte, offset int64) (int, error) {
	f.reads++
	return f.memoryFile.ReadAt(p, offset)
}

// TestWalkOverManyHoles walks a log in which every other chunk is bad and that goes on
// with zeros for long. It reads each block a few times, not the zeros for each hole.
func TestWalkOverManyHoles(t *testing.T) {
	const holes, zeroBlocks = 500, 100
	pieces := []piece{headerPiece(1)}
	for range 2 * holes {
		pieces = append(pieces, piece{TypeFull, "\x00payload"})
	}
	log := forge(pieces...)
	for i := range holes {
		log[logStart+2*i*(chunkHeaderBytes+8)] ^= 1
	}
	f := &countingFile{memoryFile: &memoryFile{data: append(log, make([]byte, zeroBlocks*BlockBytes)...)}}
	seen, bad := 0, 0
	for c, err := range Chunks(f, testName, testSegment) {
		if seen++; err != nil {
			bad++
		}
		if seen > 2*holes+2 {
			t.Fatalf("a chunk too many at %d", c.Offset)
		}
	}
	if seen != 2*holes+2 || bad != holes || f.reads > 4*(zeroBlocks+2) {
		t.Errorf("%d chunks, %d of them bad, in %d reads of %d blocks", seen, bad, f.reads, zeroBlocks+1)
	}
}

// proved is a log whose last synced record is followed by a mark: a short record that
// was written after the sync and is not synced itself.
type proved struct {
	data     []byte
	from, to int64 // of the last synced record
	end      int64 // of the mark
}

const markBytes = 12 // a commit without operations

func prove(t *testing.T, lengthBytes int) proved {
	t.Helper()
	f := &memoryFile{}
	w := mustWriter(t, f)
	mustDo(t, w.Append(noise(1, 50)))
	mustDo(t, w.Sync())
	p := proved{from: chunkStart(w.Offset())}
	mustDo(t, w.Append(noise(2, lengthBytes)))
	mustDo(t, w.Sync())
	p.to = w.Offset()
	reserved, syncs := w.ReservedBytes(), f.syncs
	room := w.Room(markBytes)
	mustDo(t, w.Append(noise(3, markBytes)))
	if grew := w.ReservedBytes() > reserved; grew == room {
		t.Fatalf("room for the mark: %t, but the log grew: %t", room, grew)
	}
	if w.Durable() != p.to || f.syncs != syncs {
		t.Fatalf("durable %d of %d, %d syncs", w.Durable(), p.to, f.syncs-syncs)
	}
	p.data, p.end = f.data, w.Offset()
	return p
}

// TestRoom: a record that there is room for does not make the log grow, up to the last byte.
func TestRoom(t *testing.T) {
	long, answers := noise(1, 65_500), map[bool]int{}
	for length := len(long) - 300; length < len(long); length++ {
		w := mustWriter(t, &memoryFile{})
		mustDo(t, w.Append(long[:length]))
		reserved, room := w.ReservedBytes(), w.Room(markBytes)
		mustDo(t, w.Append(long[:markBytes]))
		if grew := w.ReservedBytes() > reserved; grew == room {
			t.Fatalf("behind %d bytes there is room: %t, but the log grew: %t", length, room, grew)
		}
		answers[room]++
	}
	if len(answers) != 2 {
		t.Errorf("always the same answer: %v", answers)
	}
}

// proofLengths leave the mark in every position: behind the record, across a border of
// blocks, behind padding, and behind records of several chunks.
func proofLengths() []int {
	lengths := []int{0, 1, 12, 400, 65_280, 70_000, 2*32768 + 5000}
	for room := range 45 {
		lengths = append(lengths, 32768-27-58-8-room)
	}
	return lengths
}

// TestMarkProvesTheRecordBefore damages each byte of the last synced record: that must
// be an error, and never a torn tail.
func TestMarkProvesTheRecordBefore(t *testing.T) {
	for _, length := range proofLengths() {
		p := prove(t, length)
		for at := p.from; at < p.to; at++ {
			if inside := at - p.from; inside > 40 && p.to-at > 20 && at%BlockBytes > 20 && inside%1009 != 0 {
				continue
			}
			for bit := range 8 {
				if base.Invariants && bit != int(at%8) {
					continue
				}
				data := slices.Clone(p.data)
				data[at] ^= 1 << bit
				var damage *base.CorruptionError
				o := readLog(data)
				if !errors.As(o.err, &damage) || damage.Offset < p.from || damage.Offset > at || len(o.records) != 1 {
					t.Fatalf("length %d, bit %d of byte %d: %d records, %v", length, bit, at, len(o.records), o.err)
				}
			}
		}
		lost := slices.Clone(p.data)
		clear(lost[p.from:p.to])
		if o := readLog(lost); damageOffset(o.err) != p.from {
			t.Fatalf("length %d: the record is not there: %v", length, o.err)
		}
	}
}

// TestTornMark: whatever becomes of the mark takes nothing along that was synced.
func TestTornMark(t *testing.T) {
	for _, length := range proofLengths() {
		p := prove(t, length)
		check := func(what string, data []byte, most int64) {
			t.Helper()
			o := readLog(data)
			if o.err != nil || len(o.records) != 2 || o.end.Offset != p.to || o.end.TornBytes > most {
				t.Fatalf("length %d, %s: %d records, %+v, %v", length, what, len(o.records), o.end, o.err)
			}
		}
		for at := p.to; at < p.end; at++ {
			torn := slices.Clone(p.data)
			clear(torn[at:])
			if at < p.end-1 || p.data[p.end-1] != 0 {
				check(fmt.Sprintf("zeros from byte %d on", at), torn, at-p.to)
				check(fmt.Sprintf("cut at byte %d", at), p.data[:at], at-p.to)
			}
			flipped := slices.Clone(p.data)
			flipped[at] ^= 4
			if at >= chunkStart(p.to) {
				check(fmt.Sprintf("byte %d flipped", at), flipped, p.end-p.to)
			}
		}
	}
}
