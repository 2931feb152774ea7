//go:build unix

package formats

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/salvage"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/sstable"
)

// goldenFiles reads a committed database, so that what the fuzzer found stays found.
func goldenFiles(t testing.TB, name string) fixture.Files {
	t.Helper()
	dir := filepath.Join(goldenDir, name)
	entries, err := os.ReadDir(dir)
	fixture.Must(t, err)
	f := fixture.Files{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		fixture.Must(t, err)
		f[e.Name()] = data
	}
	return f
}

// resealed gives the parts of a mutated file checksums that hold, as far as they are
// where the original has them.
func resealed(t testing.TB, name string, original, data []byte) []byte {
	switch kind, number := base.ParseFileName(name); {
	case kind == base.FileCurrent:
		const lineBytes = len("checksum 00000000\n")
		return newerCurrent(append(data[:max(0, len(data)-lineBytes)], "checksum "...), 1)
	case kind == base.FileTable:
		return resealTable(t, original, data)
	default:
		resealLog(data, number)
		return data
	}
}

// resealLog goes from chunk to chunk as the lengths lead.
func resealLog(log []byte, segment uint64) {
	const blockBytes, headerBytes, room = 32 << 10, 7, 17
	for at := 0; at+headerBytes <= len(log); {
		if left := blockBytes - at%blockBytes; left < room {
			at += left
			continue
		}
		end := at + headerBytes + int(binary.LittleEndian.Uint16(log[at+4:]))
		if end > len(log) || end > at-at%blockBytes+blockBytes || log[at+6] == 0 {
			return
		}
		sealChunk(log, segment, at)
		at = end
	}
}

func resealTable(t testing.TB, original, data []byte) []byte {
	if len(data) < 32 {
		return data
	}
	fsys := vfs.NewMem()
	writeFile(t, fsys, "table", original)
	table, err := sstable.Open(fsys, filepath.Join(fixture.Dir, "table"), sstable.ReaderOptions{})
	fixture.Must(t, err)
	defer table.Close()
	identity := table.Properties().Identity
	for block := range table.Blocks() {
		end := block.Offset + block.SizeBytes
		if end > int64(len(data)) {
			break
		}
		sealed := sealBlock(data[:block.Offset:block.Offset], data[block.Offset:end-6], sstable.BlockType(data[end-5]), sstable.Compression(data[end-6]), identity)
		copy(data[block.Offset:end], sealed[block.Offset:])
	}
	return newerTable(data, 1)
}

// FuzzDirectory changes, cuts or swaps files of a database and opens it. What is left
// shows what it held, or an error that says where the damage is. With reseal the
// checksums are made to hold again, so that whatever stands behind them is reached:
// then contents are anything, but nothing panics or hangs. In no case is memory taken
// that the files do not justify.
func FuzzDirectory(f *testing.F) {
	want := goldenView(f)
	databases := [2]fixture.Files{goldenFiles(f, "closed"), goldenFiles(f, "killed")}
	for file := range uint8(16) {
		f.Add(file%2 == 0, file, uint32(0), []byte{1}, uint16(0), uint8(0), false)
		f.Add(file%2 == 1, file, uint32(7), []byte{0xff, 0xff, 0xff, 0xff, 0x7f}, uint16(0), uint8(0), true)
		f.Add(true, file, uint32(40), []byte{}, uint16(33), uint8(0), file%2 == 0)
		f.Add(false, file, uint32(0), []byte{}, uint16(0), file+1, false)
		f.Add(file%3 == 0, file, uint32(150), []byte{4}, uint16(0), uint8(0), false)
		f.Add(file%3 == 1, file, uint32(401), []byte{1}, uint16(0), uint8(0), false)
	}
	for _, back := range []uint32{1, 5, 8, 12, 16, 24, 32, 33, 38, 45, 60, 100} { // footer, properties, restarts
		f.Add(false, uint8(0), ^back, []byte{0xff, 0xff}, uint16(0), uint8(0), true)
		f.Add(true, uint8(13), ^back, []byte{0x80, 0x80}, uint16(0), uint8(0), true)
	}
	f.Fuzz(func(t *testing.T, killed bool, file uint8, place uint32, mask []byte, cut uint16, swap uint8, reseal bool) {
		database := databases[0]
		if killed {
			database = databases[1]
		}
		names := database.Named("")
		name := names[int(file)%len(names)]
		original := database[name]
		data := bytes.Clone(original)
		if swap > 0 {
			data = bytes.Clone(database[names[int(swap-1)%len(names)]])
		}
		if int32(place) < 0 {
			place = uint32(len(data)) - ^place%uint32(len(data)) - 1 // counts from the end
		}
		for i, x := range mask {
			data[(int(place)+i)%len(data)] ^= x
		}
		data = data[:len(data)-int(cut)%len(data)]
		if reseal {
			data = resealed(t, name, original, data)
		}
		changed := database.With(name, data)
		if bytes.Equal(data, original) || !reseal {
			checkMutated(t, changed, killed, want)
		}
		if !reseal || !base.Invariants { // that build panics over tables in no order
			useMutated(t, changed, reseal)
		}
		salvageMutated(t, changed)
	})
}

// goldenLast are the keys of the last commit in the log of the killed database, the
// only one of which nothing proves that it was durable.
var goldenLast = []string{"", "\xff", "deleted"}

// checkMutated holds a database that was damaged by accident to the promise: right or
// refused, and by the name of a file.
func checkMutated(t *testing.T, f fixture.Files, killed bool, want fixture.View) {
	t.Helper()
	politely := func(err error) {
		t.Helper()
		named := slices.ContainsFunc(append(f.Named(""), "inputs of the compaction"), func(name string) bool { return strings.Contains(err.Error(), name) })
		if !errors.Is(err, db.ErrCorrupt) && !errors.Is(err, db.ErrIncompatible) || !named {
			t.Fatalf("an error of another kind, or without a file: %v", err)
		}
	}
	d, err := db.Open(fixture.Dir, fixture.On(f.Disk(t), db.Options{MemtableBytes: 1, ReadOnly: true}))
	if err != nil {
		politely(err)
		return
	}
	defer d.Close()
	expected := want
	if m := d.Metrics(); killed && m.Recovery.TornBytes > 0 {
		expected = fixture.View{}
		for key, value := range want {
			if !slices.Contains(goldenLast, key) {
				expected[key] = value
			}
		}
	}
	for key, value := range expected {
		if got, err := d.Get([]byte(key)); err != nil && !errors.Is(err, db.ErrNotFound) {
			politely(err)
		} else if string(got) != value || err != nil {
			t.Fatalf("%s: %s, %v", fixture.Short(key), fixture.Short(string(got)), err)
		}
	}
	it, err := d.NewIterator(nil)
	fixture.Must(t, err)
	found := fixture.View{}
	for key, value := range it.All() {
		found[string(key)] = string(value)
		if v, ok := want[string(key)]; v != string(value) && !slices.Contains(goldenLast, string(key)) || !ok && string(key) != "deleted" {
			t.Fatalf("the scan shows %s as %s", fixture.Short(string(key)), fixture.Short(string(value)))
		}
	}
	if err := it.Close(); err != nil {
		politely(err)
	} else if len(found) < len(expected) {
		t.Fatalf("the scan shows %d of %d keys", len(found), len(expected))
	}
}

// useMutated does everything with the database that can be done.
func useMutated(t *testing.T, f fixture.Files, resealed bool) {
	t.Helper()
	limit := uint64(32 << 20)
	if bytes := allocated(func() {
		fsys := f.Disk(t)
		if _, err := fixture.VerifyOn(fsys, fixture.Dir); err != nil {
			t.Fatalf("Verify: %v", err)
		}
		for range 2 {
			d, err := db.Open(fixture.Dir, fixture.On(fsys, db.Options{MemtableBytes: 1, CacheBytes: 64 << 10}))
			if err != nil {
				return
			}
			_ = scanBoth(t, d)
			_ = d.Put([]byte("user/0100"), []byte("new"))
			_ = d.Compact(t.Context(), nil, nil)
			_ = scanBoth(t, d)
			if failure := d.Metrics().Failure; !resealed && strings.Contains(failure, "panic") {
				t.Fatal(failure)
			}
			d.Close()
		}
	}); bytes > limit {
		t.Fatalf("%d bytes were allocated", bytes)
	}
}

// salvageMutated makes a database of what is left.
func salvageMutated(t *testing.T, f fixture.Files) {
	t.Helper()
	const limit = 64 << 20
	if bytes := allocated(func() {
		to := vfstest.NewDisk()
		_, err := salvage.Run(t.Context(), salvage.Place{FS: f.Disk(t), Dir: fixture.Dir}, salvage.Place{FS: to, Dir: fixture.Dir}, nil)
		fixture.Must(t, err)
		if report, err := fixture.VerifyOn(to, fixture.Dir); err != nil || !report.OK() {
			t.Fatalf("the new database is damaged: %+v, %v", report, err)
		}
	}); bytes > limit {
		t.Fatalf("salvage allocated %d bytes", bytes)
	}
}

// FuzzCraftedTable makes a table of any entries in any order, under any separators,
// with checksums that hold. Each four bytes are a run of entries: of which key, how
// many versions, from which on, and whether they are deletes, or begin a block.
func FuzzCraftedTable(f *testing.F) {
	run := func(user, count, seq, flags byte) []byte { return []byte{user, count, seq, flags} }
	f.Add(slices.Concat(run(0, 1, 9, 0), run(1, 1, 8, 0), run(2, 1, 7, 1)), uint8(0))
	f.Add(slices.Concat(run(9, 2, 9, 0), run(1, 1, 8, 2), run(2, 1, 7, 1)), uint8(1))
	f.Add(slices.Concat(run(0, 50, 60, 1), run(9, 1, 60, 1), run(5, 50, 60, 1)), uint8(0))
	f.Add(slices.Concat(run(0, 50, 60, 1), run(9, 1, 60, 1), run(5, 50, 60, 1), run(1, 9, 9, 0)), uint8(6))
	f.Add(slices.Concat(run(200, 40, 60, 1), run(1, 40, 60, 3), run(200, 40, 60, 3), run(1, 40, 60, 3)), uint8(3))
	f.Fuzz(func(t *testing.T, runs []byte, level uint8) {
		if base.Invariants || len(runs) > 400 {
			t.Skip("that build checks the order itself, and panics")
		}
		var blocks [][]entry
		var separators []string
		for ; len(runs) >= 4; runs = runs[4:] {
			user := string(slices.Repeat([]byte{'a' + runs[0]%16}, 1+int(runs[0]>>6)))
			if len(blocks) == 0 || runs[3]&2 != 0 {
				blocks = append(blocks, nil)
				separators = append(separators, string(rune(0x100+len(separators))))
			}
			for i := range int(runs[1]%64) + 1 {
				kind := base.KindSet + base.Kind(runs[3]&1)
				e := entry{user, base.MakeTrailer(base.Seq(max(1, int(runs[2])-i)), kind), "value"}
				if kind == base.KindDelete {
					e.value = ""
				}
				blocks[len(blocks)-1] = append(blocks[len(blocks)-1], e)
			}
			if runs[3]&4 != 0 {
				separators[len(separators)-1] = user
			}
		}
		if slices.Sort(separators); len(blocks) == 0 || len(slices.Compact(slices.Clone(separators))) < len(blocks) {
			return
		}
		fsys := vfstest.NewDisk()
		craftDatabase(t, fsys, int(level)%7, blocks, separators)
		promptly(t, "a read of the crafted table", func() {
			for range 2 {
				d, err := db.Open(fixture.Dir, fixture.On(fsys, db.Options{MemtableBytes: 1}))
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				_ = scanBoth(t, d)
				for _, key := range []string{"", "a", "e", "zz"} {
					_, _ = d.Get([]byte(key))
				}
				_ = d.Compact(t.Context(), nil, nil)
				d.Close()
			}
		})
	})
}
