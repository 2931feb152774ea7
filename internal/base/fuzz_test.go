package base

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
)

// FuzzDecodeGroup: what decodes as the record of a commit has one encoding, and its
// numbers are in range.
func FuzzDecodeGroup(f *testing.F) {
	f.Add(GroupHeader{First: 1, Count: 1}.AppendTo(nil))
	f.Add(append(GroupHeader{First: MaxSeq, Count: 0}.AppendTo(nil), 1, 0, 0))
	f.Add(GroupHeader{First: MaxSeq - 1, Count: math.MaxUint32}.AppendTo(nil))
	f.Add(bytes.Repeat([]byte{0xff}, GroupHeaderBytes))
	f.Add(make([]byte, GroupHeaderBytes-1))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, ops, err := DecodeGroup(p)
		if err != nil {
			return
		}
		if h.First == 0 || h.First > MaxSeq || uint64(h.First)+uint64(h.Count) > uint64(MaxSeq) {
			t.Fatalf("%+v", h)
		}
		if again := append(h.AppendTo(nil), ops...); !bytes.Equal(again, p) {
			t.Fatalf("%x became %x", p, again)
		}
	})
}

// FuzzFileName: a name is ours in its one form only, and ours never leads out of the
// directory.
func FuzzFileName(f *testing.F) {
	for _, name := range []string{"LOCK", "CURRENT", "CURRENT.tmp", "MANIFEST-000001", "000002.wal", "000003.sst", "000003.sst.tmp", "../000003.sst", "MANIFEST-../1", "/etc/passwd", "00000\x003.sst", "18446744073709551616.sst"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		kind, number := ParseFileName(name)
		if kind == FileOther {
			return
		}
		if strings.ContainsAny(name, "/\\\x00:") || strings.HasPrefix(name, ".") {
			t.Fatalf("%q counts as a file of type %d", name, kind)
		}
		form := map[FileType]string{FileLock: LockName, FileCurrent: CurrentName, FileManifest: ManifestName(number), FileWAL: WALName(number), FileTable: TableName(number)}
		if kind != FileTemporary && form[kind] != name {
			t.Fatalf("%q counts as %q", name, form[kind])
		}
	})
}

// operationsOf decodes everything, or nothing.
func operationsOf(p []byte) (ops []Op, err error) {
	for len(p) > 0 {
		var op Op
		if op, p, err = DecodeOp(p); err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// FuzzOps: what decodes lies within its source and within the limits, and cutting the
// source anywhere never turns into other operations than a beginning of these.
func FuzzOps(f *testing.F) {
	f.Add(AppendOp(AppendOp(nil, KindSet, []byte("key"), []byte("value"), 0), KindDelete, nil, nil, 0), uint(5))
	f.Add(binary.AppendUvarint([]byte{byte(KindSet)}, math.MaxUint64), uint(0))
	f.Add(append([]byte{byte(KindDelete)}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), uint(0))
	f.Add([]byte{byte(KindSet), 0x80, 0x80, 0x04}, uint(1))
	f.Fuzz(func(t *testing.T, p []byte, cut uint) {
		ops, err := operationsOf(p)
		if err != nil {
			return
		}
		sizeBytes := 0
		for _, op := range ops {
			if len(op.Key) > MaxKeyBytes || len(op.Value) > MaxValueBytes || !op.Kind.Known() || op.Kind == KindDelete && op.Value != nil {
				t.Fatalf("%d with %d and %d bytes", op.Kind, len(op.Key), len(op.Value))
			}
			sizeBytes += 2 + len(op.Key) + len(op.Value)
		}
		if sizeBytes > len(p)+len(ops) {
			t.Fatalf("%d bytes hold %d", len(p), sizeBytes)
		}
		shorter, err := operationsOf(p[:cut%uint(len(p)+1)])
		if err != nil {
			return
		}
		for i, op := range shorter {
			if op.Kind != ops[i].Kind || !bytes.Equal(op.Key, ops[i].Key) || !bytes.Equal(op.Value, ops[i].Value) {
				t.Fatalf("cut, operation %d is %+v, before %+v", i, op, ops[i])
			}
		}
	})
}
