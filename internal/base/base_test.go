package base

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCompare checks the order against its definition on all pairs of keys that are
// prefixes of each other, or contain bytes that look like trailers.
func TestCompare(t *testing.T) {
	users := []string{"", "\x00", "a", "a\x00", "a\x00\x00\x00\x00\x00\x00\x00\x00", "aa", "b", "\xff", "\xff\xff"}
	var keys []InternalKey
	for _, user := range users {
		for _, seq := range []Seq{MaxSeq, 300, 7, 1} {
			for _, kind := range []Kind{KindSeek, KindDelete, KindSet} {
				keys = append(keys, MakeInternalKey([]byte(user), seq, kind))
			}
		}
	}
	for i, a := range keys {
		for j, b := range keys {
			if got, want := Compare(a, b), cmpInt(i, j); got != want {
				t.Errorf("Compare(%s, %s) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func cmpInt(i, j int) int {
	switch {
	case i < j:
		return -1
	case i > j:
		return 1
	}
	return 0
}

func TestInternalKeyParts(t *testing.T) {
	k := MakeInternalKey([]byte("user"), 1<<56-2, KindDelete)
	if string(k.UserKey()) != "user" || k.Seq() != 1<<56-2 || k.Kind() != KindDelete || k.Trailer() != MakeTrailer(1<<56-2, KindDelete) {
		t.Errorf("parts of %s are wrong", k)
	}
	if user := k.UserKey(); cap(user) != len(user) {
		t.Error("appending to a user key would overwrite the trailer")
	}
	clone := k.Clone()
	clone[0] = 'x'
	if k[0] != 'u' {
		t.Error("Clone shares memory")
	}
	search := AppendSearchKey(nil, []byte("user"), 5)
	if Compare(search, MakeInternalKey([]byte("user"), 5, KindSet)) >= 0 || Compare(search, MakeInternalKey([]byte("user"), 6, KindSet)) <= 0 {
		t.Error("a search key does not lie between the newer and the visible versions")
	}
}

func TestCheckInternalKey(t *testing.T) {
	good := MakeInternalKey(bytes.Repeat([]byte("k"), MaxKeyBytes), 1, KindSet)
	if err := CheckInternalKey(good); err != nil {
		t.Error(err)
	}
	long := MakeInternalKey(bytes.Repeat([]byte("k"), MaxKeyBytes+1), 1, KindSet)
	for _, bad := range [][]byte{nil, []byte("1234567"), long} {
		if err := CheckInternalKey(bad); err == nil || errors.Is(err, ErrIncompatible) {
			t.Errorf("key of %d bytes: %v", len(bad), err)
		}
	}
	for _, kind := range []Kind{0, KindSetExpiring + 1, 99, KindSeek} {
		err := CheckInternalKey(MakeInternalKey([]byte("k"), 1, kind))
		if !errors.Is(err, ErrIncompatible) || !bytes.Contains([]byte(err.Error()), []byte(kind.String())) {
			t.Errorf("kind %s: %v", kind, err)
		}
	}
}

// appendOp encodes what was decoded.
func appendOp(dst []byte, op Op) []byte {
	if op.Kind == KindSetExpiring {
		return AppendOp(dst, op.Kind, op.Key, op.Value[ExpiryBytes:], Until(op.Value))
	}
	return AppendOp(dst, op.Kind, op.Key, op.Value, 0)
}

func TestOpsRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var encoded []byte
	var want []Op
	for range 1000 {
		key, value := make([]byte, rng.IntN(300)), make([]byte, rng.IntN(3000))
		op := Op{Kind: Kind(1 + rng.IntN(int(KindSetExpiring))), Key: key, Value: value}
		switch op.Kind {
		case KindDelete:
			op.Value = nil
		case KindSetExpiring:
			op.Value = append(binary.LittleEndian.AppendUint64(nil, uint64(rng.Int64())), value...)
		}
		encoded = appendOp(encoded, op)
		want = append(want, op)
	}
	for i, w := range want {
		op, rest, err := DecodeOp(encoded)
		if err != nil || op.Kind != w.Kind || !bytes.Equal(op.Key, w.Key) || !bytes.Equal(op.Value, w.Value) {
			t.Fatalf("operation %d: %v, %v", i, op.Kind, err)
		}
		encoded = rest
	}
	if len(encoded) > 0 {
		t.Errorf("%d bytes left", len(encoded))
	}
}

// TestDecodeOpTruncated cuts an operation at every length: an error, never a part.
func TestDecodeOpTruncated(t *testing.T) {
	for _, whole := range [][]byte{
		AppendOp(nil, KindSet, []byte("key"), []byte("value"), 0), AppendOp(nil, KindDelete, []byte("key"), nil, 0), AppendOp(nil, KindMerge, []byte("key"), []byte("v"), 0),
		AppendOp(nil, KindRangeDelete, []byte("key"), []byte("l"), 0), AppendOp(nil, KindSetExpiring, []byte("key"), []byte("value"), 1),
	} {
		for n := range whole {
			if op, _, err := DecodeOp(whole[:n]); err == nil {
				t.Errorf("%d of %d bytes decode as %v", n, len(whole), op)
			}
		}
	}
	huge := []byte{byte(KindSet), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}
	if _, _, err := DecodeOp(huge); err == nil {
		t.Error("a length of 2^64-1 decodes")
	}
	if _, _, err := DecodeOp([]byte{byte(KindSetExpiring) + 1, 1, 'k'}); !errors.Is(err, ErrIncompatible) {
		t.Errorf("an unknown kind gives %v", err)
	}
	for what, p := range map[string][]byte{
		"a value without its whole time": append([]byte{byte(KindSetExpiring), 1, 'k', 7}, make([]byte, 7)...),
		"an end that is too long":        AppendOp(nil, KindRangeDelete, nil, make([]byte, MaxKeyBytes+1), 0),
	} {
		if _, _, err := DecodeOp(p); err == nil || errors.Is(err, ErrIncompatible) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestGroupHeader(t *testing.T) {
	h := GroupHeader{First: MaxSeq - 3, Count: 3}
	got, ops, err := DecodeGroup(append(h.AppendTo(nil), "ops"...))
	if err != nil || got != h || string(ops) != "ops" {
		t.Errorf("decoded %+v, %q, %v", got, ops, err)
	}
	for _, bad := range []GroupHeader{{First: 0, Count: 1}, {First: MaxSeq + 1}, {First: MaxSeq - 3, Count: 4}} {
		if _, _, err := DecodeGroup(bad.AppendTo(nil)); err == nil {
			t.Errorf("%+v decodes", bad)
		}
	}
	if _, _, err := DecodeGroup(make([]byte, GroupHeaderBytes-1)); err == nil {
		t.Error("a short header decodes")
	}
}

func TestFileNames(t *testing.T) {
	names := map[string]FileType{
		"LOCK": FileLock, "CURRENT": FileCurrent, "CURRENT.tmp": FileTemporary,
		"MANIFEST-000001": FileManifest, "MANIFEST-1234567": FileManifest, "MANIFEST-000001.tmp": FileTemporary,
		"000002.wal": FileWAL, "18446744073709551615.wal": FileWAL, "000003.sst": FileTable, "000003.sst.tmp": FileTemporary,
		"": FileOther, "1.wal": FileOther, "0000002.wal": FileOther, "-00002.wal": FileOther, "+00002.wal": FileOther,
		"18446744073709551616.wal": FileOther, "MANIFEST-": FileOther, "MANIFEST-1": FileOther, "x.sst": FileOther,
		"LOCK.tmp": FileOther, "notes.tmp": FileOther, "CURRENT.tmp.tmp": FileOther, "current": FileOther, "000003.SST": FileOther,
	}
	for name, want := range names {
		if got, _ := ParseFileName(name); got != want {
			t.Errorf("%q is of type %d, want %d", name, got, want)
		}
	}
	for _, n := range []uint64{0, 1, 999999, 1000000, 1<<64 - 1} {
		for want, name := range map[FileType]string{FileManifest: ManifestName(n), FileWAL: WALName(n), FileTable: TableName(n)} {
			if got, number := ParseFileName(name); got != want || number != n {
				t.Errorf("%q parses as type %d, number %d", name, got, number)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	err := fmt.Errorf("open: %w", Corruptf("000007.sst", 42, "wrong %s", "checksum"))
	var damage *CorruptionError
	if !errors.Is(err, ErrCorrupt) || !errors.As(err, &damage) || damage.File != "000007.sst" || damage.Offset != 42 {
		t.Errorf("%v does not tell file and offset", err)
	}
	if future := DamageAt("f", 1, fmt.Errorf("%w: version 9", ErrIncompatible)); !errors.Is(future, ErrIncompatible) || errors.Is(future, ErrCorrupt) {
		t.Errorf("a format of the future became %v", future)
	}
	if other := DamageAt("f", 1, errors.New("short")); !errors.Is(other, ErrCorrupt) {
		t.Errorf("damage became %v", other)
	}
}

// TestChecksumNumber: it is the checksum of the number's bytes, which are in every file.
func TestChecksumNumber(t *testing.T) {
	for _, crc := range []uint32{0, 1, 0xdeadbeef} {
		for _, n := range []uint64{0, 1, 0x0102030405060708, 1<<64 - 1} {
			if got, want := ChecksumNumber(crc, n), Checksum(crc, binary.LittleEndian.AppendUint64(nil, n)); got != want {
				t.Errorf("%x after %x: %x, want %x", n, crc, got, want)
			}
		}
	}
}

func FuzzDecodeOp(f *testing.F) {
	f.Add(AppendOp(nil, KindSet, []byte("k"), []byte("v"), 0))
	f.Add(AppendOp(AppendOp(nil, KindSet, nil, nil, 0), KindDelete, []byte("k"), nil, 0))
	f.Add(AppendOp(AppendOp(AppendOp(nil, KindRangeDelete, []byte("a"), []byte("b"), 0), KindMerge, []byte("k"), nil, 0), KindSetExpiring, nil, nil, -1))
	f.Add([]byte{1, 0x80})
	f.Fuzz(func(t *testing.T, p []byte) {
		var again []byte
		for rest := p; len(rest) > 0; {
			op, next, err := DecodeOp(rest)
			if err != nil {
				return
			}
			again = appendOp(again, op)
			rest = next
		}
		// Lengths have longer forms; whatever the form, the meaning survives.
		var first, second []string
		for _, encoded := range [][]byte{p, again} {
			var list []string
			for len(encoded) > 0 {
				op, next, err := DecodeOp(encoded)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, fmt.Sprintf("%d %q %q", op.Kind, op.Key, op.Value))
				encoded = next
			}
			first, second = second, list
		}
		if !slices.Equal(first, second) {
			t.Errorf("%q became %q", first, second)
		}
	})
}
