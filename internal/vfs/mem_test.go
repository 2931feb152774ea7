package vfs

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
	"testing"

	"lsmdb/internal/base"
)

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// outcomes counts what many crashes leave, as look describes it.
func outcomes(m *Mem, look func(*Mem) string) map[string]int {
	counts := make(map[string]int)
	for seed := range uint64(200) {
		counts[look(m.CrashClone(seeded(seed)))]++
	}
	return counts
}

// wantOutcomes checks that a crash leaves each of these, and nothing else.
func wantOutcomes(t *testing.T, m *Mem, look func(*Mem) string, want ...string) {
	t.Helper()
	got := outcomes(m, look)
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

func reads(names ...string) func(*Mem) string {
	return func(m *Mem) string {
		var texts []string
		for _, name := range names {
			texts = append(texts, get(m, name))
		}
		return strings.Join(texts, " ")
	}
}

// TestCrashOfDirectories has one step after "old" was made durable in /d/f, and says
// what a crash may leave in /d/f and /d/g. The first is what is certain.
func TestCrashOfDirectories(t *testing.T) {
	for _, c := range []struct {
		name string
		step func(m *Mem)
		want []string
	}{
		{"nothing", func(m *Mem) {}, []string{"old (missing)"}},
		{"create", func(m *Mem) { put(t, m, "/d/g", "new", true) }, []string{"old (missing)", "old new"}},
		{"create and sync", func(m *Mem) { put(t, m, "/d/g", "new", true); must(t, m.SyncDir("/d")) }, []string{"old new"}},
		{"sync of another directory", func(m *Mem) { put(t, m, "/d/g", "new", true); must(t, m.SyncDir("/")) },
			[]string{"old (missing)", "old new"}},
		{"remove", func(m *Mem) { must(t, m.Remove("/d/f")) }, []string{"old (missing)", "(missing) (missing)"}},
		{"remove and sync", func(m *Mem) { must(t, m.Remove("/d/f")); must(t, m.SyncDir("/d")) }, []string{"(missing) (missing)"}},
		{"rename", func(m *Mem) { must(t, m.Rename("/d/f", "/d/g")) }, []string{"old (missing)", "(missing) old"}},
		{"rename and sync", func(m *Mem) { must(t, m.Rename("/d/f", "/d/g")); must(t, m.SyncDir("/d")) }, []string{"(missing) old"}},
		{"rename over", func(m *Mem) {
			put(t, m, "/d/g", "new", true)
			must(t, m.SyncDir("/d"))
			must(t, m.Rename("/d/g", "/d/f"))
		}, []string{"old new", "new (missing)"}},
		{"create and rename over", func(m *Mem) {
			put(t, m, "/d/g", "new", true)
			must(t, m.Rename("/d/g", "/d/f"))
		}, []string{"old (missing)", "old new", "new (missing)"}},
		{"rename to another directory", func(m *Mem) { must(t, m.Rename("/d/f", "/f")) },
			[]string{"old (missing)", "(missing) (missing)"}},
		{"remove and create", func(m *Mem) {
			must(t, m.Remove("/d/f"))
			put(t, m, "/d/f", "new", true)
		}, []string{"old (missing)", "(missing) (missing)", "new (missing)"}},
		{"create and remove", func(m *Mem) {
			put(t, m, "/d/g", "new", true)
			must(t, m.Remove("/d/g"))
		}, []string{"old (missing)", "old new"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := NewMem()
			must(t, m.MkdirAll("/d"))
			put(t, m, "/d/f", "old", true)
			must(t, m.SyncDir("/d"))
			must(t, m.SyncDir("/"))
			c.step(m)
			look := reads("/d/f", "/d/g")
			wantOutcomes(t, m, look, c.want...)
			if got := look(m.CrashClone(nil)); got != c.want[0] {
				t.Errorf("certain is %q, want %q", got, c.want[0])
			}
		})
	}
}

func TestCrashLosesDirectory(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/a/b"))
	put(t, m, "/a/b/f", "x", true)
	must(t, m.SyncDir("/a/b"))
	wantOutcomes(t, m, reads("/a/b/f"), "(missing)", "x")
	must(t, m.SyncDir("/"))
	wantOutcomes(t, m, reads("/a/b/f"), "(missing)", "x")
	if _, err := m.CrashClone(nil).Stat("/a"); err != nil {
		t.Error(err)
	}
	must(t, m.SyncDir("/a"))
	wantOutcomes(t, m, reads("/a/b/f"), "x")
}

// TestCrashOfContents has one step on a durable file of "old", the first of the
// outcomes being the certain one.
func TestCrashOfContents(t *testing.T) {
	write := func(text string, offset int64) func(File) error {
		return func(f File) error { return second(f.WriteAt([]byte(text), offset)) }
	}
	truncate := func(size int64) func(File) error {
		return func(f File) error { return f.Truncate(size) }
	}
	for _, c := range []struct {
		name  string
		steps []func(File) error
		want  []string
	}{
		{"nothing", nil, []string{"old"}},
		{"overwrite", []func(File) error{write("NEW", 0)}, []string{"old", "NEW"}},
		{"overwrite and sync", []func(File) error{write("NEW", 0), File.Sync}, []string{"NEW"}},
		{"twice", []func(File) error{write("1", 0), File.Sync, write("2", 0)}, []string{"1ld", "2ld"}},
		{"append", []func(File) error{write("e", 3)}, []string{"old", "olde", "old\x00"}},
		{"cut", []func(File) error{truncate(2)}, []string{"old", "ol", "ol\x00"}},
		{"cut and sync", []func(File) error{truncate(2), File.Sync}, []string{"ol"}},
		{"cut and back", []func(File) error{truncate(2), truncate(3)}, []string{"old", "ol", "ol\x00"}},
		{"cut all and back", []func(File) error{truncate(0), write("new", 0)},
			[]string{"old", "", "o", "ol", "n", "ne", "new"}},
		{"grow", []func(File) error{truncate(4)}, []string{"old", "old\x00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := NewMem()
			f, err := m.Create("/f")
			must(t, err)
			must(t, second(f.WriteAt([]byte("old"), 0)))
			must(t, f.Sync())
			must(t, m.SyncDir("/"))
			for _, step := range c.steps {
				must(t, step(f))
			}
			wantOutcomes(t, m, reads("/f"), c.want...)
			if got := get(m.CrashClone(nil), "/f"); got != c.want[0] {
				t.Errorf("certain is %q, want %q", got, c.want[0])
			}
		})
	}
}

// TestCrashUnsyncedFile: a durable name says nothing of contents.
func TestCrashUnsyncedFile(t *testing.T) {
	m := NewMem()
	put(t, m, "/f", "x", false)
	must(t, m.SyncDir("/"))
	wantOutcomes(t, m, reads("/f"), "", "x", "\x00")
	if got := get(m.CrashClone(nil), "/f"); got != "" {
		t.Errorf("certain is %q", got)
	}
}

// TestCrashOutOfOrder writes three sectors: any of them may be lost.
func TestCrashOutOfOrder(t *testing.T) {
	m := NewMem()
	put(t, m, "/f", strings.Repeat("-", 3*sectorBytes), true)
	must(t, m.SyncDir("/"))
	f, err := m.Create("/g") // another handle that writes
	must(t, err)
	must(t, second(f.WriteAt([]byte(strings.Repeat("-", 3*sectorBytes)), 0)))
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	must(t, second(f.WriteAt([]byte(strings.Repeat("+", 3*sectorBytes)), 0)))
	sectors := func(m *Mem) string {
		text := get(m, "/g")
		return text[:1] + text[sectorBytes:sectorBytes+1] + text[2*sectorBytes:2*sectorBytes+1] + fmt.Sprint(strings.Count(text, "+"))
	}
	wantOutcomes(t, m, sectors, "---0", "--+512", "-+-512", "-++1024", "+--512", "+-+1024", "++-1024", "+++1536")
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
	m := NewMem()
	f, err := m.Create("/f")
	must(t, err)
	must(t, m.SyncDir("/"))
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
			if got := content(mustOpen(t, m.CrashClone(nil))); !bytes.Equal(got, model.durable) {
				t.Fatalf("step %d: certain are %d bytes, want %d", step, len(got), len(model.durable))
			}
		case 7:
			model.checkCrash(t, content(mustOpen(t, m.CrashClone(seeded(uint64(offset))))))
		}
		if got := content(f); !bytes.Equal(got, model.now) {
			t.Fatalf("step %d, kind %d: contents differ", step, kind)
		}
		if m.UsedBytes() != int64(len(model.now)) {
			t.Fatalf("step %d: %d bytes used of %d", step, m.UsedBytes(), len(model.now))
		}
	}
}

func mustOpen(t *testing.T, m *Mem) File {
	f, err := m.Open("/f")
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
	history := func() *Mem {
		m := NewMem()
		for i := range 20 {
			put(t, m, fmt.Sprint("/", i), strings.Repeat("x", i*1000), i%2 == 0)
			if i%3 == 0 {
				must(t, m.SyncDir("/"))
			}
		}
		return m
	}
	dump := func(m *Mem) string {
		var text strings.Builder
		names, err := m.List("/")
		must(t, err)
		for _, name := range names {
			fmt.Fprintln(&text, name, get(m, "/"+name))
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
	m := NewMem()
	m.SetLimit(10)
	put(t, m, "/f", "text", true)
	lock, err := m.Lock("/LOCK", false)
	must(t, err)
	defer lock.Close()
	must(t, m.SyncDir("/"))
	open, err := m.Create("/open")
	must(t, err)
	must(t, second(open.WriteAt([]byte("12345"), 0)))

	clone := m.CrashClone(nil)
	if clone.UsedBytes() != 4 || m.UsedBytes() != 9 {
		t.Errorf("used: clone %d, original %d", clone.UsedBytes(), m.UsedBytes())
	}
	wantErr(t, "limit of the clone", second(must2(clone.Create("/g")).WriteAt(make([]byte, 7), 0)), base.ErrDiskFull)
	lock2, err := clone.Lock("/LOCK", false)
	must(t, err)
	must(t, lock2.Close())
	must(t, clone.Remove("/f"))
	if get(m, "/f") != "text" || get(m, "/open") != "12345" || get(clone.CrashClone(nil), "/f") != "text" {
		t.Error("clone and original are not separate")
	}
}

// TestCloneSharesNoChange: a clone and its original have pages in common until one of
// them writes, whatever is synced and used again in between.
func TestCloneSharesNoChange(t *testing.T) {
	m := NewMem()
	f, err := m.Create("/f")
	must(t, err)
	must(t, m.SyncDir("/"))
	write := func(f File, digit int) { must(t, second(f.WriteAt([]byte(fmt.Sprint(digit)), 0))) }
	var clones []*Mem
	var twin *Mem // of clones[3]
	for round := range 6 {
		write(f, round)
		if round == 3 {
			twin = m.CrashClone(nil)
		}
		clones = append(clones, m.CrashClone(nil)) // between a write and its Sync
		must(t, f.Sync())
	}
	theirs := &memFile{mem: clones[3], node: clones[3].entries["/f"], writable: true}
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
	if got := get(m, "/f"); got != "5" {
		t.Errorf("original: %q", got)
	}
}

// TestCrashGivesFileTwoNames: of two renames only the second survived.
func TestCrashGivesFileTwoNames(t *testing.T) {
	m := NewMem()
	put(t, m, "/a", "text", true)
	must(t, m.SyncDir("/"))
	must(t, m.Rename("/a", "/b"))
	must(t, m.Rename("/b", "/c"))
	wantOutcomes(t, m, func(clone *Mem) string {
		return fmt.Sprint(reads("/a", "/b", "/c")(clone), " ", clone.UsedBytes())
	}, "text (missing) (missing) 4", "(missing) text (missing) 4", "(missing) (missing) text 4", "text (missing) text 4")
}

// TestCrashIsOneInstant: b is synced only after a says so, which every clone must show.
func TestCrashIsOneInstant(t *testing.T) {
	m := NewMem()
	a, err := m.Create("/a")
	must(t, err)
	b, err := m.Create("/b")
	must(t, err)
	must(t, m.SyncDir("/"))
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range byte(200) {
			for _, f := range []File{b, a} { // a is copied first, being first by name
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
		clone := m.CrashClone(nil)
		first, second := get(clone, "/a"), get(clone, "/b")
		if first > second || len(second) > 0 && len(first) > 0 && second[0]-first[0] > 1 {
			t.Errorf("a %q and b %q never were together", first, second)
		}
	}
	writer.Wait()
}

func TestRemovedFileStaysReadable(t *testing.T) {
	m := NewMem()
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
	for i, want := range []int64{8, 5, 0} {
		if m.UsedBytes() != want {
			t.Errorf("%d handles closed: %d bytes used, want %d", i, m.UsedBytes(), want)
		}
		if i < 2 {
			must(t, []File{f, g}[i].Close())
		}
	}
}

func TestLimit(t *testing.T) {
	m := NewMem()
	m.SetLimit(10)
	f, err := m.Create("/f")
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
		{"less room", func() (int, error) { m.SetLimit(3); return f.WriteAt([]byte("ab"), 0) }, 2, false, "ab34567890"},
		{"still none", func() (int, error) { return f.WriteAt([]byte("x"), 10) }, 0, true, "ab34567890"},
		{"no limit", func() (int, error) { m.SetLimit(0); return f.WriteAt([]byte("x"), 10) }, 1, false, "ab34567890x"},
	}
	for _, step := range steps {
		n, err := step.do()
		if n != step.n || (err != nil) != step.full || string(content(f)) != step.content {
			t.Errorf("%s: %d, %v, %q", step.name, n, err, content(f))
		}
		if step.full {
			wantErr(t, step.name, err, base.ErrDiskFull)
		}
		if m.UsedBytes() != int64(len(step.content)) {
			t.Errorf("%s: %d bytes used", step.name, m.UsedBytes())
		}
	}
	m.SetLimit(1)
	put(t, m, "/empty", "", true) // names take no room
	must(t, m.Remove("/f"))
	must(t, f.Close())
	put(t, m, "/g", "x", true)
}

// TestLimitInParallel: the limit is never passed, and no room is lost by being refused.
func TestLimitInParallel(t *testing.T) {
	m := NewMem()
	m.SetLimit(1000)
	var writers sync.WaitGroup
	for worker := range 4 {
		f, err := m.Create(fmt.Sprint("/", worker))
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
		info, err := m.Stat(fmt.Sprint("/", worker))
		must(t, err)
		sum += info.SizeBytes
	}
	if used := m.UsedBytes(); used != sum || used > 1000 || used <= 1000-4*3 {
		t.Errorf("%d bytes used, %d in files", used, sum)
	}
}

func TestAbsurdSizes(t *testing.T) {
	m := NewMem()
	f, err := m.Create("/f")
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
	if pages := len(f.(*memFile).node.pages); pages != 1 {
		t.Errorf("zeros take memory: %d pages", pages)
	}
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	if info, err := m.CrashClone(nil).Stat("/f"); info.SizeBytes != 1<<60 || err != nil {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestMemPaths(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("a/b"))
	put(t, m, "a/b/f", "x", true)
	for _, name := range []string{"/a/b/f", "a/b/f", "./a//b/../b/f", "/../a/b/f"} {
		if got := get(m, name); got != "x" {
			t.Errorf("%s: %s", name, got)
		}
	}
	wantNames(t, m, "/", "a")
	wantNames(t, m, ".", "a")
	must(t, m.MkdirAll("/"))
	must(t, m.SyncDir(""))
	_, err := m.Create("/")
	wantErr(t, "create the root", err, fs.ErrExist)
	for what, err := range map[string]error{ // the operating system may let these pass
		"open directory":         second(m.Open("/a")),
		"remove empty directory": errors.Join(m.MkdirAll("/e"), m.Remove("/e")),
		"syncdir of file":        m.SyncDir("/a/b/f"),
		"lock directory":         second(m.Lock("/a", true)),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if m.Remove("/") == nil || m.Rename("/a/b/f", "/") == nil || m.Rename("/", "/x") == nil {
		t.Error("the root can be removed")
	}
}

// BenchmarkMem shows what a database in memory pays for each file operation.
func BenchmarkMem(b *testing.B) {
	run := func(name string, size int, step func(f File, p []byte, i int) error) {
		b.Run(name, func(b *testing.B) {
			f, err := NewMem().Create("/f")
			must(b, err)
			must(b, f.Truncate(64<<20))
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
	run("append150", 150, func(f File, p []byte, i int) error { return second(f.WriteAt(p, at(i, 150))) })
	run("append150sync", 150, func(f File, p []byte, i int) error {
		return errors.Join(second(f.WriteAt(p, at(i, 150))), f.Sync())
	})
	run("write64K", 64<<10, func(f File, p []byte, i int) error { return second(f.WriteAt(p, at(i, 64<<10))) })
	run("read4K", 4<<10, func(f File, p []byte, i int) error { return second(f.ReadAt(p, at(i, 4<<10))) })
}
