package sstable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/vfs"
)

// countingFile counts reads and tells of its closing.
type countingFile struct {
	vfs.File
	reads      atomic.Int64
	closes     atomic.Int64
	onRead     func()
	onClose    func()
	closeError error
}

func (f *countingFile) ReadAt(p []byte, offset int64) (int, error) {
	f.reads.Add(1)
	if f.onRead != nil {
		f.onRead()
	}
	return f.File.ReadAt(p, offset)
}

func (f *countingFile) Close() error {
	if f.onClose != nil {
		f.onClose()
	}
	f.closes.Add(1)
	if f.closeError != nil {
		return f.closeError
	}
	return f.File.Close()
}

// countingFS opens counting files.
type countingFS struct {
	vfs.FS
	mu    sync.Mutex
	files []*countingFile
	fail  error
}

func (c *countingFS) Open(name string) (vfs.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return nil, c.fail
	}
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	counting := &countingFile{File: f}
	c.files = append(c.files, counting)
	return counting, nil
}

// closingFS opens files that something happens to at each read.
type closingFS struct {
	*countingFS
	onRead func(*countingFile)
}

func (c closingFS) Open(name string) (vfs.File, error) {
	f, err := c.countingFS.Open(name)
	if err != nil {
		return nil, err
	}
	counting := f.(*countingFile)
	counting.onRead = func() { c.onRead(counting) }
	return counting, nil
}

// tableFS holds tables of n items under the given names.
func tableFS(t *testing.T, n int, names ...string) *countingFS {
	data, _ := write(t, numbered(n), WriterOptions{BlockBytes: 1000, FilterBitsPerKey: 10})
	mem := vfs.NewMem()
	for _, name := range names {
		f := must(mem.Create(name))(t)
		if _, err := f.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return &countingFS{FS: mem}
}

func TestHandleOpensOnce(t *testing.T) {
	files := tableFS(t, 10, "a")
	var open OpenFiles
	h := NewHandle(files, "a", ReaderOptions{Identity: testIdentity}, &open)
	if open.Len() != 0 {
		t.Fatal("opened before use")
	}
	var group sync.WaitGroup
	tables := make([]*Table, 16)
	for i := range tables {
		group.Go(func() {
			table, err := h.Table()
			if err != nil {
				t.Error(err)
				return
			}
			tables[i] = table
			read(t, table, i%10)
		})
	}
	group.Wait()
	for _, table := range tables {
		if table != tables[0] {
			t.Fatal("two tables for one handle")
		}
	}
	if len(files.files) != 1 || open.Len() != 1 {
		t.Fatalf("%d opens, %d open files", len(files.files), open.Len())
	}
	if err := open.CloseAll(); err != nil || files.files[0].closes.Load() != 1 {
		t.Fatal(err)
	}
}

func TestHandleForgetsErrors(t *testing.T) {
	files := tableFS(t, 10, "a")
	var open OpenFiles
	h := NewHandle(files, "a", ReaderOptions{Identity: testIdentity}, &open)
	files.fail = errors.New("too many open files")
	if _, err := h.Table(); !errors.Is(err, files.fail) {
		t.Fatal(err)
	}
	files.fail = nil
	table, err := h.Table()
	if err != nil {
		t.Fatal(err)
	}
	read(t, table, 3)

	other := NewHandle(files, "a", ReaderOptions{Identity: 5}, &open)
	if _, err := other.Table(); !errors.Is(err, base.ErrCorrupt) {
		t.Fatalf("the wrong table's file: %v", err)
	}
	if open.Len() != 1 || files.files[1].closes.Load() != 1 {
		t.Fatal("the file that did not open as a table was left open")
	}
	missing := NewHandle(files, "b", ReaderOptions{}, &open)
	if _, err := missing.Table(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := open.CloseAll(); err != nil {
		t.Fatal(err)
	}
}

func TestCloseAll(t *testing.T) {
	files := tableFS(t, 10, "a", "b")
	var open OpenFiles
	cache := NewCache(1 << 20)
	opened := NewHandle(files, "a", ReaderOptions{Cache: cache}, &open)
	unopened := NewHandle(files, "b", ReaderOptions{Cache: cache}, &open)
	table := must(opened.Table())(t)
	read(t, table, 3)
	it := table.NewIterator(IteratorOptions{})
	if !it.First() {
		t.Fatal(it.Err())
	}
	if errors.Join(open.CloseAll(), open.CloseAll()) != nil || open.Len() != 0 || files.files[0].closes.Load() != 1 {
		t.Fatal("CloseAll left something open, or closed it twice")
	}
	for name, err := range map[string]error{
		"cached get":     getError(table, 3),
		"uncached get":   getError(table, 4),
		"get of no key":  getError(table, 999_999),
		"unopened table": func() error { _, err := unopened.Table(); return err }(),
		"verify":         table.Verify(nil),
		"next":           func() error { it.Next(); return it.Err() }(),
		"first":          func() error { it.First(); return it.Err() }(),
		"blocks": func() (first error) {
			for _, err := range table.Blocks() {
				return err
			}
			return nil
		}(),
	} {
		if !errors.Is(err, base.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m := cache.Metrics(); m.Blocks != 0 || m.Used != 0 {
		t.Errorf("%+v", m)
	}
}

func getError(table *Table, i int) error {
	search := base.AppendSearchKey(nil, fmt.Appendf(nil, "%06d", i), base.MaxSeq)
	_, _, _, err := table.Get(search, base.Hash(search.UserKey()))
	return err
}

// TestRetire: the blocks of a table that left the tree go at once. Whoever still reads it
// must not go to the file each time.
func TestRetire(t *testing.T) {
	files := tableFS(t, 10, "a")
	var open OpenFiles
	cache, stats := NewCache(1<<20), new(Stats)
	h := NewHandle(files, "a", ReaderOptions{Cache: cache, Stats: stats}, &open)
	h.Retire() // before it was opened: nothing is there to go
	table := must(h.Table())(t)
	for i := range 10 {
		read(t, table, i)
	}
	if m := cache.Metrics(); m.Blocks != 10 {
		t.Fatalf("not cached: %+v", m)
	}
	h.Retire()
	if m := cache.Metrics(); m.Blocks != 0 || m.Used != 0 {
		t.Fatalf("a retired table keeps its blocks: %+v", m)
	}
	scan(t, table.NewIterator(IteratorOptions{}), numbered(10))
	before := stats.Reads().BlocksRead
	scan(t, table.NewIterator(IteratorOptions{}), numbered(10))
	read(t, table, 3)
	if after := stats.Reads().BlocksRead; after != before {
		t.Errorf("%d blocks read once more", after-before)
	}
	checkCache(t, cache)
	if err := open.CloseAll(); err != nil {
		t.Fatal(err)
	}
	if m := cache.Metrics(); m.Blocks != 0 || m.Used != 0 {
		t.Fatalf("a closed table keeps its blocks: %+v", m)
	}
}

// TestUsedSince: who watches hears of each use once, whatever looks for tables to unload, and
// how much of the table is cached.
func TestUsedSince(t *testing.T) {
	var open OpenFiles
	h := NewHandle(tableFS(t, 10, "a"), "a", ReaderOptions{Cache: NewCache(1 << 20)}, &open)
	defer open.CloseAll()
	if cached, blocks := h.Cached(); h.UsedSince() || cached+blocks != 0 {
		t.Error("used before anybody came")
	}
	table := must(h.Table())(t)
	if !h.UsedSince() || h.UsedSince() {
		t.Error("the first use is not told once")
	}
	for range 2 {
		must(h.Table())(t)
	}
	read(t, table, 3)
	if cached, blocks := h.Cached(); !h.UsedSince() || h.UsedSince() || cached != 1 || blocks != 10 {
		t.Errorf("later uses are not told once, or %d of %d blocks are cached", cached, blocks)
	}
	must(h.Table())(t)
	if given := open.GiveTables(1); given == 0 || !h.UsedSince() {
		t.Error("what is unloaded was not used before")
	}
}

// TestHandleClose: everything that a table has goes at once, and nothing comes back.
func TestHandleClose(t *testing.T) {
	files := tableFS(t, 10, "a", "b")
	var open OpenFiles
	cache := NewCache(1 << 20)
	h := NewHandle(files, "a", ReaderOptions{Cache: cache}, &open)
	table := must(h.Table())(t)
	read(t, table, 3)
	it := table.NewIterator(IteratorOptions{})
	if !it.First() {
		t.Fatal(it.Err())
	}
	if err := errors.Join(h.Close(), h.Close()); err != nil {
		t.Fatal(err)
	}
	if m := cache.Metrics(); open.Len() != 0 || len(open.handles) != 0 || files.files[0].closes.Load() != 1 || m.Blocks != 0 {
		t.Fatalf("%d files and %d tables listed, closed %d times, %+v", open.Len(), len(open.handles), files.files[0].closes.Load(), m)
	}
	if err := files.Remove("a"); err != nil {
		t.Fatal(err)
	}
	unopened := NewHandle(files, "b", ReaderOptions{}, &open)
	if err := unopened.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"cached get":     getError(table, 3),
		"uncached get":   getError(table, 4),
		"first":          func() error { it.First(); return it.Err() }(),
		"verify":         table.Verify(nil),
		"table":          func() error { _, err := h.Table(); return err }(),
		"unopened table": func() error { _, err := unopened.Table(); return err }(),
	} {
		if !errors.Is(err, base.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(files.files) != 1 {
		t.Errorf("%d opens", len(files.files))
	}
}

// TestCloseAndCloseAllMeet closes handles, some of them twice at once, while CloseAll does.
func TestCloseAndCloseAllMeet(t *testing.T) {
	files := tableFS(t, 5, "a")
	open := OpenFiles{Limit: 3}
	cache := NewCache(1 << 20)
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 50 {
				if worker == 0 && i == 25 {
					if err := open.CloseAll(); err != nil {
						t.Error(err)
					}
				}
				h := NewHandle(files, "a", ReaderOptions{Cache: cache}, &open)
				table, err := h.Table()
				if err == nil {
					err = getError(table, i%5)
				}
				if err != nil && !errors.Is(err, base.ErrClosed) {
					t.Error(err)
				}
				if i%10 == 0 {
					h.Retire()
				}
				group.Go(func() { h.Close() })
				if err := h.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for i, f := range files.files {
		if n := f.closes.Load(); n != 1 {
			t.Fatalf("file %d was closed %d times", i, n)
		}
	}
	if open.Len() != 0 || len(open.handles) != 0 {
		t.Fatalf("%d files and %d tables are listed", open.Len(), len(open.handles))
	}
	checkCache(t, cache)
}

// TestUnload: a table that is unloaded to make room is loaded again when it is read; who
// reads it meanwhile reads on, and puts nothing into the cache that nobody would find.
func TestUnload(t *testing.T) {
	files := tableFS(t, 10, "a", "b")
	shared := budget.New(1 << 30)
	open := OpenFiles{Account: budget.Open(shared)}
	defer open.Account.Close()
	cache := NewCache(1 << 20)
	cache.Account = open.Account
	h := NewHandle(files, "a", ReaderOptions{Cache: cache}, &open)
	before := must(h.Table())(t)
	it := before.NewIterator(IteratorOptions{})
	if read(t, before, 3); !it.First() {
		t.Fatal(it.Err())
	}
	withFilter(t, before)
	taken := func() (tables, blocks int64) {
		u := shared.Usage()
		return u.Taken[budget.Tables], u.Taken[budget.Cache]
	}
	if tables, blocks := taken(); tables < 1000 || blocks != cache.Metrics().Used || blocks == 0 {
		t.Fatalf("%d and %d bytes", tables, blocks)
	}
	filterBytes := before.filter.Load().memoryBytes()
	if given, want := open.GiveTables(1<<30), before.memoryBytes()+filterBytes; given != want {
		t.Fatalf("%d instead of %d bytes given", given, want)
	}
	if tables, blocks := taken(); tables+blocks != 0 {
		t.Fatalf("%d and %d bytes left", tables, blocks)
	}
	for it.Next() {
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	if read(t, before, 4); cache.Metrics().Blocks != 0 {
		t.Fatal("blocks of a table that was unloaded are cached")
	}
	after := must(h.Table())(t)
	if read(t, after, 4); after == before || cache.Metrics().Blocks == 0 {
		t.Fatal("not loaded again")
	}
	// Among readers, until it is closed.
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for i := range 2000 {
				table, err := h.Table()
				if err == nil {
					err = getError(table, i%20) // every second is absent
				}
				if err != nil && !errors.Is(err, base.ErrClosed) {
					t.Error(err)
				}
				if i%16 == 0 {
					open.GiveTables(1)
				}
			}
		})
	}
	time.Sleep(time.Millisecond)
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	users.Wait()
	if tables, blocks := taken(); tables+blocks != 0 || cache.Metrics().Blocks != 0 {
		t.Errorf("%d and %d bytes left", tables, blocks)
	}
}

// TestOpeningReadsOnce: where it is known how long a table is, all that is needed comes with one read. Where each entry has a block of its own the index grows
// longer than expected, and takes another one.
func TestOpeningReadsOnce(t *testing.T) {
	for entries, want := range map[int]int64{1: 1, 100: 1, 1000: 2} {
		files := tableFS(t, entries, "a")
		sizeBytes := must(vfs.SizeOf(files, "a"))(t)
		h := NewHandle(files, "a", ReaderOptions{SizeBytes: sizeBytes}, new(OpenFiles))
		must(h.Table())(t)
		if n := files.files[len(files.files)-1].reads.Load(); n != want {
			t.Errorf("%d entries: %d reads, want %d", entries, n, want)
		}
	}
}

// shortReads fails each read that begins before a place.
type shortReads struct {
	bytesFile
	from int64
}

func (f shortReads) ReadAt(p []byte, offset int64) (int, error) {
	if offset < f.from {
		return 0, io.ErrNoProgress
	}
	return f.bytesFile.ReadAt(p, offset)
}

// TestOpeningNeedsNoData: that data blocks and filter cannot be read does not matter to who
// opens the table, although the read of its end may take some of them along.
func TestOpeningNeedsNoData(t *testing.T) {
	data, p := write(t, numbered(100), WriterOptions{BlockBytes: 1000, FilterBitsPerKey: 10})
	f := shortReads{bytesFile{data: data}, p.DataBytes + p.FilterBytes}
	table := must(openOn(f, "t.sst", ReaderOptions{SizeBytes: int64(len(data))}))(t)
	if table.Properties().Entries != 100 {
		t.Error(table.Properties())
	}
	f.from = int64(len(data)) - footerBytes + 1
	if _, err := openOn(f, "t.sst", ReaderOptions{SizeBytes: int64(len(data))}); !errors.Is(err, io.ErrNoProgress) || damaged(err) {
		t.Error(err)
	}
}
