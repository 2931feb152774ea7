package vfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"lsmdb/internal/vfs"
)

// TestMemRemoved: contents outlive their names while somebody has them open.
func TestMemRemoved(t *testing.T) {
	m := vfs.NewMem()
	put(t, m, "/f", "old", true)
	put(t, m, "/g", "newer", true)
	f, err := m.Open("/f")
	must(t, err)
	must(t, m.Rename("/g", "/f")) // one way to lose its name
	g, err := m.Open("/f")
	must(t, err)
	must(t, m.Remove("/f")) // the other
	if string(content(f)) != "old" || string(content(g)) != "newer" {
		t.Errorf("%q, %q", content(f), content(g))
	}
	wantNames(t, m, "/")
}

func TestMemAbsurdOffsets(t *testing.T) {
	f, err := vfs.NewMem().Create("/f")
	must(t, err)
	for _, offset := range []int64{-1, 1<<63 - 1, -1 << 63} {
		wantErr(t, "write", second(f.WriteAt([]byte("x"), offset)), fs.ErrInvalid)
		wantErr(t, "read", second(f.ReadAt(make([]byte, 1), offset)), fs.ErrInvalid)
	}
	wantErr(t, "truncate", f.Truncate(-1), fs.ErrInvalid)
	if got := content(f); len(got) > 0 {
		t.Errorf("contents: %q", got)
	}
}

// BenchmarkMem shows what a database in memory pays for each file operation.
func BenchmarkMem(b *testing.B) {
	run := func(name string, size int, step func(f vfs.File, p []byte, i int) error) {
		b.Run(name, func(b *testing.B) {
			f, err := vfs.NewMem().Create("/f")
			must(b, err)
			must(b, second(f.WriteAt(bytes.Repeat([]byte("y"), 64<<20), 0)))
			must(b, f.Sync())
			p := bytes.Repeat([]byte("x"), size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				must(b, step(f, p, i))
				i++
			}
		})
	}
	at := func(i, size int) int64 { return int64(i*size) % (63 << 20) }
	run("append150", 150, func(f vfs.File, p []byte, i int) error { return second(f.WriteAt(p, at(i, 150))) })
	run("append150sync", 150, func(f vfs.File, p []byte, i int) error {
		return errors.Join(second(f.WriteAt(p, at(i, 150))), f.Sync())
	})
	run("grow64K", 64<<10, func(f vfs.File, p []byte, i int) error {
		if i%1000 == 0 {
			return f.Truncate(0)
		}
		return second(f.WriteAt(p, int64(i%1000)*64<<10))
	})
	run("write64K", 64<<10, func(f vfs.File, p []byte, i int) error { return second(f.WriteAt(p, at(i, 64<<10))) })
	run("read4K", 4<<10, func(f vfs.File, p []byte, i int) error { return second(f.ReadAt(p, at(i, 4<<10))) })
}
