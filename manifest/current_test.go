package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

const testDir = "db"

func newDir(t testing.TB) *vfstest.Disk {
	t.Helper()
	mem := vfstest.NewDisk()
	if err := errors.Join(mem.MkdirAll(testDir), mem.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	return mem
}

// put replaces a file's contents, durably.
func put(t testing.TB, fsys vfs.FS, name string, contents []byte) {
	t.Helper()
	path := filepath.Join(testDir, name)
	_ = fsys.Remove(path)
	file, err := fsys.Create(path)
	if err == nil {
		_, err = file.WriteAt(contents, 0)
		err = errors.Join(err, file.Sync(), file.Close(), fsys.SyncDir(testDir))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// get reads a whole file.
func get(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	file, err := fsys.Open(filepath.Join(testDir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		t.Fatal(err)
	}
	contents := make([]byte, size)
	if _, err := file.ReadAt(contents, 0); err != nil && size > 0 && err.Error() != "EOF" {
		t.Fatal(err)
	}
	return contents
}

var currents = []Current{
	{Manifest: 1},
	{Manifest: MaxFileNumber - 1},
	{Manifest: 12, Clean: &CleanMark{ManifestEnd: 4242, WAL: 14, WALEnd: 8192}},
	{Manifest: 12, Clean: &CleanMark{ManifestEnd: 4242}},
	{Manifest: MaxFileNumber - 1, Clean: &CleanMark{ManifestEnd: math.MaxInt64, WAL: MaxFileNumber - 1, WALEnd: math.MaxInt64}},
}

func TestCurrentRoundTrip(t *testing.T) {
	mem := newDir(t)
	if _, err := ReadCurrent(mem, testDir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no CURRENT: %v", err)
	}
	for _, c := range currents {
		put(t, mem, "CURRENT.tmp", []byte("what an interrupted attempt left"))
		if err := WriteCurrent(mem, testDir, c); err != nil {
			t.Fatal(err)
		}
		got, err := ReadCurrent(mem.CrashClone(nil), testDir)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("after a crash: %+v, %v, want %+v", got, err, c)
		}
		if names, err := mem.List(testDir); err != nil || len(names) != 1 {
			t.Errorf("directory holds %v, %v", names, err)
		}
	}
}

// TestCurrentDamaged cuts the file at every length, flips every bit and appends to it.
func TestCurrentDamaged(t *testing.T) {
	mem := newDir(t)
	for _, c := range currents {
		whole := c.Encode()
		refuse := func(damaged []byte) {
			t.Helper()
			put(t, mem, base.CurrentName, damaged)
			got, err := ReadCurrent(mem, testDir)
			damage, ok := errors.AsType[*base.CorruptionError](err)
			if !ok || damage.File != filepath.Join(testDir, base.CurrentName) || !errors.Is(err, base.ErrCorrupt) {
				t.Fatalf("%q was read as %+v, %v", damaged, got, err)
			}
		}
		for length := range whole {
			refuse(whole[:length])
		}
		for bit := range len(whole) * 8 {
			flipped := bytes.Clone(whole)
			flipped[bit/8] ^= 1 << (bit % 8)
			refuse(flipped)
		}
		refuse(append(bytes.Clone(whole), '\n'))
		refuse(append(bytes.Clone(whole), whole...))
		refuse(append(bytes.Clone(whole), make([]byte, 4096)...))
	}
}

// TestCurrentText has texts whose checksum fits.
func TestCurrentText(t *testing.T) {
	for text, want := range map[string]string{
		"lsmdb-current 1\nmanifest 12\n":                        "",
		"lsmdb-current 1\nmanifest 12\nclean 5 0 0\n":           "",
		"lsmdb-current 2\nmanifest 12\n":                        "version 2 of CURRENT",
		"lsmdb-current 4000000000\nanything else\nat all":       "version 4000000000 of CURRENT",
		"lsmdb-current 99999999999\nmanifest 12\n":              "first line",
		"lsmdb-current 0\nmanifest 12\n":                        "not the text of a CURRENT",
		"lsmdb-current 1\n":                                     "not the text of a CURRENT",
		"lsmdb-current 1\nmanifest 12":                          "not the text of a CURRENT",
		"lsmdb-current 1\nmanifest 012\n":                       "not the text of a CURRENT",
		"lsmdb-current 1\nmanifest -1\n":                        "not the text of a CURRENT",
		"lsmdb-current 1\nmanifest 18446744073709551616\n":      "not the text of a CURRENT",
		"lsmdb-current 1\nmanifest 12\nmanifest 12\n":           "not the text of a CURRENT",
		"lsmdb-current 1\nclean 5 0 0\nmanifest 12\n":           "not the text of a CURRENT",
		"lsmdb-current 1\nmanifest 12\nclean 5 0\n":             "not the text of a CURRENT",
		"lsmdb-current 1\nmanifest 12\nclean 5 0 0 \n":          "not the text of a CURRENT",
		"lsmdb-current 1\nmanifest 12\nmore\n":                  "not the text of a CURRENT",
		"lsmdb-current 1\nmanifest 0\n":                         "file number 0",
		"lsmdb-current 1\nmanifest 4611686018427387904\n":       "file number 4611686018427387904",
		"lsmdb-current 1\nmanifest 12\nclean 0 0 0\n":           "MANIFEST end 0",
		"lsmdb-current 1\nmanifest 12\nclean -7 14 1\n":         "MANIFEST end -7",
		"lsmdb-current 1\nmanifest 12\nclean 5 14 0\n":          "WAL 14 and its end 0",
		"lsmdb-current 1\nmanifest 12\nclean 5 14 -1\n":         "WAL 14 and its end -1",
		"lsmdb-current 1\nmanifest 12\nclean 5 0 7\n":           "WAL 0 and its end 7",
		"lsmdb-current 1\nmanifest 12\nclean 5 1" + "000000000": "not the text of a CURRENT",
		"": "first line",
	} {
		mem := newDir(t)
		put(t, mem, base.CurrentName, appendChecksumLine([]byte(text)))
		_, err := ReadCurrent(mem, testDir)
		switch future := strings.HasPrefix(want, "version"); {
		case want == "" && err == nil:
		case want == "" || err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%q: %v, want %q", text, err, want)
		case errors.Is(err, base.ErrIncompatible) != future || errors.Is(err, base.ErrCorrupt) == future:
			t.Errorf("%q: wrong sort of error: %v", text, err)
		}
	}
}

// TestWriteCurrentFaults fails each operation in turn, and crashes at every point
// with what a power failure may leave: CURRENT holds the old or the new value.
func TestWriteCurrentFaults(t *testing.T) {
	old, replacement := currents[0], currents[2]
	injected := errors.New("injected")
	for failing := 0; ; failing++ {
		mem := newDir(t)
		if err := WriteCurrent(mem, testDir, old); err != nil {
			t.Fatal(err)
		}
		count := 0
		fault := vfstest.NewFault(mem, func(op vfstest.Op) error {
			for seed := range uint64(4) {
				checkCurrent(t, mem.CrashClone(rand.New(rand.NewPCG(seed, uint64(count)))), old, replacement)
			}
			count++
			if count-1 == failing && op.Kind != vfstest.OpStat {
				return injected
			}
			return nil
		})
		err := WriteCurrent(fault, testDir, replacement)
		if count <= failing {
			if err != nil {
				t.Fatalf("without a fault: %v", err)
			}
			checkCurrent(t, mem.CrashClone(nil), replacement, replacement)
			if failing < 6 {
				t.Fatalf("only %d operations", failing)
			}
			return
		}
		if failing > 0 && !errors.Is(err, injected) {
			t.Fatalf("operation %d failed, WriteCurrent returned %v", failing, err)
		}
		checkCurrent(t, mem, old, replacement)
		if err := WriteCurrent(mem, testDir, replacement); err != nil {
			t.Fatalf("again after operation %d failed: %v", failing, err)
		}
	}
}

// TestWriteCurrentOverALeftover: what an interrupted attempt has left goes, and where a full
// disk does not let it go, that passes by itself.
func TestWriteCurrentOverALeftover(t *testing.T) {
	mem := newDir(t)
	put(t, mem, base.CurrentName+".tmp", bytes.Repeat([]byte("left"), 100))
	fault := vfstest.NewFault(mem, func(op vfstest.Op) error {
		if op.Kind == vfstest.OpRemove {
			return syscall.ENOSPC
		}
		return nil
	})
	if err := WriteCurrent(fault, testDir, currents[0]); !errors.Is(err, base.ErrDiskFull) {
		t.Errorf("the leftover cannot be removed: %v", err)
	}
	if err := WriteCurrent(mem, testDir, currents[0]); err != nil {
		t.Fatal(err)
	}
	checkCurrent(t, mem, currents[0], currents[0])
}

// TestWriteCurrentTellsTheFirstFailure: a broken disk that is full as well is not one
// that waiting cures.
func TestWriteCurrentTellsTheFirstFailure(t *testing.T) {
	injected := errors.New("injected")
	fault := vfstest.NewFault(newDir(t), func(op vfstest.Op) error {
		switch op.Kind {
		case vfstest.OpSync:
			return injected
		case vfstest.OpClose:
			return syscall.ENOSPC
		}
		return nil
	})
	if err := WriteCurrent(fault, testDir, currents[0]); !errors.Is(err, injected) || errors.Is(err, base.ErrDiskFull) {
		t.Errorf("WriteCurrent returned %v", err)
	}
}

func checkCurrent(t *testing.T, fsys vfs.FS, either, or Current) {
	t.Helper()
	got, err := ReadCurrent(fsys, testDir)
	if err != nil || !reflect.DeepEqual(got, either) && !reflect.DeepEqual(got, or) {
		t.Fatalf("CURRENT holds %+v, %v", got, err)
	}
}

func TestWriteCurrentRefusesNonsense(t *testing.T) {
	for _, c := range []Current{{}, {Manifest: MaxFileNumber}, {Manifest: 1, Clean: &CleanMark{}}, {Manifest: 1, Clean: &CleanMark{ManifestEnd: 5, WAL: 2}}} {
		func() {
			defer func() {
				if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "invariant: ") {
					t.Errorf("%+v: recovered %v", c, r)
				}
			}()
			_ = WriteCurrent(newDir(t), testDir, c)
		}()
	}
}

func FuzzDecodeCurrent(f *testing.F) {
	for _, c := range currents {
		f.Add(c.Encode()[:len(c.Encode())-checksumLineBytes])
		f.Add(c.Encode())
	}
	f.Add([]byte("lsmdb-current 1\nmanifest ../../etc/passwd\n"))
	f.Add([]byte("lsmdb-current 1\nmanifest /1\nclean -1 99999999999999999999 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := DecodeCurrent(bytes.Clone(text)); err == nil && !bytes.Equal(c.Encode(), text) {
			t.Fatalf("%q is accepted as %+v without a checksum of its own", text, c)
		}
		text = appendChecksumLine(text) // damage to the text alone would never get past the checksum
		c, err := DecodeCurrent(text)
		if err == nil && !bytes.Equal(c.Encode(), text) {
			t.Fatalf("%q decodes to %+v", text, c)
		}
	})
}
