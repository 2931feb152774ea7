package sstable

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// scarceFS is a file system that has only so many descriptors.
type scarceFS struct {
	vfs.FS
	mu                sync.Mutex
	free, open, peak  int
	lenient           bool // who reads a file that is closed gets an error, no more
	opens             int
	beforeOpen, onUse func(name string)
}

var errScarce = &base.ShortageError{Cause: errors.New("too many open files")}

func (s *scarceFS) Open(name string) (vfs.File, error) {
	if s.beforeOpen != nil {
		s.beforeOpen(name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free == 0 {
		return nil, errScarce
	}
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	s.free, s.open, s.opens = s.free-1, s.open+1, s.opens+1
	s.peak = max(s.peak, s.open)
	return &scarceFile{File: f, fs: s, name: name}, nil
}

type scarceFile struct {
	vfs.File
	fs    *scarceFS
	name  string
	reads atomic.Int64
}

// ReadAt fails where the file was closed before the read was over.
func (f *scarceFile) ReadAt(p []byte, offset int64) (int, error) {
	f.reads.Add(1)
	defer f.reads.Add(-1)
	if f.fs.onUse != nil {
		f.fs.onUse(f.name)
	}
	return f.File.ReadAt(p, offset)
}

func (f *scarceFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.reads.Load() > 0 && !f.fs.lenient {
		return errInjected
	}
	f.fs.free, f.fs.open = f.fs.free+1, f.fs.open-1
	return f.File.Close()
}

// scarceTables makes n tables of ten items, each with an identity of its own.
func scarceTables(t *testing.T, n, free int, o ReaderOptions, open *OpenFiles) (*scarceFS, []*Handle) {
	files := &scarceFS{FS: vfs.NewMem(), free: free}
	handles := make([]*Handle, n)
	for i := range handles {
		name := fmt.Sprint(i)
		o.Identity = Identity(7, uint64(i+1))
		data, _ := write(t, numbered(10), WriterOptions{BlockBytes: 1000, FilterBitsPerKey: 10, Identity: o.Identity})
		put(t, files, name, data)
		handles[i] = NewHandle(files, name, o, open)
	}
	return files, handles
}

func put(t *testing.T, fsys vfs.FS, name string, data []byte) {
	t.Helper()
	f := must(fsys.Create(name))(t)
	must(f.WriteAt(data, 0))(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func handleGet(h *Handle, i int) error {
	table, err := h.Table()
	if err != nil {
		return err
	}
	return getError(table, i)
}

// TestFewDescriptors reads many tables at once in every way, with a limit or a system
// that allows far fewer open files than there are readers. Nothing may fail, and no file
// is closed while it is read.
func TestFewDescriptors(t *testing.T) {
	for _, c := range []struct{ limit, free int }{{1, 1000}, {3, 1000}, {0, 1}, {0, 3}, {2, 1}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			open := OpenFiles{Limit: c.limit}
			cache := NewCache(20_000)
			files, handles := scarceTables(t, 8, c.free, ReaderOptions{Cache: cache}, &open)
			var group sync.WaitGroup
			for worker := range 12 {
				group.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(worker), 0))
					for range 50 {
						table, err := handles[rng.IntN(len(handles))].Table()
						if err == nil && rng.IntN(3) > 0 {
							err = getError(table, rng.IntN(10))
						} else if err == nil {
							for _, verb := range verbs {
								err = errors.Join(err, verb(table))
							}
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			bound := c.free
			if c.limit > 0 {
				bound = min(bound, c.limit)
			}
			if files.peak > bound || open.Len() != files.open {
				t.Errorf("%d open at once, %d now; the set says %d", files.peak, files.open, open.Len())
			}
			checkCache(t, cache)
			for _, h := range handles {
				if err := h.Close(); err != nil {
					t.Error(err)
				}
			}
			if files.open != 0 || open.Len() != 0 {
				t.Errorf("%d files left open", files.open)
			}
		})
	}
}

// TestNoDescriptorAtAll: what cannot be opened is told, once nothing is left to close
// for it, and goes on when there are descriptors again.
func TestNoDescriptorAtAll(t *testing.T) {
	var open OpenFiles
	files, handles := scarceTables(t, 3, 0, ReaderOptions{}, &open)
	var group sync.WaitGroup
	for i := range 9 {
		group.Go(func() {
			if err := handleGet(handles[i%3], i); !errors.Is(err, errScarce) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	files.free = 1
	for i, h := range handles {
		if err := handleGet(h, i); err != nil {
			t.Error(err)
		}
	}
	if files.open != 1 || open.Len() != 1 || open.opening != 0 {
		t.Errorf("%d open, %d listed", files.open, open.Len())
	}
	files.FS.Remove("0")
	if err := handleGet(handles[0], 1); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestShortageByFault lets the fault-injecting file system run out of descriptors for a while.
func TestShortageByFault(t *testing.T) {
	mem := tableFS(t, 10, "a", "b").FS
	var short atomic.Int64
	fault := vfstest.NewFault(mem, func(op vfstest.Op) error {
		if op.Kind == vfstest.OpOpen && short.Add(-1) >= 0 {
			return errScarce
		}
		return nil
	})
	var open OpenFiles
	a, b := NewHandle(fault, "a", ReaderOptions{}, &open), NewHandle(fault, "b", ReaderOptions{}, &open)
	if err := handleGet(a, 1); err != nil {
		t.Fatal(err)
	}
	short.Store(1) // a's place serves
	if err := handleGet(b, 1); err != nil || open.Len() != 1 {
		t.Errorf("%v, %d open", err, open.Len())
	}
	short.Store(2) // b's does not
	if err := handleGet(a, 2); !errors.Is(err, errScarce) || open.Len() != 0 {
		t.Errorf("%v, %d open", err, open.Len())
	}
	short.Store(0)
	if err := errors.Join(handleGet(a, 2), handleGet(b, 2)); err != nil {
		t.Error(err)
	}
}

// TestReadsKeepTheirPlace holds one read up. With a limit of one, the read of another
// table waits for its end; with two, it closes the third table's file.
func TestReadsKeepTheirPlace(t *testing.T) {
	for limit := 1; limit <= 2; limit++ {
		synctest.Test(t, func(t *testing.T) {
			open := OpenFiles{Limit: limit}
			files, handles := scarceTables(t, 3, 10, ReaderOptions{}, &open)
			for _, h := range handles {
				must(h.Table())(t)
			}
			entered, leave := make(chan struct{}), make(chan struct{})
			var once sync.Once
			files.onUse = func(name string) {
				if name == "0" {
					once.Do(func() { close(entered); <-leave })
				}
			}
			var group sync.WaitGroup
			expect := func(h *Handle) { // a get that succeeds
				if err := handleGet(h, 5); err != nil {
					t.Error(err)
				}
			}
			group.Go(func() { expect(handles[0]) })
			<-entered
			var got atomic.Int64
			for _, h := range handles[1:] {
				group.Go(func() { expect(h); got.Add(1) })
			}
			synctest.Wait()
			if n := got.Load(); n != int64(2*(limit-1)) || handles[0].file.Load() == nil {
				t.Errorf("limit %d: %d gets beside the one under way", limit, n)
			}
			close(leave)
			group.Wait()
			if files.peak != limit || got.Load() != 2 {
				t.Errorf("limit %d: %d open", limit, files.peak)
			}
			if err := open.CloseAll(); err != nil {
				t.Error(err)
			}
		})
	}
}

// withoutFile returns two handles of loaded tables, the first of which has no open file.
func withoutFile(t *testing.T, open *OpenFiles) (*scarceFS, []*Handle) {
	files, handles := scarceTables(t, 2, 1, ReaderOptions{}, open)
	for _, h := range handles {
		must(h.Table())(t)
	}
	files.free, files.opens = 10, 0
	return files, handles
}

// TestOpeningHoldsUpNobody blocks the opening of one table. Another one can be opened and
// read meanwhile; its own readers share that one opening.
func TestOpeningHoldsUpNobody(t *testing.T) {
	var open OpenFiles
	files, handles := withoutFile(t, &open)
	open.mu.Lock()
	open.shut(handles[1])
	open.mu.Unlock()
	entered, leave := make(chan struct{}, 5), make(chan struct{})
	files.beforeOpen = func(name string) {
		if name == "0" {
			entered <- struct{}{}
			<-leave
		}
	}
	var group sync.WaitGroup
	for i := range 5 {
		group.Go(func() {
			if err := handleGet(handles[0], i); err != nil {
				t.Error(err)
			}
		})
	}
	<-entered
	for range 1000 { // the other four get every chance to open it as well
		runtime.Gosched()
	}
	if err := handleGet(handles[1], 1); err != nil {
		t.Error(err)
	}
	close(leave)
	group.Wait()
	if files.opens != 2 || files.open != 2 {
		t.Errorf("%d opens of two files, %d open", files.opens, files.open)
	}
}

// TestCloseAllWaitsForWhoOpens: no file may be open when it returns, nor come later.
func TestCloseAllWaitsForWhoOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open OpenFiles
		files, handles := withoutFile(t, &open)
		leave := make(chan struct{})
		files.beforeOpen = func(string) { <-leave }
		var group sync.WaitGroup
		group.Go(func() {
			if err := handleGet(handles[0], 1); !errors.Is(err, base.ErrClosed) {
				t.Error(err)
			}
		})
		synctest.Wait()
		var closed atomic.Bool
		group.Go(func() {
			if err := open.CloseAll(); err != nil || files.open != 0 {
				t.Errorf("%v, %d files are open after CloseAll", err, files.open)
			}
			closed.Store(true)
		})
		synctest.Wait()
		if closed.Load() {
			t.Error("CloseAll returned while a file was being opened")
		}
		close(leave)
		group.Wait()
	})
}

// TestCloseAllFreesWhoWaits: readers that wait for a place hear that there will be none.
func TestCloseAllFreesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := OpenFiles{Limit: 1}
		files, handles := scarceTables(t, 3, 10, ReaderOptions{}, &open)
		must(handles[0].Table())(t)
		leave := make(chan struct{})
		files.onUse = func(string) { <-leave }
		var group sync.WaitGroup
		group.Go(func() { handleGet(handles[0], 5) })
		synctest.Wait()
		var freed atomic.Int64
		for _, h := range handles[1:] {
			group.Go(func() {
				if err := handleGet(h, 5); !errors.Is(err, base.ErrClosed) {
					t.Error(err)
				}
				freed.Add(1)
			})
		}
		synctest.Wait()
		open.CloseAll()
		synctest.Wait()
		if freed.Load() != 2 {
			t.Errorf("%d of 2 readers were told", freed.Load())
		}
		close(leave)
		group.Wait()
	})
}

// TestCloseAllReachesTablesWithoutFile: a table whose file was closed to make room has
// cached blocks, which go too, and is as closed as the others.
func TestCloseAllReachesTablesWithoutFile(t *testing.T) {
	open := OpenFiles{Limit: 1}
	cache := NewCache(1 << 20)
	_, handles := scarceTables(t, 2, 10, ReaderOptions{Cache: cache}, &open)
	for _, h := range handles {
		if err := handleGet(h, 1); err != nil {
			t.Fatal(err)
		}
	}
	if m := cache.Metrics(); m.Blocks != 2 || open.Len() != 1 {
		t.Fatalf("%+v, %d open", m, open.Len())
	}
	if err := open.CloseAll(); err != nil {
		t.Fatal(err)
	}
	for _, h := range handles {
		if err := handleGet(h, 1); !errors.Is(err, base.ErrClosed) {
			t.Error(err)
		}
	}
	if m := cache.Metrics(); m.Blocks != 0 || m.Used != 0 {
		t.Errorf("%+v", m)
	}
}

// TestOftenReadFilesStayOpen reads two tables all the time, and every other one once
// between, as a scan does: the two are not closed for these.
func TestOftenReadFilesStayOpen(t *testing.T) {
	open := OpenFiles{Limit: 4}
	files, handles := scarceTables(t, 30, 100, ReaderOptions{}, &open)
	for _, h := range handles {
		must(h.Table())(t)
	}
	hot := handles[:2]
	errs := []error{handleGet(hot[0], 1), handleGet(hot[1], 1)}
	before := files.opens
	for _, h := range handles[2:] {
		errs = append(errs, handleGet(hot[0], 1), handleGet(hot[1], 1), handleGet(h, 1))
	}
	opens := files.opens
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := opens - before; n < 25 || n > 29 {
		t.Errorf("%d files were opened for 28 tables that were read once", n)
	}
}

// TestAnotherFileInItsPlace puts something else where a table's file was while it was not
// open. What is read of it is refused; what is in memory, and the table once it is back, is good.
func TestAnotherFileInItsPlace(t *testing.T) {
	open := OpenFiles{Limit: 1}
	cache := NewCache(1 << 20)
	files, handles := scarceTables(t, 2, 10, ReaderOptions{Cache: cache}, &open)
	h := handles[0]
	table := must(h.Table())(t)
	read(t, table, 3)
	own := must(contentsOf(files, "0"))(t)
	foreign := must(contentsOf(files, "1"))(t)
	for name, data := range map[string][]byte{"another table": foreign, "zeros": make([]byte, len(own)), "half": own[:len(own)/2], "missing": nil} {
		if err := handleGet(handles[1], rand.IntN(10)); err != nil { // closes the file of h
			t.Fatal(err)
		}
		handles[1].Retire() // so that the next one reads again
		if h.file.Load() != nil {
			t.Fatal("still open")
		}
		files.FS.Remove("0")
		if data != nil {
			put(t, files, "0", data)
		}
		read(t, table, 3)
		if err := getError(table, 7); !errors.Is(err, base.ErrCorrupt) && !(data == nil && errors.Is(err, fs.ErrNotExist)) {
			t.Errorf("%s: %v", name, err)
		}
		if err := table.Verify(nil); err == nil {
			t.Errorf("%s: verified", name)
		}
		files.FS.Remove("0")
		put(t, files, "0", own)
		open.remove(h) // as if another table had needed the place
	}
	if err := errors.Join(getError(table, 7), table.Verify(nil)); err != nil {
		t.Error(err)
	}
}

// contentsOf returns what a file holds.
func contentsOf(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	data := make([]byte, size)
	if err == nil {
		_, err = f.ReadAt(data, 0)
	}
	return data, err
}

// TestReadsAtATime: however many readers come to a slow disk, few of them wait for it at a
// time.
func TestReadsAtATime(t *testing.T) {
	const readers = 3000
	files, handles := scarceTables(t, 1, 10, ReaderOptions{}, &OpenFiles{})
	must(handles[0].Table())(t)
	var now, most atomic.Int64
	full := make(chan struct{}) // the disk answers nobody before as many wait for it as may
	var once sync.Once
	files.onUse = func(string) {
		at := now.Add(1)
		for before := most.Load(); at > before && !most.CompareAndSwap(before, at); before = most.Load() {
		}
		if at == int64(cap(reading)) {
			for range readers { // others get every chance to come as well
				runtime.Gosched()
			}
			once.Do(func() { close(full) })
		}
		<-full
		now.Add(-1)
	}
	var group sync.WaitGroup
	for range readers {
		group.Go(func() {
			if err := handleGet(handles[0], 5); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := most.Load(); got != int64(cap(reading)) {
		t.Errorf("up to %d reads at a time, not %d", got, cap(reading))
	}
}
