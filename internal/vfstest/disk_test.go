package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"lsmdb/internal/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// put makes a file, synced or not, in a directory that is not synced.
func put(t testing.TB, fsys vfs.Files, name, text string, synced bool) {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte(text), 0)
	must(t, err)
	if synced {
		must(t, f.Sync())
	}
	must(t, f.Close())
}

// get returns a file's text or the error in brackets.
func get(fsys vfs.Files, name string) string {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "(missing)"
	}
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	defer f.Close()
	return string(content(f))
}

func content(f vfs.File) []byte {
	size, err := f.Size()
	if err != nil {
		return fmt.Appendf(nil, "(%v)", err)
	}
	p := make([]byte, size)
	if n, err := f.ReadAt(p, 0); err != nil && err != io.EOF || n < len(p) {
		return fmt.Appendf(nil, "(%d of %d bytes: %v)", n, size, err)
	}
	return p
}

func second[T any](_ T, err error) error { return err }

func wantNames(t *testing.T, fsys vfs.Files, dir string, want ...string) {
	t.Helper()
	if got, err := fsys.List(dir); !slices.Equal(got, want) || err != nil {
		t.Errorf("List: %q, %v; want %q", got, err, want)
	}
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// outcomes counts what many crashes leave, as look describes it.
func outcomes(d *Disk, look func(*Disk) string) map[string]int {
	counts := make(map[string]int)
	for seed := range uint64(200) {
		counts[look(d.CrashClone(seeded(seed)))]++
	}
	return counts
}

// wantOutcomes checks that a crash leaves each of these, and nothing else.
func wantOutcomes(t *testing.T, d *Disk, look func(*Disk) string, want ...string) {
	t.Helper()
	got := outcomes(d, look)
	for _, w := range want {
		if got[w] == 0 {
			t.Errorf("no crash leaves %q", w)
		}
		delete(got, w)
	}
	if len(got) > 0 {
		t.Errorf("crashes leave %v, want only %q", got, want)
	}
}

func reads(names ...string) func(*Disk) string {
	return func(d *Disk) string {
		var texts []string
		for _, name := range names {
			texts = append(texts, get(d, name))
		}
		return strings.Join(texts, " ")
	}
}

// TestCrashOfDirectories has one step after "old" was made durable in /d/f, and says
// what a crash may leave in /d/f and /d/g. The first is what is certain.
func TestCrashOfDirectories(t *testing.T) {
	for _, c := range []struct {
		name string
		step func(d *Disk)
		want []string
	}{
		{"nothing", func(d *Disk) {}, []string{"old (missing)"}},
		{"create", func(d *Disk) { put(t, d, "/d/g", "new", true) }, []string{"old (missing)", "old new"}},
		{"create and sync", func(d *Disk) { put(t, d, "/d/g", "new", true); must(t, d.SyncDir("/d")) }, []string{"old new"}},
		{"sync of another directory", func(d *Disk) { put(t, d, "/d/g", "new", true); must(t, d.SyncDir("/")) },
			[]string{"old (missing)", "old new"}},
		{"remove", func(d *Disk) { must(t, d.Remove("/d/f")) }, []string{"old (missing)", "(missing) (missing)"}},
		{"remove and sync", func(d *Disk) { must(t, d.Remove("/d/f")); must(t, d.SyncDir("/d")) }, []string{"(missing) (missing)"}},
		{"rename", func(d *Disk) { must(t, d.Rename("/d/f", "/d/g")) }, []string{"old (missing)", "(missing) old"}},
		{"rename and sync", func(d *Disk) { must(t, d.Rename("/d/f", "/d/g")); must(t, d.SyncDir("/d")) }, []string{"(missing) old"}},
		{"rename over", func(d *Disk) {
			put(t, d, "/d/g", "new", true)
			must(t, d.SyncDir("/d"))
			must(t, d.Rename("/d/g", "/d/f"))
		}, []string{"old new", "new (missing)"}},
		{"create and rename over", func(d *Disk) {
			put(t, d, "/d/g", "new", true)
			must(t, d.Rename("/d/g", "/d/f"))
		}, []string{"old (missing)", "old new", "new (missing)"}},
		{"rename to another directory", func(d *Disk) { must(t, d.Rename("/d/f", "/f")) },
			[]string{"old (missing)", "(missing) (missing)"}},
		{"remove and create", func(d *Disk) {
			must(t, d.Remove("/d/f"))
			put(t, d, "/d/f", "new", true)
		}, []string{"old (missing)", "(missing) (missing)", "new (missing)"}},
		{"create and remove", func(d *Disk) {
			put(t, d, "/d/g", "new", true)
			must(t, d.Remove("/d/g"))
		}, []string{"old (missing)", "old new"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDisk()
			must(t, d.MkdirAll("/d"))
			put(t, d, "/d/f", "old", true)
			must(t, d.SyncDir("/d"))
			must(t, d.SyncDir("/"))
			c.step(d)
			look := reads("/d/f", "/d/g")
			wantOutcomes(t, d, look, c.want...)
			if got := look(d.CrashClone(nil)); got != c.want[0] {
				t.Errorf("certain is %q, want %q", got, c.want[0])
			}
		})
	}
}

func TestCrashLosesDirectory(t *testing.T) {
	d := NewDisk()
	must(t, d.MkdirAll("/a/b"))
	put(t, d, "/a/b/f", "x", true)
	must(t, d.SyncDir("/a/b"))
	wantOutcomes(t, d, reads("/a/b/f"), "(missing)", "x")
	must(t, d.SyncDir("/"))
	wantOutcomes(t, d, reads("/a/b/f"), "(missing)", "x")
	if _, err := d.CrashClone(nil).Stat("/a"); err != nil {
		t.Error(err)
	}
	must(t, d.SyncDir("/a"))
	wantOutcomes(t, d, reads("/a/b/f"), "x")
}

// TestCrashOfContents has one step on a durable file of "old", the first of the
// outcomes being the certain one.
func TestCrashOfContents(t *testing.T) {
	write := func(text string, offset int64) func(vfs.File) error {
		return func(f vfs.File) error { return second(f.WriteAt([]byte(text), offset)) }
	}
	truncate := func(size int64) func(vfs.File) error {
		return func(f vfs.File) error { return f.Truncate(size) }
	}
	for _, c := range []struct {
		name  string
		steps []func(vfs.File) error
		want  []string
	}{
		{"nothing", nil, []string{"old"}},
		{"overwrite", []func(vfs.File) error{write("NEW", 0)}, []string{"old", "NEW"}},
		{"overwrite and sync", []func(vfs.File) error{write("NEW", 0), vfs.File.Sync}, []string{"NEW"}},
		{"twice", []func(vfs.File) error{write("1", 0), vfs.File.Sync, write("2", 0)}, []string{"1ld", "2ld"}},
		{"append", []func(vfs.File) error{write("e", 3)}, []string{"old", "olde", "old\x00"}},
		{"cut", []func(vfs.File) error{truncate(2)}, []string{"old", "ol", "ol\x00"}},
		{"cut and sync", []func(vfs.File) error{truncate(2), vfs.File.Sync}, []string{"ol"}},
		{"cut and back", []func(vfs.File) error{truncate(2), truncate(3)}, []string{"old", "ol", "ol\x00"}},
		{"cut all and back", []func(vfs.File) error{truncate(0), write("new", 0)},
			[]string{"old", "", "o", "ol", "n", "ne", "new"}},
		{"grow", []func(vfs.File) error{truncate(4)}, []string{"old", "old\x00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDisk()
			f, err := d.Create("/f")
			must(t, err)
			must(t, second(f.WriteAt([]byte("old"), 0)))
			must(t, f.Sync())
			must(t, d.SyncDir("/"))
			for _, step := range c.steps {
				must(t, step(f))
			}
			wantOutcomes(t, d, reads("/f"), c.want...)
			if got := get(d.CrashClone(nil), "/f"); got != c.want[0] {
				t.Errorf("certain is %q, want %q", got, c.want[0])
			}
		})
	}
}

// TestCrashUnsyncedFile: a durable name says nothing of contents.
func TestCrashUnsyncedFile(t *testing.T) {
	d := NewDisk()
	put(t, d, "/f", "x", false)
	must(t, d.SyncDir("/"))
	wantOutcomes(t, d, reads("/f"), "", "x", "\x00")
	if got := get(d.CrashClone(nil), "/f"); got != "" {
		t.Errorf("certain is %q", got)
	}
}

// TestCrashOutOfOrder writes three sectors: any of them may be lost.
func TestCrashOutOfOrder(t *testing.T) {
	d := NewDisk()
	put(t, d, "/f", strings.Repeat("-", 3*sectorBytes), true)
	must(t, d.SyncDir("/"))
	f, err := d.Create("/g") // another handle that writes
	must(t, err)
	must(t, second(f.WriteAt([]byte(strings.Repeat("-", 3*sectorBytes)), 0)))
	must(t, f.Sync())
	must(t, d.SyncDir("/"))
	must(t, second(f.WriteAt([]byte(strings.Repeat("+", 3*sectorBytes)), 0)))
	sectors := func(d *Disk) string {
		text := get(d, "/g")
		return text[:1] + text[sectorBytes:sectorBytes+1] + text[2*sectorBytes:2*sectorBytes+1] + fmt.Sprint(strings.Count(text, "+"))
	}
	wantOutcomes(t, d, sectors, "---0", "--+512", "-+-512", "-++1024", "+--512", "+-+1024", "++-1024", "+++1536")
}

// fileModel is a file as one slice of bytes, with what the last Sync saw.
type fileModel struct{ now, durable []byte }

func (m *fileModel) write(p []byte, offset int) {
	m.resize(max(len(m.now), offset+len(p)))
	copy(m.now[offset:], p)
}

func (m *fileModel) resize(size int) {
	m.now = append(m.now[:min(size, len(m.now)):min(size, len(m.now))], make([]byte, max(0, size-len(m.now)))...)
}

// checkCrash checks a clone's file sector by sector.
func (m *fileModel) checkCrash(t *testing.T, got []byte) {
	t.Helper()
	longest := max(len(m.now), len(m.durable))
	padded := func(p []byte) []byte { return append(slices.Clone(p), make([]byte, longest-len(p))...) }
	now, durable := padded(m.now), padded(m.durable)
	if len(got) > longest {
		t.Fatalf("crash left %d bytes of %d or %d", len(got), len(m.now), len(m.durable))
	}
	for at := 0; at < len(got); at += sectorBytes {
		end := min(at+sectorBytes, len(got))
		if s := got[at:end]; !bytes.Equal(s, now[at:end]) && !bytes.Equal(s, durable[at:end]) {
			t.Fatalf("sector at %d is neither old nor new", at)
		}
	}
}

// runFileScript interprets bytes as operations on a file and compares with the model.
func runFileScript(t *testing.T, script []byte, crashes bool) {
	d := NewDisk()
	f, err := d.Create("/f")
	must(t, err)
	must(t, d.SyncDir("/"))
	var model fileModel
	for step := 0; len(script) >= 4; step++ {
		kind, offset, length := script[0]%8, int(script[1])*97, int(script[2])*41
		fill := script[3] % 3 // zeros are a case of their own
		script = script[4:]
		if kind > 5 && !crashes { // pages that no clone shares are used again
			kind = 5
		}
		switch kind {
		case 0, 1, 2, 3:
			p := bytes.Repeat([]byte{fill}, length)
			must(t, second(f.WriteAt(p, int64(offset))))
			if length > 0 {
				model.write(p, offset)
			}
		case 4:
			must(t, f.Truncate(int64(offset)))
			model.resize(offset)
		case 5:
			must(t, f.Sync())
			model.durable = slices.Clone(model.now)
		case 6:
			if got := content(mustOpen(t, d.CrashClone(nil))); !bytes.Equal(got, model.durable) {
				t.Fatalf("step %d: certain are %d bytes, want %d", step, len(got), len(model.durable))
			}
		case 7:
			model.checkCrash(t, content(mustOpen(t, d.CrashClone(seeded(uint64(offset))))))
		}
		if got := content(f); !bytes.Equal(got, model.now) {
			t.Fatalf("step %d, kind %d: contents differ", step, kind)
		}
		if d.UsedBytes() != int64(len(model.now)) {
			t.Fatalf("step %d: %d bytes used of %d", step, d.UsedBytes(), len(model.now))
		}
	}
}

func mustOpen(t *testing.T, d *Disk) vfs.File {
	f, err := d.Open("/f")
	must(t, err)
	return f
}

func TestFileModel(t *testing.T) {
	for seed := range uint64(40) {
		rng := seeded(seed)
		script := make([]byte, 400)
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		runFileScript(t, script, seed%2 == 0)
	}
}

func FuzzFileModel(f *testing.F) {
	f.Add([]byte("\x00\x00\xff\x01\x05\x00\x00\x00\x04\x01\x00\x00\x06\x00\x00\x00\x07\x00\x00\x00"))
	f.Add([]byte("\x00\xff\xff\x01\x05\x00\x00\x00\x00\x10\x20\x00\x06\x00\x00\x00\x04\x00\x00\x00\x00\x00\xff\x02\x06\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		runFileScript(t, script[:min(len(script), 400)], len(script)%2 == 0)
	})
}

// TestCrashRepeats: equal histories and seeds give equal clones.
func TestCrashRepeats(t *testing.T) {
	history := func() *Disk {
		d := NewDisk()
		for i := range 20 {
			put(t, d, fmt.Sprint("/", i), strings.Repeat("x", i*1000), i%2 == 0)
			if i%3 == 0 {
				must(t, d.SyncDir("/"))
			}
		}
		return d
	}
	dump := func(d *Disk) string {
		var text strings.Builder
		names, err := d.List("/")
		must(t, err)
		for _, name := range names {
			fmt.Fprintln(&text, name, get(d, "/"+name))
		}
		return text.String()
	}
	one, two := history(), history()
	for seed := range uint64(20) {
		if dump(one.CrashClone(seeded(seed))) != dump(two.CrashClone(seeded(seed))) {
			t.Fatalf("seed %d gives two outcomes", seed)
		}
	}
}

// TestCloneIsSeparate: clone and original go separate ways, the clone is durable and
// unlocked, and has its own count of bytes.
func TestCloneIsSeparate(t *testing.T) {
	d := NewDisk()
	d.SetLimit(10)
	put(t, d, "/f", "text", true)
	must(t, must2(d.OpenDirectory("/")).Lock(false))
	must(t, d.SyncDir("/"))
	open, err := d.Create("/open")
	must(t, err)
	must(t, second(open.WriteAt([]byte("12345"), 0)))

	clone := d.CrashClone(nil)
	if clone.UsedBytes() != 4 || d.UsedBytes() != 9 {
		t.Errorf("used: clone %d, original %d", clone.UsedBytes(), d.UsedBytes())
	}
	wantErr(t, "limit of the clone", second(must2(clone.Create("/g")).WriteAt(make([]byte, 7), 0)), syscall.ENOSPC)
	must(t, must2(clone.OpenDirectory("/")).Lock(false))
	must(t, clone.Remove("/f"))
	if get(d, "/f") != "text" || get(d, "/open") != "12345" || get(clone.CrashClone(nil), "/f") != "text" {
		t.Error("clone and original are not separate")
	}
}

// TestCloneSharesNoChange: a clone and its original have pages in common until one of
// them writes, whatever is synced and used again in between.
func TestCloneSharesNoChange(t *testing.T) {
	d := NewDisk()
	f, err := d.Create("/f")
	must(t, err)
	must(t, d.SyncDir("/"))
	write := func(f vfs.File, digit int) { must(t, second(f.WriteAt([]byte(fmt.Sprint(digit)), 0))) }
	var clones []*Disk
	var twin *Disk // of clones[3]
	for round := range 6 {
		write(f, round)
		if round == 3 {
			twin = d.CrashClone(nil)
		}
		clones = append(clones, d.CrashClone(nil)) // between a write and its Sync
		must(t, f.Sync())
	}
	theirs := &diskFile{disk: clones[3], node: clones[3].entries["/f"], writable: true}
	for digit := range 4 {
		write(theirs, 6+digit)
		must(t, theirs.Sync())
	}
	if got := get(twin, "/f"); got != "2" {
		t.Errorf("twin: %q", got)
	}
	for i, want := range []string{"", "0", "1", "9", "3", "4"} {
		if got := get(clones[i], "/f"); got != want {
			t.Errorf("clone %d: %q, want %q", i, got, want)
		}
	}
	if got := get(d, "/f"); got != "5" {
		t.Errorf("original: %q", got)
	}
}

// TestCrashGivesFileTwoNames: of two renames only the second survived.
func TestCrashGivesFileTwoNames(t *testing.T) {
	d := NewDisk()
	put(t, d, "/a", "text", true)
	must(t, d.SyncDir("/"))
	must(t, d.Rename("/a", "/b"))
	must(t, d.Rename("/b", "/c"))
	wantOutcomes(t, d, func(clone *Disk) string {
		return fmt.Sprint(reads("/a", "/b", "/c")(clone), " ", clone.UsedBytes())
	}, "text (missing) (missing) 4", "(missing) text (missing) 4", "(missing) (missing) text 4", "text (missing) text 4")
}

// TestCrashIsOneInstant: b is synced only after a says so, which every clone must show.
func TestCrashIsOneInstant(t *testing.T) {
	d := NewDisk()
	a, err := d.Create("/a")
	must(t, err)
	b, err := d.Create("/b")
	must(t, err)
	must(t, d.SyncDir("/"))
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range byte(200) {
			for _, f := range []vfs.File{b, a} { // a is copied first, being first by name
				if _, err := f.WriteAt([]byte{i}, 0); err != nil {
					t.Error(err)
				}
				if err := f.Sync(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 200 {
		clone := d.CrashClone(nil)
		first, second := get(clone, "/a"), get(clone, "/b")
		if first > second || len(second) > 0 && len(first) > 0 && second[0]-first[0] > 1 {
			t.Errorf("a %q and b %q never were together", first, second)
		}
	}
	writer.Wait()
}

func TestRemovedFileStaysReadable(t *testing.T) {
	d := NewDisk()
	put(t, d, "/f", "old", true)
	put(t, d, "/g", "newer", true)
	f, err := d.Open("/f")
	must(t, err)
	must(t, d.Rename("/g", "/f")) // one way to lose its name
	g, err := d.Open("/f")
	must(t, err)
	must(t, d.Remove("/f")) // the other
	if string(content(f)) != "old" || string(content(g)) != "newer" {
		t.Errorf("%q, %q", content(f), content(g))
	}
	for i, want := range []int64{8, 5, 0} {
		if d.UsedBytes() != want {
			t.Errorf("%d handles closed: %d bytes used, want %d", i, d.UsedBytes(), want)
		}
		if i < 2 {
			must(t, []vfs.File{f, g}[i].Close())
		}
	}
}

func TestLimit(t *testing.T) {
	d := NewDisk()
	d.SetLimit(10)
	f, err := d.Create("/f")
	must(t, err)
	steps := []struct {
		name    string
		do      func() (int, error)
		n       int
		full    bool
		content string
	}{
		{"fits", func() (int, error) { return f.WriteAt([]byte("12345678"), 0) }, 8, false, "12345678"},
		{"does not fit", func() (int, error) { return f.WriteAt([]byte("abcd"), 8) }, 0, true, "12345678"},
		{"fits exactly", func() (int, error) { return f.WriteAt([]byte("ab"), 8) }, 2, false, "12345678ab"},
		{"full", func() (int, error) { return f.WriteAt([]byte("x"), 10) }, 0, true, "12345678ab"},
		{"overwrite", func() (int, error) { return f.WriteAt([]byte("AB"), 0) }, 2, false, "AB345678ab"},
		{"overwrite and more", func() (int, error) { return f.WriteAt([]byte("YZ!"), 8) }, 0, true, "AB345678ab"},
		{"grow", func() (int, error) { return 0, f.Truncate(11) }, 0, true, "AB345678ab"},
		{"shrink", func() (int, error) { return 0, f.Truncate(5) }, 0, false, "AB345"},
		{"behind a gap", func() (int, error) { return f.WriteAt([]byte("x"), 20) }, 0, true, "AB345"},
		{"room again", func() (int, error) { return f.WriteAt([]byte("67890"), 5) }, 5, false, "AB34567890"},
		{"less room", func() (int, error) { d.SetLimit(3); return f.WriteAt([]byte("ab"), 0) }, 2, false, "ab34567890"},
		{"still none", func() (int, error) { return f.WriteAt([]byte("x"), 10) }, 0, true, "ab34567890"},
		{"no limit", func() (int, error) { d.SetLimit(0); return f.WriteAt([]byte("x"), 10) }, 1, false, "ab34567890x"},
	}
	for _, step := range steps {
		n, err := step.do()
		if n != step.n || (err != nil) != step.full || string(content(f)) != step.content {
			t.Errorf("%s: %d, %v, %q", step.name, n, err, content(f))
		}
		if step.full {
			wantErr(t, step.name, err, syscall.ENOSPC)
		}
		if d.UsedBytes() != int64(len(step.content)) {
			t.Errorf("%s: %d bytes used", step.name, d.UsedBytes())
		}
	}
	d.SetLimit(1)
	put(t, d, "/empty", "", true) // names take no room
	must(t, d.Remove("/f"))
	must(t, f.Close())
	put(t, d, "/g", "x", true)
}

// TestLimitInParallel: the limit is never passed, and no room is lost by being refused.
func TestLimitInParallel(t *testing.T) {
	d := NewDisk()
	d.SetLimit(1000)
	var writers sync.WaitGroup
	for worker := range 4 {
		f, err := d.Create(fmt.Sprint("/", worker))
		must(t, err)
		writers.Go(func() {
			for i := int64(0); ; i++ {
				if _, err := f.WriteAt([]byte("xyz"), i*3); err != nil {
					return
				}
			}
		})
	}
	writers.Wait()
	var sum int64
	for worker := range 4 {
		info, err := d.Stat(fmt.Sprint("/", worker))
		must(t, err)
		sum += info.SizeBytes
	}
	if used := d.UsedBytes(); used != sum || used > 1000 || used <= 1000-4*3 {
		t.Errorf("%d bytes used, %d in files", used, sum)
	}
}

func TestAbsurdSizes(t *testing.T) {
	d := NewDisk()
	f, err := d.Create("/f")
	must(t, err)
	for _, offset := range []int64{-1, 1<<63 - 1, -1 << 63} {
		n, err := f.WriteAt([]byte("x"), offset)
		wantErr(t, fmt.Sprint("write at ", offset), err, fs.ErrInvalid)
		n2, err := f.ReadAt(make([]byte, 1), offset)
		wantErr(t, fmt.Sprint("read at ", offset), err, fs.ErrInvalid)
		if n != 0 || n2 != 0 {
			t.Errorf("%d written, %d read", n, n2)
		}
	}
	wantErr(t, "truncate", f.Truncate(-1), fs.ErrInvalid)
	must(t, f.Truncate(1<<60))
	must(t, second(f.WriteAt(make([]byte, 100_000), 1<<50)))
	must(t, second(f.WriteAt([]byte("x"), 1<<40)))
	if n, err := f.ReadAt(make([]byte, 1), 1<<60); n != 0 || err != io.EOF {
		t.Errorf("read: %d, %v", n, err)
	}
	p := make([]byte, 3)
	must(t, second(f.ReadAt(p, 1<<40-1)))
	if string(p) != "\x00x\x00" {
		t.Errorf("read %q", p)
	}
	if pages := len(f.(*diskFile).node.pages); pages != 1 {
		t.Errorf("zeros take memory: %d pages", pages)
	}
	must(t, f.Sync())
	must(t, d.SyncDir("/"))
	if info, err := d.CrashClone(nil).Stat("/f"); info.SizeBytes != 1<<60 || err != nil {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestPaths(t *testing.T) {
	d := NewDisk()
	must(t, d.MkdirAll("a/b"))
	put(t, d, "a/b/f", "x", true)
	for _, name := range []string{"/a/b/f", "a/b/f", "./a//b/../b/f", "/../a/b/f"} {
		if got := get(d, name); got != "x" {
			t.Errorf("%s: %s", name, got)
		}
	}
	wantNames(t, d, "/", "a")
	wantNames(t, d, ".", "a")
	must(t, d.MkdirAll("/"))
	must(t, d.SyncDir(""))
	_, err := d.Create("/")
	wantErr(t, "create the root", err, fs.ErrExist)
	for what, err := range map[string]error{ // the operating system may let these pass
		"open directory":         second(d.Open("/a")),
		"remove empty directory": errors.Join(d.MkdirAll("/e"), d.Remove("/e")),
		"syncdir of file":        d.SyncDir("/a/b/f"),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if d.Remove("/") == nil || d.Rename("/a/b/f", "/") == nil || d.Rename("/", "/x") == nil {
		t.Error("the root can be removed")
	}
}
