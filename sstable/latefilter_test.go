package sstable

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/budget"
	"lsmdb/internal/vfs"
)

// withFilter asks for absent keys until a table has its filter.
func withFilter(t testing.TB, table *Table) {
	t.Helper()
	for range 2 {
		if err := getError(table, 999_999); err != nil {
			t.Fatal(err)
		}
	}
	if table.filter.Load().count == 0 {
		t.Fatal("two searches in vain, and no filter")
	}
}

// TestFilterIsLoadedAfterASearchInVain: present keys need no filter. The first search for an
// absent key does without it, the second loads it, and no other one reads anything.
func TestFilterIsLoadedAfterASearchInVain(t *testing.T) {
	files := tableFS(t, 10, "a")
	shared := budget.New(1 << 30)
	open := OpenFiles{Account: budget.Open(shared)}
	defer open.Account.Close()
	stats := new(Stats)
	h := NewHandle(files, "a", ReaderOptions{Cache: NewCache(1 << 20), Stats: stats}, &open)
	table := must(h.Table())(t)
	for i := range 10 {
		read(t, table, i)
	}
	without := shared.Usage().Taken[budget.Tables]
	reads := files.files[0].reads.Load()
	for i, c := range []struct {
		reads  int64
		checks uint64
	}{{0, 0}, {1, 1}, {1, 2}, {1, 3}} {
		if err := getError(table, 1000+i); err != nil {
			t.Fatal(err)
		}
		if n, m := files.files[0].reads.Load()-reads, stats.Filters(); n != c.reads || m.Checks != c.checks || m.Negatives+m.FalsePositives != c.checks {
			t.Fatalf("after %d absent keys: %d reads more, %+v", i+1, n, m)
		}
	}
	for i := range 10 {
		read(t, table, i)
	}
	if got := shared.Usage().Taken[budget.Tables] - without; got != table.Properties().FilterBytes-filterTrailerBytes-blockTrailerBytes {
		t.Errorf("%d bytes are paid for", got)
	}
	if err := open.CloseAll(); err != nil || shared.Usage().Taken[budget.Tables] != 0 {
		t.Error(shared.Usage(), err)
	}
}

// TestTableWithoutFilter: searches in vain find out that there is none, and read nothing for that.
func TestTableWithoutFilter(t *testing.T) {
	data, _ := write(t, numbered(10), WriterOptions{BlockBytes: 1000})
	stats := new(Stats)
	table := open(t, data, ReaderOptions{Stats: stats})
	table.handle.file.Load().File = brokenFile{bytesFile{data: data}}
	for range 3 {
		if err := getError(table, 999_999); err != nil {
			t.Fatal(err)
		}
	}
	if m := stats.Filters(); m.Checks != 0 || table.filter.Load() != none {
		t.Errorf("%+v", m)
	}
}

// TestDamagedFilterIsFound: by the search that needs it, and by each one until it is sound
// again.
func TestDamagedFilterIsFound(t *testing.T) {
	data, p := write(t, numbered(10), WriterOptions{BlockBytes: 1000, FilterBitsPerKey: 10})
	data[p.DataBytes+5] ^= 1
	table := must(openOn(bytesFile{data: data}, "t.sst", ReaderOptions{}))(t)
	for i := range 11 { // the last is absent
		if err := getError(table, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{11, 11, 3} {
		var corrupt *base.CorruptionError
		if err := getError(table, i); !errors.As(err, &corrupt) || corrupt.Offset != p.DataBytes || corrupt.File != "t.sst" {
			t.Fatal(err)
		}
	}
	if err := table.Verify(nil); !errors.Is(err, base.ErrCorrupt) {
		t.Error(err)
	}
	it, entries := table.NewIterator(IteratorOptions{}), 0 // as a merge reads it
	for ok := it.First(); ok; ok = it.Next() {
		entries++
	}
	if err := errors.Join(it.Err(), it.Close()); err != nil || entries != 10 {
		t.Errorf("%d entries, %v", entries, err)
	}
	data[p.DataBytes+5] ^= 1
	for _, i := range []int{11, 3} {
		if err := getError(table, i); err != nil {
			t.Error(err)
		}
	}
	withFilter(t, table)
}

// gatedFile tells of reads at an offset, and lets them wait.
type gatedFile struct {
	vfs.File
	offset int64
	told   func()
}

func (f gatedFile) ReadAt(p []byte, offset int64) (int, error) {
	if offset == f.offset {
		f.told()
	}
	return f.File.ReadAt(p, offset)
}

// TestFilterIsReadOnce by readers that come at the same time.
func TestFilterIsReadOnce(t *testing.T) {
	table := numberedTable(t, 10, ReaderOptions{Cache: NewCache(1 << 20)})
	reads := 0 // under the lock of who loads
	f := table.handle.file.Load()
	f.File = gatedFile{f.File, table.properties.DataBytes, func() { reads++ }}
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for i := range 20 {
				if err := getError(table, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if withFilter(t, table); reads != 1 {
		t.Errorf("%d reads", reads)
	}
}

// TestFilterOfATableThatGoes: a table is unloaded, or closed, while its filter is read. Who
// waits for that gets an answer, or is told so, and nothing is paid for any more.
func TestFilterOfATableThatGoes(t *testing.T) {
	for name, c := range map[string]struct {
		leave func(open *OpenFiles)
		want  error
	}{
		"unloaded": {func(open *OpenFiles) { open.GiveTables(1 << 30) }, nil},
		"closed":   {func(open *OpenFiles) { open.CloseAll() }, base.ErrClosed},
	} {
		shared := budget.New(1 << 30)
		open := OpenFiles{Account: budget.Open(shared)}
		h := NewHandle(tableFS(t, 10, "a"), "a", ReaderOptions{}, &open)
		table := must(h.Table())(t)
		f := h.file.Load()
		f.File = gatedFile{f.File, table.properties.DataBytes, func() { c.leave(&open) }}
		for i := range 3 {
			want := c.want
			if i == 0 {
				want = nil // before the filter is due
			}
			if err := getError(table, 999_999); !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if u := shared.Usage(); u.Taken[budget.Tables] != 0 || table.filter.Load() != none {
			t.Errorf("%s: %+v", name, u)
		}
		open.Account.Close()
	}
}

// TestHeirsHaveTheirFilter where a table that was merged had it loaded, and not where reads
// needed none.
func TestHeirsHaveTheirFilter(t *testing.T) {
	for _, needed := range []bool{false, true} {
		cache := NewCache(1 << 20)
		old, heir := numberedTable(t, 10, ReaderOptions{Cache: cache}), numberedTable(t, 10, ReaderOptions{Cache: cache})
		if read(t, old, 3); needed {
			withFilter(t, old)
		}
		Succeed([][]*Handle{handlesOf(old)}, handlesOf(heir))
		if got := heir.filter.Load(); (got.count > 0) != needed || !needed && got != later {
			t.Errorf("needed %v: a filter of %d lines", needed, got.count)
		}
	}
	// One that cannot be read fails nobody but who needs it.
	cache := NewCache(1 << 20)
	old := numberedTable(t, 10, ReaderOptions{Cache: cache})
	read(t, old, 3)
	withFilter(t, old)
	data, p := write(t, numbered(10), WriterOptions{BlockBytes: 1000, FilterBitsPerKey: 10})
	data = bytes.Clone(data)
	data[p.DataBytes] ^= 1
	heir := must(openOn(bytesFile{data: data}, "t.sst", ReaderOptions{Cache: cache}))(t)
	if Succeed([][]*Handle{handlesOf(old)}, handlesOf(heir)).Fill(always); heir.slots[3].Load() == nil {
		t.Error("nothing was brought")
	}
	if err := getError(heir, 3); !errors.Is(err, base.ErrCorrupt) {
		t.Error(err)
	}
}
