package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"

	"lsmdb/internal/base"
)

// model knows what a log holds, which of it was synced and when, and says from
// that alone what reading any mutilation of the file must give. It decides by
// comparing bytes with the original and computes no checksum.
type model struct {
	data    []byte // the file as written
	records [][]byte
	chunks  []modelChunk // in file order, header and End mark included
	sealed  bool
}

type modelChunk struct {
	from, to int64
	record   int   // index; -1 for header and End mark
	opens    bool  // the first chunk of its record
	durable  int64 // what an opening chunk or an End mark says was durable
}

// buildModel writes a log from a script of appends (numbers of bytes), syncs and
// at most one final finish.
func buildModel(t testing.TB, script ...any) *model {
	t.Helper()
	f := &memoryFile{}
	w := mustWriter(t, f)
	m := &model{chunks: []modelChunk{{from: 0, to: 27, record: -1}}}
	end := int64(27)
	for i, step := range script {
		switch step := step.(type) {
		case int:
			record := noise(uint64(i), step)
			durable := w.Durable()
			mustDo(t, w.Append(record))
			end = m.addRecord(end, durable, record)
		case string:
			if step == "sync" {
				mustDo(t, w.Sync())
				continue
			}
			end = modelStart(end)
			m.chunks = append(m.chunks, modelChunk{from: end, to: end + 7, record: -1, durable: end})
			end += 7
			m.sealed = true
			if got, err := w.Finish(); got != end || err != nil {
				t.Fatalf("Finish returned %d, %v, want %d", got, err, end)
			}
		}
		if w.Offset() != end {
			t.Fatalf("after step %d the writer is at %d, the model at %d", i, w.Offset(), end)
		}
	}
	m.data = f.data
	return m
}

func modelStart(end int64) int64 {
	if left := 32768 - end%32768; left < 17 {
		return end + left
	}
	return end
}

// addRecord cuts a record into chunks as the format page says.
func (m *model) addRecord(end, durable int64, record []byte) int64 {
	at := modelStart(end)
	left := int64(len(binary.AppendUvarint(nil, uint64(at-durable))) + len(record))
	for opens := true; opens || left > 0; opens = false {
		n := min(left, 32768-at%32768-7)
		m.chunks = append(m.chunks, modelChunk{at, at + 7 + n, len(m.records), opens, durable})
		at, left = at+7+n, left-n
	}
	m.records = append(m.records, record)
	return at
}

// expectation is what reading must give.
type expectation struct {
	damage  int64 // offset of the corruption error; -1: none
	records int   // how many are returned before the end or the error
	end     End
	empty   bool
}

func (m *model) expect(data []byte) expectation {
	intact := func(c modelChunk) bool {
		return c.to <= int64(len(data)) && bytes.Equal(data[c.from:c.to], m.data[c.from:c.to])
	}
	solid := int64(len(bytes.TrimRight(data, "\x00")))
	if !intact(m.chunks[0]) {
		if solid > 27 {
			return expectation{damage: 0}
		}
		return expectation{damage: -1, end: End{TornBytes: solid}, empty: true}
	}
	end, records := int64(27), 0
	for i, c := range m.chunks[1:] {
		if !intact(c) {
			for _, later := range m.chunks[i+2:] {
				if later.durable > c.from && intact(later) && (later.opens || later.record < 0) {
					return expectation{damage: c.from, records: records}
				}
			}
			break
		}
		if c.record < 0 { // the End mark
			if solid > c.to {
				return expectation{damage: c.to, records: records}
			}
			return expectation{damage: -1, records: records, end: End{Offset: c.to, Sealed: true}}
		}
		if last := i+2 == len(m.chunks) || m.chunks[i+2].record != c.record; last {
			end, records = c.to, c.record+1
		}
	}
	return expectation{damage: -1, records: records, end: End{Offset: end, TornBytes: max(0, solid-end)}}
}

// compare reads data and says how that differs from what the model allows.
func (m *model) compare(data []byte) error {
	want, got := m.expect(data), readLog(data)
	if got.err != nil && !errors.Is(got.err, base.ErrCorrupt) {
		return fmt.Errorf("unexpected kind of error: %w", got.err)
	}
	if at := damageOffset(got.err); at != want.damage {
		return fmt.Errorf("damage reported at %d, want %d (error: %v)", at, want.damage, got.err)
	}
	if len(got.records) != want.records {
		return fmt.Errorf("%d records, want %d", len(got.records), want.records)
	}
	for i, record := range got.records {
		if !bytes.Equal(record, m.records[i]) {
			return fmt.Errorf("record %d is not what was written", i)
		}
	}
	if got.end != want.end || got.empty != want.empty {
		return fmt.Errorf("end %+v empty %t, want %+v empty %t", got.end, got.empty, want.end, want.empty)
	}
	return m.checkPromise(data, want)
}

// checkPromise restates the one promise without the details: what a surviving
// mark says was durable is all there, or there is an error.
func (m *model) checkPromise(data []byte, e expectation) error {
	if e.damage >= 0 {
		return nil
	}
	marked := int64(0)
	for _, c := range m.chunks {
		tells := c.opens || c.record < 0
		if tells && c.to <= int64(len(data)) && bytes.Equal(data[c.from:c.to], m.data[c.from:c.to]) {
			marked = max(marked, c.durable)
		}
	}
	if e.end.Offset < marked && modelStart(e.end.Offset) != marked {
		return fmt.Errorf("the log ends at %d, but %d was durable", e.end.Offset, marked)
	}
	return nil
}

// logs are small logs of several blocks in all states of durability.
func logs(t testing.TB) map[string]*model {
	big, twoBlocks := 32768-900, 2*32768
	return map[string]*model{
		"no record":           buildModel(t),
		"nothing synced":      buildModel(t, 5, 0, 400, big, 60, 7),
		"all synced":          buildModel(t, 5, "sync", 0, "sync", 400, "sync", big, "sync", 60, "sync", 7, "sync"),
		"unsynced tail":       buildModel(t, 5, 0, 400, "sync", big, 60, "sync", 7, 12, 300),
		"synced late":         buildModel(t, 5, 0, 400, big, 60, 7, "sync", 1),
		"sealed":              buildModel(t, 5, 400, "sync", big, 60, 7, "finish"),
		"middle chunks":       buildModel(t, 100, "sync", twoBlocks, 9, "sync", 50, 60),
		"sealed at a border":  buildModel(t, 32768-27-7-1-10, "finish"),
		"padding":             buildModel(t, 32768-27-7-1-16, "sync", 20, "sync", 5),
		"first without bytes": buildModel(t, 32768-27-7-1-17, 11, "sync", 3),
	}
}

var everyByte = flag.Bool("everybyte", false, "damage logs at every byte, also inside long payloads (minutes)")

// places returns the offsets of a log at which a test damages it: all of them, but
// inside the long payloads only some without -everybyte, and even fewer where the
// race detector makes each try slow.
func (m *model) places(beyond int64) []int64 {
	stride, near := int64(127), int64(60)
	switch {
	case *everyByte:
		stride = 1
	case base.Invariants:
		stride, near = 2003, 16
	}
	var places []int64
	for _, c := range m.chunks {
		for at := c.from; at < c.to; at++ {
			if at-c.from < near || c.to-at < near || at%stride == 0 {
				places = append(places, at)
			}
		}
	}
	last := m.chunks[len(m.chunks)-1].to
	for at := last; at < min(last+beyond, int64(len(m.data))); at++ {
		places = append(places, at)
	}
	places = append(places, int64(len(m.data)-1))
	slices.Sort(places)
	return slices.Compact(places)
}

// FuzzReader feeds arbitrary bytes to a Reader. With reseal it first gives the
// chunks that the lengths describe checksums that hold, so that what lies behind
// the checksum is reached. Nothing may panic, and the end must lie in the file.
func FuzzReader(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(forge(headerPiece(1), piece{TypeFull, "\x00abc"}, piece{TypeEnd, ""}), false)
	f.Add(forge(headerPiece(1), piece{TypeFull, "\x00abc"}, piece{TypeFull, "\x0bdef"}), true)
	f.Add(forge(headerPiece(1), piece{TypeFirst, "\x00"}, piece{9, ""}), true)
	f.Add(forge(headerPiece(1), piece{TypeFull, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}), false) // the mark, before the file
	f.Add(forge(headerPiece(1), piece{TypeFull, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}, piece{TypeFull, "\x80"}), false)
	f.Add(forge(piece{TypeHeader, "\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"}), true)
	f.Add(append(forge(headerPiece(1)), 0, 0, 0, 0, 0xff, 0xff, 1), true)
	f.Fuzz(func(t *testing.T, data []byte, reseal bool) {
		if reseal {
			resealChunks(data)
		}
		o := readLog(data)
		if o.err != nil {
			if !errors.Is(o.err, base.ErrCorrupt) && !errors.Is(o.err, base.ErrIncompatible) {
				t.Fatalf("unexpected kind of error: %v", o.err)
			}
		} else if o.end.Offset < 0 || o.end.TornBytes < 0 || o.end.Offset+o.end.TornBytes > int64(len(data)) {
			t.Fatalf("end %+v in a file of %d bytes", o.end, len(data))
		}
		at := int64(-1)
		for i, offset := range o.offsets {
			if offset <= at || offset+int64(len(o.records[i])) > int64(len(data)) {
				t.Fatalf("record %d of %d bytes at %d", i, len(o.records[i]), offset)
			}
			at = offset
		}
		walked(data)
	})
}

func resealChunks(data []byte) {
	binding := newBinding(testSegment)
	for at := 0; ; {
		at = int(chunkStart(int64(at)))
		if at+chunkHeaderBytes > len(data) {
			return
		}
		end := at + chunkHeaderBytes + int(binary.LittleEndian.Uint16(data[at+lengthAt:]))
		if end > len(data) || end > at-at%BlockBytes+BlockBytes {
			return
		}
		binding.seal(data[at:end], ChunkType(data[at+typeAt]), int64(at))
		at = end
	}
}

// FuzzDamage mutilates logs of every state of durability and holds the Reader to
// what the model allows.
func FuzzDamage(f *testing.F) {
	models := logs(f)
	names := []string{"nothing synced", "all synced", "unsynced tail", "synced late", "sealed", "middle chunks", "padding"}
	f.Add(uint8(0), uint64(1), uint32(30), []byte{1})
	f.Add(uint8(1), uint64(2), uint32(32768), []byte{0, 0xff})
	f.Fuzz(func(t *testing.T, which uint8, seed uint64, at uint32, mask []byte) {
		name := names[int(which)%len(names)]
		m := models[name]
		data := mutilate(m.data, seed)
		for i, x := range mask {
			data[(int(at%(1<<30))+i)%len(data)] ^= x
		}
		if err := m.compare(data); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	})
}
