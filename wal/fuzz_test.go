package wal

import (
	"encoding/binary"
	"errors"
	"testing"

	"lsmdb/internal/base"
)

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
