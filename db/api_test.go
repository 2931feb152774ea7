package db_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

func openMemory(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 16 << 10})
	fixture.Must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func TestKeyLimits(t *testing.T) {
	d := openMemory(t)
	largest, tooLarge := make([]byte, db.MaxKeyBytes), make([]byte, db.MaxKeyBytes+1)
	fixture.Must(t, d.Put(largest, []byte("largest")))
	fixture.Must(t, d.Put(nil, []byte("empty")))
	before := d.Metrics().Sequence
	fixture.WantErr(t, "Put", d.Put(tooLarge, nil), db.ErrKeyTooLarge)
	fixture.WantErr(t, "Delete", d.Delete(tooLarge), db.ErrKeyTooLarge)
	b := d.NewBatch()
	fixture.WantErr(t, "Batch.Put", b.Put(tooLarge, nil), db.ErrKeyTooLarge)
	b.Reset()
	fixture.WantErr(t, "Batch.Delete", b.Delete(tooLarge), db.ErrKeyTooLarge)
	if after := d.Metrics().Sequence; after != before {
		t.Errorf("refused writes moved the sequence number from %d to %d", before, after)
	}
	_, err := d.Get(tooLarge)
	fixture.WantErr(t, "Get", err, db.ErrNotFound)
	for range 2 { // from memory, from a table
		for key, want := range map[string]string{string(largest): "largest", "": "empty"} {
			if v, err := d.Get([]byte(key)); string(v) != want || err != nil {
				t.Errorf("key of %d bytes: %q, %v", len(key), v, err)
			}
		}
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		if !it.First() || len(it.Key()) != 0 || !it.Next() || len(it.Key()) != db.MaxKeyBytes || it.Next() {
			t.Errorf("iterator: %d bytes, %v", len(it.Key()), it.Err())
		}
		if it.SeekGE(tooLarge) || !it.SeekLT(tooLarge) || it.Err() != nil {
			t.Errorf("seek to a key that cannot exist: %v", it.Err())
		}
		fixture.Must(t, it.Close())
		fixture.Must(t, d.Flush(t.Context()))
	}
	fixture.Must(t, d.Delete(nil))
	if ok, err := d.Has(nil); ok || err != nil {
		t.Errorf("the empty key after Delete: %v, %v", ok, err)
	}
}

func TestValueLimits(t *testing.T) {
	d := openMemory(t)
	tooLarge := make([]byte, db.MaxValueBytes+1) // never touched: costs no memory
	fixture.WantErr(t, "Put", d.Put([]byte("k"), tooLarge), db.ErrValueTooLarge)
	fixture.WantErr(t, "Batch.Put", d.NewBatch().Put([]byte("k"), tooLarge), db.ErrValueTooLarge)
	large := bytes.Repeat([]byte("twenty megabytes of this"), 20<<20/24)
	fixture.Must(t, d.Put([]byte("large"), large))
	fixture.Must(t, d.Put([]byte("empty"), nil))
	for range 2 {
		if v, err := d.Get([]byte("large")); !bytes.Equal(v, large) || err != nil {
			t.Errorf("value of %d bytes comes back with %d, %v", len(large), len(v), err)
		}
		if v, err := d.Get([]byte("empty")); v == nil || len(v) != 0 || err != nil {
			t.Errorf("empty value: %#v, %v", v, err)
		}
		it, err := d.NewIterator(nil)
		fixture.Must(t, err)
		if !it.First() || len(it.Value()) != 0 || !it.Next() || !bytes.Equal(it.Value(), large) {
			t.Errorf("iterator: %d bytes of value, %v", len(it.Value()), it.Err())
		}
		fixture.Must(t, it.Close())
		fixture.Must(t, d.Compact(t.Context(), nil, nil))
	}
}

// TestBatchErrorsStick: a batch that refused an operation is not applied without it.
func TestBatchErrorsStick(t *testing.T) {
	d := openMemory(t)
	ctx := t.Context()
	b := d.NewBatch()
	fixture.Must(t, b.Put([]byte("first"), nil))
	fixture.WantErr(t, "Put", b.Put(make([]byte, db.MaxKeyBytes+1), nil), db.ErrKeyTooLarge)
	fixture.WantErr(t, "Put", b.Put(nil, make([]byte, db.MaxValueBytes+1)), db.ErrValueTooLarge)
	fixture.Must(t, b.Put([]byte("second"), nil))
	for range 2 {
		fixture.WantErr(t, "Apply", d.Apply(ctx, b), db.ErrKeyTooLarge)
		_, err := d.Submit(ctx, b)
		fixture.WantErr(t, "Submit", err, db.ErrKeyTooLarge)
	}
	if ok, _ := d.Has([]byte("first")); ok || b.Len() != 2 {
		t.Errorf("first is there: %v; %d operations", ok, b.Len())
	}
	b.Reset()
	if b.Len() != 0 || b.Bytes() != 0 {
		t.Errorf("after Reset: %d operations, %d bytes", b.Len(), b.Bytes())
	}
	fixture.Must(t, b.Put([]byte("third"), []byte("v")))
	if b.Len() != 1 || b.Bytes() < 6 {
		t.Errorf("%d operations, %d bytes", b.Len(), b.Bytes())
	}
	fixture.Must(t, d.Apply(ctx, b))
	fixture.Must(t, fixture.Differ(fixture.View{"third": "v"}, fixture.Contents(t, d)))
}

func TestEmptyBatch(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	fixture.Must(t, d.Put([]byte("k"), nil, db.NoSync))
	w := d.Metrics().WAL
	if w.DurableBytes >= w.OffsetBytes {
		t.Errorf("NoSync is durable: %+v", w)
	}
	fixture.Must(t, d.Apply(t.Context(), d.NewBatch(), db.NoSync))
	if now := d.Metrics().WAL; now.OffsetBytes != w.OffsetBytes || now.DurableBytes != w.DurableBytes {
		t.Errorf("an empty batch changes the WAL: %+v, %+v", w, now)
	}
	fixture.Must(t, d.Apply(t.Context(), d.NewBatch(), db.Sync))
	if now := d.Metrics().WAL; now.DurableBytes != w.OffsetBytes {
		t.Errorf("an empty batch with Sync does not sync: %+v", now)
	}
	clone := m.Disk.CrashClone(nil)
	fixture.Must(t, d.Close())
	fixture.MustHold(t, clone, fixture.View{"k": ""})
}

// TestCancelledContext: no call starts anything for a context that has ended.
func TestCancelledContext(t *testing.T) {
	d := openMemory(t)
	ctx, cancel := context.WithCancel(t.Context())
	b := d.NewBatch()
	fixture.Must(t, b.Put([]byte("k"), []byte("v")))
	p, err := d.Submit(ctx, b)
	fixture.Must(t, err)
	<-p.Done()
	cancel()
	fixture.Must(t, p.Wait(ctx)) // resolved already
	b.Reset()
	fixture.Must(t, b.Put([]byte("no"), nil))
	fixture.WantErr(t, "Apply", d.Apply(ctx, b), context.Canceled)
	_, err = d.Submit(ctx, b)
	fixture.WantErr(t, "Submit", err, context.Canceled)
	fixture.WantErr(t, "Sync", d.Sync(ctx), context.Canceled)
	for range 20 { // there is room at once, but it must not be taken
		fixture.WantErr(t, "Flush", d.Flush(ctx), context.Canceled)
		fixture.WantErr(t, "Compact", d.Compact(ctx, nil, nil), context.Canceled)
	}
	fixture.Must(t, fixture.Differ(fixture.View{"k": "v"}, fixture.Contents(t, d)))
	fixture.Must(t, d.Apply(t.Context(), b)) // the batch is as it was
	fixture.Must(t, fixture.Differ(fixture.View{"k": "v", "no": ""}, fixture.Contents(t, d)))
}

func TestOptionsAreChecked(t *testing.T) {
	for what, o := range map[string]db.Options{
		"MemtableBytes":    {MemtableBytes: -1},
		"FilterBitsPerKey": {FilterBitsPerKey: 1000},
		"Durability":       {Durability: 7},
		"Compression":      {Compression: -1},
		"Compression is 3": {Compression: db.Zstd + 1},
		"InMemory":         {InMemory: true, ReadOnly: true},
	} {
		if what != "InMemory" {
			o.InMemory = true
		}
		if _, err := db.Open("", &o); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("Open with a wrong %s: %v", what, err)
		}
	}
	for _, o := range []*db.Options{nil, {}} {
		r, err := o.Resolved()
		if err != nil || r.MemtableBytes != 64<<20 || r.CacheBytes != 64<<20 || r.FilterBitsPerKey != 10 || r.Durability != db.Sync || r.Compression != db.Snappy {
			t.Errorf("defaults: %+v, %v", r, err)
		}
	}
	o := &db.Options{InMemory: true, MemtableBytes: 1}
	d, err := db.Open("", o)
	fixture.Must(t, err)
	defer d.Close()
	if d.MemtableBytes() != 16<<10 || !reflect.DeepEqual(o, &db.Options{InMemory: true, MemtableBytes: 1}) {
		t.Errorf("smallest memtable: %d, the caller's options: %+v", d.MemtableBytes(), o)
	}
}

// TestWrongDurability: a durability that does not exist must not pass for the weaker
// one.
func TestWrongDurability(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	defer d.Close()
	if err := d.Put([]byte("k"), nil, db.Durability(9)); err == nil && d.Metrics().WAL.DurableBytes < d.Metrics().WAL.OffsetBytes {
		t.Error("a write with an unknown durability was acknowledged without a sync")
	}
}

func TestMetricsMakeSense(t *testing.T) {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	if w := d.Metrics().WAL; w != (db.WALMetrics{}) {
		t.Errorf("before the first write: %+v", w)
	}
	want := m.FillTables(t, d, 500)
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	for key := range want {
		if _, err := d.Get([]byte(key)); err != nil {
			t.Fatal(err)
		}
		d.Get([]byte(key + "x"))
	}
	fixture.Must(t, d.Put([]byte("k"), []byte("v")))
	got := d.Metrics()
	tables, size := got.Tables()
	for what, ok := range map[string]bool{
		"sequence":   got.Sequence == 501,
		"writes":     got.Writes.Operations == 501 && got.Writes.Commits >= 501 && got.Writes.UserBytes > 500*200 && got.Writes.Groups > 0,
		"wal":        got.WAL.BytesWritten > got.Writes.UserBytes && got.WAL.Rotations > 0 && got.WAL.Syncs > 0 && got.WAL.DurableBytes == got.WAL.OffsetBytes,
		"flush":      got.Flush.Jobs > 3 && got.Flush.EntriesIn == 500 && got.Flush.EntriesOut == 500 && got.Flush.BytesWritten > 0 && got.Flush.Running == 0,
		"memtable":   got.Memtable.ActiveCount == 1 && got.Memtable.ActiveBytes > 0,
		"tables":     tables > 0 && size > 0 && got.Files.OpenTables > 0,
		"filter":     got.Filter.Checks > 0 && got.Filter.Negatives > 200 && got.Filter.FalsePositives < 100,
		"cache":      got.Cache.Capacity == db.DefaultCacheBytes && got.Cache.Used > 0 && got.Cache.Blocks > 0 && got.Cache.Misses > 0,
		"snapshot":   got.Snapshot.Open == 1 && got.Snapshot.Oldest == 500,
		"recovery":   got.Recovery.Created && got.Recovery.Time > 0,
		"stages":     len(got.Stages) == 6 && got.Stages[0].Name == "writer" && got.Stages[0].Messages >= 500 && got.Stages[0].Busy > 0,
		"manifest":   got.Files.ManifestBytes > 0,
		"amplified":  got.WriteAmplification() > 1 && got.ReadAmplification() >= 2,
		"levels":     len(got.Levels) == db.NumLevels,
		"no failure": got.Failure == "",
	} {
		if !ok {
			t.Errorf("%s: %+v", what, got)
		}
	}
	fixture.Must(t, s.Close())
	fixture.Must(t, d.Close())
	if f := d.Metrics(); f.Failure != "" || f.Snapshot.Open != 0 || f.Files.OpenTables != 0 {
		t.Errorf("after Close: %+v", f)
	}
}

// TestCompactDropsGarbage: overwritten and deleted entries go, unless a snapshot needs
// them.
func TestCompactDropsGarbage(t *testing.T) {
	d := openMemory(t)
	want := fixture.FillTables(t, d, 400)
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	for key := range want {
		fixture.Must(t, d.Delete([]byte(key), db.NoSync))
	}
	fixture.Must(t, d.Put([]byte("k"), []byte("v")))
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	fixture.Must(t, fixture.Differ(fixture.View{"k": "v"}, fixture.Contents(t, d)))
	it, err := s.NewIterator(nil)
	fixture.Must(t, err)
	fixture.Must(t, fixture.NewModelIterator(it, want, nil).Scan())
	fixture.Must(t, it.Close())
	if e := entryCount(d); e != 801 {
		t.Errorf("%d entries with a snapshot, want 801", e)
	}
	fixture.Must(t, s.Close())
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	if _, size := metricsOf(d).Tables(); entryCount(d) != 1 || size > 2000 {
		t.Errorf("%d entries in %d bytes are left of one", entryCount(d), size)
	}
	fixture.Must(t, d.Delete([]byte("k")))
	fixture.Must(t, d.Compact(t.Context(), nil, nil))
	if n, size := metricsOf(d).Tables(); n != 0 || size != 0 {
		t.Errorf("%d tables, %d bytes of nothing", n, size)
	}
}

func metricsOf(d *db.DB) *db.Metrics { m := d.Metrics(); return &m }

func entryCount(d *db.DB) (n uint64) {
	for _, l := range d.Metrics().Levels {
		n += l.Entries
	}
	return n
}

// TestCompactRange leaves the rest alone.
func TestCompactRange(t *testing.T) {
	d := openMemory(t)
	want := fixture.FillTables(t, d, 400)
	for i := 100; i < 200; i++ {
		key := fmt.Sprintf("table%05d", i)
		fixture.Must(t, d.Delete([]byte(key)))
		delete(want, key)
	}
	fixture.Must(t, d.Compact(t.Context(), []byte("table00100"), []byte("table00199")))
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
	if e := entryCount(d); e != 300 {
		t.Errorf("%d entries, want 300", e)
	}
	fixture.Must(t, d.Compact(t.Context(), []byte("z"), []byte("a"))) // an impossible range is an empty one
	fixture.Must(t, fixture.Differ(want, fixture.Contents(t, d)))
}

func TestIteratorOfNothing(t *testing.T) {
	d := openMemory(t)
	fixture.Must(t, d.Put([]byte("m"), nil))
	for _, o := range []*db.IterOptions{
		{Lower: []byte("n"), Upper: []byte("b")}, {Upper: []byte{}}, {Lower: []byte("m"), Upper: []byte("m")},
		{Prefix: []byte("x")}, {Prefix: []byte("m"), Lower: []byte("n")}, {Prefix: []byte{0xff, 0xff}},
	} {
		it, err := d.NewIterator(o)
		fixture.Must(t, err)
		m := fixture.NewModelIterator(it, fixture.View{"m": ""}, o)
		for _, op := range "flgsnpnnppglfs" {
			fixture.Must(t, m.Move(byte(op), "m"))
		}
		fixture.Must(t, it.Close())
	}
}

func TestMustExist(t *testing.T) {
	disk := vfstest.NewDisk()
	for _, o := range []db.Options{{MustExist: true}, {ReadOnly: true}} {
		_, err := db.Open(fixture.Dir, fixture.On(disk, o))
		fixture.WantErr(t, "no directory", err, fs.ErrNotExist)
		fixture.Must(t, disk.MkdirAll(fixture.Dir))
		_, err = db.Open(fixture.Dir, fixture.On(disk, o))
		fixture.WantErr(t, "empty directory", err, fs.ErrNotExist)
		if left := fixture.FilesOf(t, disk, fixture.Dir); len(left) != 0 {
			t.Errorf("an open that failed left %v", left)
		}
	}
	fixture.MustHold(t, disk, fixture.View{})
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MustExist: true}))
	fixture.Must(t, errors.Join(err, d.Close()))
}
