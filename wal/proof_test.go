package wal

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"lsmdb/internal/base"
)

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
