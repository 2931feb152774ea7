package output

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/ranges"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

const dir = "/db"

func newMem(t testing.TB) *vfstest.Disk {
	mem := vfstest.NewDisk()
	if err := errors.Join(mem.MkdirAll(dir), mem.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return mem
}

func newDirectory(fsys vfs.FS) *Directory {
	opened, err := fsys.OpenDirectory(dir)
	if err != nil {
		panic(err)
	}
	return &Directory{
		FS: opened, Dir: dir, DatabaseID: 77, Numbers: NewFileNumbers(1),
		Tables: sstable.WriterOptions{Compression: sstable.CompressionSnappy, FilterBitsPerKey: 10, BlockBytes: 512},
	}
}

// history is some versions of some keys, in internal order.
type history []base.InternalKey

// someEntries has three versions of every second user key and one of the others.
func someEntries(users int) (h history) {
	for i := range users {
		user := fmt.Appendf(nil, "key%06d", i)
		for seq := 3 - 2*(i%2); seq >= 1; seq-- {
			h = append(h, base.MakeInternalKey(user, base.Seq(seq), base.KindSet))
		}
	}
	return h
}

func valueOf(k base.InternalKey) []byte {
	return []byte(strings.Repeat(k.String(), 2))
}

// write feeds all entries and finishes; buffers are reused as iterators do it.
func write(env *Directory, h history, cut func(int64, []byte) bool) ([]*manifest.TableMeta, error) {
	tables := NewTables(env, 1, cut)
	var key base.InternalKey
	var value []byte
	for _, k := range h {
		key, value = append(key[:0], k...), append(value[:0], valueOf(k)...)
		if err := tables.Add(key, value); err != nil {
			return nil, errors.Join(err, tables.Abort())
		}
	}
	return tables.Finish()
}

// read returns the entries of the tables in order, and checks every byte.
func read(t *testing.T, fsys vfs.FS, metas []*manifest.TableMeta) (h history) {
	t.Helper()
	for _, m := range metas {
		path := base.TablePath(dir, m.Number)
		table, err := sstable.Open(fsys, path, sstable.ReaderOptions{SizeBytes: m.SizeBytes, Identity: sstable.Identity(77, m.Number)})
		if err != nil {
			t.Fatal(err)
		}
		if err := table.Verify(nil); err != nil {
			t.Fatal(err)
		}
		it := table.NewIterator(sstable.IteratorOptions{})
		for ok := it.First(); ok; ok = it.Next() {
			h = append(h, it.Key().Clone())
			if !bytes.Equal(it.Value(), valueOf(it.Key())) {
				t.Fatalf("%s has value %q", it.Key(), it.Value())
			}
		}
		if err := errors.Join(it.Close(), table.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func listTables(t *testing.T, fsys vfs.FS) []string {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTablesCutBetweenUserKeys(t *testing.T) {
	for _, tableBytes := range []int64{0, 1, 2000, 10_000, 1 << 40} {
		mem := newMem(t)
		entries := someEntries(500)
		var asked []byte
		metas, err := write(newDirectory(mem), entries, func(sizeBytes int64, next []byte) bool {
			if sizeBytes <= 0 || bytes.Compare(next, asked) <= 0 {
				t.Fatalf("asked about %q after %q at %d bytes", next, asked, sizeBytes)
			}
			asked = bytes.Clone(next)
			return sizeBytes >= tableBytes
		})
		if err != nil {
			t.Fatal(err)
		}
		if few := len(metas) == 1; few != (tableBytes == 1<<40) || (tableBytes <= 1 && len(metas) != 500) {
			t.Errorf("cut at %d bytes: %d tables", tableBytes, len(metas))
		}
		for i := 1; i < len(metas); i++ {
			if bytes.Compare(metas[i-1].Largest.UserKey(), metas[i].Smallest.UserKey()) >= 0 {
				t.Errorf("%s and %s share a user key", metas[i-1], metas[i])
			}
		}
		// What Finish returned survives the loss of everything that was not synced.
		after := mem.CrashClone(nil)
		if got := read(t, after, metas); fmt.Sprint(got) != fmt.Sprint(entries) {
			t.Errorf("cut at %d bytes: entries differ", tableBytes)
		}
		if names := listTables(t, after); len(names) != len(metas) {
			t.Errorf("%d tables, files %v", len(metas), names)
		}
	}
}

func TestTablesWithoutCutMakesOne(t *testing.T) {
	mem := newMem(t)
	metas, err := write(newDirectory(mem), someEntries(300), nil)
	if err != nil || len(metas) != 1 {
		t.Fatal(metas, err)
	}
	if m := metas[0]; m.Number != 1 || m.Entries != 600 || m.Shadowed != 300 || m.Identity != sstable.Identity(77, 1) {
		t.Error(m)
	}
}

func TestTablesWithoutEntries(t *testing.T) {
	mem := newMem(t)
	silent := vfstest.NewFault(mem, func(op vfstest.Op) error {
		if op.Kind == vfstest.OpOpenDir {
			return nil
		}
		return fmt.Errorf("unexpected %v", op)
	})
	metas, err := write(newDirectory(silent), nil, nil)
	if err != nil || len(metas) != 0 || len(listTables(t, mem)) != 0 {
		t.Error(metas, err, listTables(t, mem))
	}
}

func TestAbortRemovesEverything(t *testing.T) {
	mem := newMem(t)
	tables := NewTables(newDirectory(mem), 1, func(sizeBytes int64, _ []byte) bool { return sizeBytes > 1000 })
	for _, k := range someEntries(200) {
		if err := tables.Add(k, valueOf(k)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(listTables(t, mem)); n < 3 {
		t.Fatalf("%d files before Abort", n)
	}
	for range 2 {
		if err := tables.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	if names := listTables(t, mem); len(names) > 0 {
		t.Error("left behind:", names)
	}
}

func TestAbortAfterFinishKeepsTables(t *testing.T) {
	mem := newMem(t)
	tables := NewTables(newDirectory(mem), 0, nil)
	key := someEntries(1)[0]
	if err := tables.Add(key, valueOf(key)); err != nil {
		t.Fatal(err)
	}
	if _, err := tables.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := tables.Abort(); err != nil || len(listTables(t, mem)) != 1 {
		t.Error(err, listTables(t, mem))
	}
}

func TestAbortNamesWhatItCannotRemove(t *testing.T) {
	broken := errors.New("broken")
	fault := vfstest.NewFault(newMem(t), func(op vfstest.Op) error {
		if op.Kind == vfstest.OpRemove || op.Kind == vfstest.OpSync {
			return fmt.Errorf("%v: %w", op.Kind, broken)
		}
		return nil
	})
	_, err := write(newDirectory(fault), someEntries(5), nil)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "sync") || !strings.Contains(err.Error(), "remove") {
		t.Error(err)
	}
}

// TestFaultAtEveryOperation fails each operation in turn, in every way, and checks
// that the failure is told and no file stays.
func TestFaultAtEveryOperation(t *testing.T) {
	broken := errors.New("broken")
	ways := map[string]func(vfstest.Op) error{
		"before": func(vfstest.Op) error { return broken },
		"late":   func(vfstest.Op) error { return &vfstest.Late{Err: broken} },
		"short":  func(op vfstest.Op) error { return &vfstest.ShortWrite{Bytes: op.Length / 2, Err: broken} },
		"full":   func(vfstest.Op) error { return fmt.Errorf("%w: %w", syscall.ENOSPC, broken) },
	}
	entries := someEntries(200)
	cut := func(sizeBytes int64, _ []byte) bool { return sizeBytes > 4000 }
	for name, fail := range ways {
		for at := 0; ; at++ {
			mem := newMem(t)
			count := 0
			var failed vfstest.Op
			fault := vfstest.NewFault(mem, func(op vfstest.Op) error {
				if op.Kind == vfstest.OpOpenDir {
					return nil
				}
				if count++; count-1 != at || (name == "short" && op.Kind != vfstest.OpWrite) {
					return nil
				}
				failed = op
				return fail(op)
			})
			metas, err := write(newDirectory(fault), entries, cut)
			if count <= at {
				if at < 10 {
					t.Errorf("only %d operations", at)
				}
				break
			}
			if failed.Name == "" {
				continue // nothing was injected
			}
			if !errors.Is(err, broken) || metas != nil {
				t.Errorf("%s: %v failed, but the result is %v, %v", name, failed, metas, err)
			}
			if names := listTables(t, mem); len(names) > 0 {
				t.Errorf("%s: %v failed and left %v", name, failed, names)
			}
			if errors.Is(err, ErrDirectorySync) != (failed.Kind == vfstest.OpSyncDir) || errors.Is(err, base.ErrDiskFull) != (name == "full" && failed.Kind != vfstest.OpSyncDir) {
				t.Errorf("%s: %v gave %v", name, failed, err)
			}
		}
	}
}

// TestFailureForGood has something fail and then, on a full disk, also the removal of the
// tables: that must not look as if waiting for room would cure it.
func TestFailureForGood(t *testing.T) {
	broken := errors.New("broken")
	for _, failing := range []vfstest.OpKind{vfstest.OpWrite, vfstest.OpSync, vfstest.OpSyncDir} {
		fault := vfstest.NewFault(newMem(t), func(op vfstest.Op) error {
			switch op.Kind {
			case failing:
				return broken
			case vfstest.OpRemove:
				return syscall.ENOSPC
			}
			return nil
		})
		if _, err := write(newDirectory(fault), someEntries(20), nil); !errors.Is(err, broken) || errors.Is(err, base.ErrDiskFull) {
			t.Errorf("%v: %v", failing, err)
		}
	}
}

func TestDiskFull(t *testing.T) {
	mem := newMem(t)
	metas, err := write(newDirectory(mem), someEntries(200), nil)
	if err != nil {
		t.Fatal(err)
	}
	for limit := int64(0); limit < metas[0].SizeBytes; limit += metas[0].SizeBytes / 20 {
		mem := newMem(t)
		mem.SetLimit(limit + 1)
		_, err := write(newDirectory(mem), someEntries(200), nil)
		if !errors.Is(err, base.ErrDiskFull) || len(listTables(t, mem)) > 0 {
			t.Errorf("limit %d: %v, files %v", limit, err, listTables(t, mem))
		}
	}
}

func TestExistingFileIsNotTouched(t *testing.T) {
	mem := newMem(t)
	if _, err := mem.Create(base.TablePath(dir, 1)); err != nil {
		t.Fatal(err)
	}
	_, err := write(newDirectory(mem), someEntries(1), nil)
	if !errors.Is(err, fs.ErrExist) || len(listTables(t, mem)) != 1 {
		t.Error(err, listTables(t, mem))
	}
}

func BenchmarkTables(b *testing.B) {
	value := bytes.Repeat([]byte("half compressible "), 6)[:100]
	mem := newMem(b)
	env := newDirectory(mem)
	env.Tables.BlockBytes = 0
	tables := NewTables(env, 1, func(sizeBytes int64, _ []byte) bool { return sizeBytes > 8<<20 })
	var key base.InternalKey
	b.SetBytes(124)
	for i := 0; b.Loop(); i++ {
		key = base.AppendInternalKey(key[:0], fmt.Appendf(nil, "%016d", i), base.MakeTrailer(1, base.KindSet))
		if err := tables.Add(key, value); err != nil {
			b.Fatal(err)
		}
	}
	if err := tables.Abort(); err != nil {
		b.Fatal(err)
	}
}

// rangesOf returns the range deletes of a table.
func rangesOf(t *testing.T, fsys vfs.FS, m *manifest.TableMeta) ranges.List {
	t.Helper()
	table, err := sstable.Open(fsys, base.TablePath(dir, m.Number), sstable.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if err := table.Verify(nil); err != nil {
		t.Fatal(err)
	}
	return table.Ranges()
}

// TestRangesAreCutWhereTablesAre: tables share no key, and together hold exactly the range
// deletes that they were given (rocksdb 2752, cockroach 31752). None has more than is bearable.
func TestRangesAreCutWhereTablesAre(t *testing.T) {
	defer func(before int64) { maxRangeBytes = before }(maxRangeBytes)
	pieces := 0
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		key := func() []byte { return fmt.Appendf(nil, "key%06d", rng.IntN(250)) }
		var all ranges.List
		for seq := range 1 + rng.IntN(8) {
			start := key()
			end := append(bytes.Clone(start), "~"...)
			if rng.IntN(2) == 0 {
				end = append(key(), 0)
			}
			all = ranges.Merge(all, ranges.Of(start, end, base.Seq(10+seq)))
		}
		var borders [][]byte
		for range rng.IntN(20) {
			borders = append(borders, key())
		}
		slices.SortFunc(borders, bytes.Compare)
		mem := newMem(t)
		cut := func(int64, []byte) bool { return rng.IntN(3) == 0 }
		maxRangeBytes = []int64{0, 100, 300, 1 << 20}[seed%4]
		if seed%8 < 4 {
			cut = nil
		}
		tables := NewTables(newDirectory(mem), 1, cut)
		tables.Ranges(all, borders)
		var entries history
		for _, k := range someEntries(250) {
			if rng.IntN(8) == 0 {
				entries = append(entries, k)
			}
		}
		for _, k := range entries {
			if err := tables.Add(k, valueOf(k)); err != nil {
				t.Fatal(err)
			}
		}
		metas, err := tables.Finish()
		if err != nil {
			t.Fatal(err)
		}
		var together ranges.List
		for i, m := range metas {
			if i > 0 && (!metas[i-1].EndsBefore(m.Smallest.UserKey()) || metas[i-1].SharesKeys(m)) {
				t.Fatalf("seed %d: %s and %s share keys", seed, metas[i-1], m)
			}
			own := rangesOf(t, mem, m)
			if m.Entries == 0 && len(own) == 0 || m.RangeDeletes != own.Count() {
				t.Fatalf("seed %d: %s holds %v", seed, m, own)
			}
			if n := len(own.AppendTo(nil)); int64(n) > maxRangeBytes && len(own.Overlapping(nil, nil)) > 1 {
				t.Fatalf("seed %d: %s has %d bytes of range deletes, the bound is %d", seed, m, n, maxRangeBytes)
			}
			together = ranges.Merge(together, own)
		}
		if cut == nil {
			pieces += len(metas)
		}
		// Clip joins what was cut.
		if got, want := fmt.Sprint(together.Clip(nil, nil)), fmt.Sprint(all); got != want {
			t.Fatalf("seed %d: cut to %v, given %v", seed, got, want)
		}
		if got := read(t, mem, metas); fmt.Sprint(got) != fmt.Sprint(entries) {
			t.Fatalf("seed %d: entries differ", seed)
		}
	}
	if pieces < 300 {
		t.Errorf("%d tables where nobody cut", pieces)
	}
}

// TestWideRangesAreCutBetweenEntries: where nothing but range deletes lies over many tables,
// they are cut as asked, and nothing is written where there are none.
func TestWideRangesAreCutBetweenEntries(t *testing.T) {
	for _, last := range []string{"", " z-z 1"} {
		var asked []string
		tables := NewTables(newDirectory(newMem(t)), 1, func(sizeBytes int64, next []byte) bool {
			asked = append(asked, string(next))
			return len(asked)%2 == 0
		})
		tables.Ranges(ranges.Merge(ranges.Of([]byte("b"), []byte("h"), 5), ranges.Of([]byte("m"), []byte("o"), 6)),
			[][]byte{[]byte("a"), []byte("c"), []byte("e"), []byte("g"), []byte("i"), []byte("k"), []byte("mm"), []byte("n"), []byte("p")})
		if last != "" {
			if err := tables.Add(base.MakeInternalKey([]byte("z"), 1, base.KindSet), nil); err != nil {
				t.Fatal(err)
			}
		}
		metas, err := tables.Finish()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range metas {
			got = append(got, fmt.Sprintf("%s-%s %d", m.Smallest.UserKey(), m.Largest.UserKey(), m.Entries))
		}
		if fmt.Sprint(got) != "[b-e 0 e-h 0 m-n 0 n-o 0"+last+"]" {
			t.Errorf("asked %v, made %v", asked, got)
		}
	}
}

// TestCompressionOfLevels: Zstandard is for tables below level 1.
func TestCompressionOfLevels(t *testing.T) {
	for level, want := range []sstable.Compression{sstable.CompressionSnappy, sstable.CompressionSnappy, sstable.CompressionZstd, sstable.CompressionZstd} {
		mem := newMem(t)
		env := newDirectory(mem)
		env.Tables.Compression, env.Tables.BlockBytes = sstable.CompressionZstd, 4096
		tables := NewTables(env, level, nil)
		for _, key := range someEntries(1000) {
			if err := tables.Add(key, valueOf(key)); err != nil {
				t.Fatal(err)
			}
		}
		made, err := tables.Finish()
		if err != nil {
			t.Fatal(err)
		}
		read(t, mem, made)
		table, err := sstable.Open(mem, base.TablePath(dir, made[0].Number), sstable.ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for info, err := range table.Blocks() {
			if info.Type == sstable.BlockData && (info.Compression != want || err != nil) {
				t.Fatalf("level %d: a block is stored as %s, %v", level, info.Compression, err)
			}
		}
	}
}

// TestAttachNumbersLoadedTables: a table that was written with placeholders shows the
// number that the MANIFEST has for it; one with numbers of its own shows these.
func TestAttachNumbersLoadedTables(t *testing.T) {
	for _, placeholder := range []bool{true, false} {
		mem := newMem(t)
		env := newDirectory(mem)
		env.Tables.Placeholder = placeholder
		made, err := write(env, history{base.MakeInternalKey([]byte("k"), 1, base.KindSet)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := base.Seq(1)
		if placeholder {
			want = 77
			made[0].Renumber(want)
		}
		env.Files = &sstable.OpenFiles{}
		env.Attach(made[0])
		table, err := made[0].Handle.Table()
		if err != nil {
			t.Fatal(err)
		}
		search := base.AppendSearchKey(nil, []byte("k"), base.MaxSeq)
		_, _, trailer, found, err := table.Find(search, base.Hash([]byte("k")), true)
		if !found || trailer.Seq() != want || err != nil {
			t.Errorf("found %v with number %d, want %d: %v", found, trailer.Seq(), want, err)
		}
		if !manifest.MetaOf(made[0].Number, table.Properties()).Equal(made[0]) {
			t.Errorf("the table tells of %+v, the MANIFEST of %s", table.Properties(), made[0])
		}
	}
}

func TestBackOff(t *testing.T) {
	var b BackOff
	for i, c := range []struct {
		err   error
		again bool
		delay time.Duration
	}{
		{errors.New("broken"), true, firstBackOff},
		{vfs.Shortage(syscall.ENOSPC), true, 2 * firstBackOff},
		{errors.New("broken"), true, 4 * firstBackOff},
		{vfs.Shortage(syscall.ENOSPC), true, 8 * firstBackOff},
		{errors.New("broken"), false, 0},
	} {
		if again := b.After(c.err); again != c.again || again && b.Delay != c.delay {
			t.Errorf("step %d: again %v after %v", i, again, b.Delay)
		}
	}
	if b := new(BackOff); b.After(fmt.Errorf("%w: %w", ErrDirectorySync, syscall.ENOSPC)) {
		t.Error("a directory is synced again after that failed")
	}
}
