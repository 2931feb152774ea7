package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"lsmdb/internal/vfstest"
)

func openMemory(t testing.TB) *DB {
	t.Helper()
	d, err := Open("", &Options{InMemory: true, MemtableBytes: 16 << 10})
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func TestKeyLimits(t *testing.T) {
	d := openMemory(t)
	largest, tooLarge := make([]byte, MaxKeyBytes), make([]byte, MaxKeyBytes+1)
	must(t, d.Put(largest, []byte("largest")))
	must(t, d.Put(nil, []byte("empty")))
	before := d.Metrics().Sequence
	wantErr(t, "Put", d.Put(tooLarge, nil), ErrKeyTooLarge)
	wantErr(t, "Delete", d.Delete(tooLarge), ErrKeyTooLarge)
	b := d.NewBatch()
	wantErr(t, "Batch.Put", b.Put(tooLarge, nil), ErrKeyTooLarge)
	b.Reset()
	wantErr(t, "Batch.Delete", b.Delete(tooLarge), ErrKeyTooLarge)
	if after := d.Metrics().Sequence; after != before {
		t.Errorf("refused writes moved the sequence number from %d to %d", before, after)
	}
	_, err := d.Get(tooLarge)
	wantErr(t, "Get", err, ErrNotFound)
	for range 2 { // from memory, from a table
		for key, want := range map[string]string{string(largest): "largest", "": "empty"} {
			if v, err := d.Get([]byte(key)); string(v) != want || err != nil {
				t.Errorf("key of %d bytes: %q, %v", len(key), v, err)
			}
		}
		it, err := d.NewIterator(nil)
		must(t, err)
		if !it.First() || len(it.Key()) != 0 || !it.Next() || len(it.Key()) != MaxKeyBytes || it.Next() {
			t.Errorf("iterator: %d bytes, %v", len(it.Key()), it.Err())
		}
		if it.SeekGE(tooLarge) || !it.SeekLT(tooLarge) || it.Err() != nil {
			t.Errorf("seek to a key that cannot exist: %v", it.Err())
		}
		must(t, it.Close())
		must(t, d.Flush(t.Context()))
	}
	must(t, d.Delete(nil))
	if ok, err := d.Has(nil); ok || err != nil {
		t.Errorf("the empty key after Delete: %v, %v", ok, err)
	}
}

func TestValueLimits(t *testing.T) {
	d := openMemory(t)
	tooLarge := make([]byte, MaxValueBytes+1) // never touched: costs no memory
	wantErr(t, "Put", d.Put([]byte("k"), tooLarge), ErrValueTooLarge)
	wantErr(t, "Batch.Put", d.NewBatch().Put([]byte("k"), tooLarge), ErrValueTooLarge)
	large := bytes.Repeat([]byte("twenty megabytes of this"), 20<<20/24)
	must(t, d.Put([]byte("large"), large))
	must(t, d.Put([]byte("empty"), nil))
	for range 2 {
		if v, err := d.Get([]byte("large")); !bytes.Equal(v, large) || err != nil {
			t.Errorf("value of %d bytes comes back with %d, %v", len(large), len(v), err)
		}
		if v, err := d.Get([]byte("empty")); v == nil || len(v) != 0 || err != nil {
			t.Errorf("empty value: %#v, %v", v, err)
		}
		it, err := d.NewIterator(nil)
		must(t, err)
		if !it.First() || len(it.Value()) != 0 || !it.Next() || !bytes.Equal(it.Value(), large) {
			t.Errorf("iterator: %d bytes of value, %v", len(it.Value()), it.Err())
		}
		must(t, it.Close())
		must(t, d.Compact(t.Context(), nil, nil))
	}
}

// TestBatchErrorsStick: a batch that refused an operation is not applied without it.
func TestBatchErrorsStick(t *testing.T) {
	d := openMemory(t)
	ctx := t.Context()
	b := d.NewBatch()
	must(t, b.Put([]byte("first"), nil))
	wantErr(t, "Put", b.Put(make([]byte, MaxKeyBytes+1), nil), ErrKeyTooLarge)
	wantErr(t, "Put", b.Put(nil, make([]byte, MaxValueBytes+1)), ErrValueTooLarge)
	must(t, b.Put([]byte("second"), nil))
	for range 2 {
		wantErr(t, "Apply", d.Apply(ctx, b), ErrKeyTooLarge)
		_, err := d.Submit(ctx, b)
		wantErr(t, "Submit", err, ErrKeyTooLarge)
	}
	if ok, _ := d.Has([]byte("first")); ok || b.Len() != 2 {
		t.Errorf("first is there: %v; %d operations", ok, b.Len())
	}
	b.Reset()
	if b.Len() != 0 || b.Bytes() != 0 {
		t.Errorf("after Reset: %d operations, %d bytes", b.Len(), b.Bytes())
	}
	must(t, b.Put([]byte("third"), []byte("v")))
	if b.Len() != 1 || b.Bytes() < 6 {
		t.Errorf("%d operations, %d bytes", b.Len(), b.Bytes())
	}
	must(t, d.Apply(ctx, b))
	must(t, differ(view{"third": "v"}, contents(t, d)))
}

func TestEmptyBatch(t *testing.T) {
	m := newMachine(vfstest.NewDisk())
	d := m.open(t)
	must(t, d.Put([]byte("k"), nil, NoSync))
	w := d.Metrics().WAL
	if w.DurableBytes >= w.OffsetBytes {
		t.Errorf("NoSync is durable: %+v", w)
	}
	must(t, d.Apply(t.Context(), d.NewBatch(), NoSync))
	if now := d.Metrics().WAL; now.OffsetBytes != w.OffsetBytes || now.DurableBytes != w.DurableBytes {
		t.Errorf("an empty batch changes the WAL: %+v, %+v", w, now)
	}
	must(t, d.Apply(t.Context(), d.NewBatch(), Sync))
	if now := d.Metrics().WAL; now.DurableBytes != w.OffsetBytes {
		t.Errorf("an empty batch with Sync does not sync: %+v", now)
	}
	clone := m.disk.CrashClone(nil)
	must(t, d.Close())
	mustHold(t, clone, view{"k": ""})
}

// TestCancelledContext: no call starts anything for a context that has ended.
func TestCancelledContext(t *testing.T) {
	d := openMemory(t)
	ctx, cancel := context.WithCancel(t.Context())
	b := d.NewBatch()
	must(t, b.Put([]byte("k"), []byte("v")))
	p, err := d.Submit(ctx, b)
	must(t, err)
	<-p.Done()
	cancel()
	must(t, p.Wait(ctx)) // resolved already
	b.Reset()
	must(t, b.Put([]byte("no"), nil))
	wantErr(t, "Apply", d.Apply(ctx, b), context.Canceled)
	_, err = d.Submit(ctx, b)
	wantErr(t, "Submit", err, context.Canceled)
	wantErr(t, "Sync", d.Sync(ctx), context.Canceled)
	for range 20 { // there is room at once, but it must not be taken
		wantErr(t, "Flush", d.Flush(ctx), context.Canceled)
		wantErr(t, "Compact", d.Compact(ctx, nil, nil), context.Canceled)
	}
	must(t, differ(view{"k": "v"}, contents(t, d)))
	must(t, d.Apply(t.Context(), b)) // the batch is as it was
	must(t, differ(view{"k": "v", "no": ""}, contents(t, d)))
}

func TestOptionsAreChecked(t *testing.T) {
	for what, o := range map[string]Options{
		"MemtableBytes":    {MemtableBytes: -1},
		"FilterBitsPerKey": {FilterBitsPerKey: 1000},
		"Durability":       {Durability: 7},
		"Compression":      {Compression: -1},
		"InMemory":         {InMemory: true, ReadOnly: true},
	} {
		if what != "InMemory" {
			o.InMemory = true
		}
		if _, err := Open("", &o); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("Open with a wrong %s: %v", what, err)
		}
	}
	for _, o := range []*Options{nil, {}} {
		r, err := o.resolved()
		if err != nil || r.MemtableBytes != 64<<20 || r.CacheBytes != 64<<20 || r.FilterBitsPerKey != 10 || r.Durability != Sync || r.Compression != Snappy {
			t.Errorf("defaults: %+v, %v", r, err)
		}
	}
	o := &Options{InMemory: true, MemtableBytes: 1}
	d, err := Open("", o)
	must(t, err)
	defer d.Close()
	if d.options.MemtableBytes != 16<<10 || o.MemtableBytes != 1 || o.fs != nil {
		t.Errorf("smallest memtable: %d, the caller's options: %+v", d.options.MemtableBytes, o)
	}
}

// TestWrongDurability: a durability that does not exist must not pass for the weaker
// one.
func TestWrongDurability(t *testing.T) {
	m := newMachine(vfstest.NewDisk())
	d := m.open(t)
	defer d.Close()
	if err := d.Put([]byte("k"), nil, Durability(9)); err == nil && d.Metrics().WAL.DurableBytes < d.Metrics().WAL.OffsetBytes {
		t.Error("a write with an unknown durability was acknowledged without a sync")
	}
}

func TestMetricsMakeSense(t *testing.T) {
	m := newMachine(vfstest.NewDisk())
	d := m.open(t)
	if w := d.Metrics().WAL; w != (WALMetrics{}) {
		t.Errorf("before the first write: %+v", w)
	}
	want := fillTables(t, d, 500)
	s, err := d.NewSnapshot()
	must(t, err)
	for key := range want {
		if _, err := d.Get([]byte(key)); err != nil {
			t.Fatal(err)
		}
		d.Get([]byte(key + "x"))
	}
	must(t, d.Put([]byte("k"), []byte("v")))
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
		"cache":      got.Cache.Capacity == DefaultCacheBytes && got.Cache.Used > 0 && got.Cache.Blocks > 0 && got.Cache.Misses > 0,
		"snapshot":   got.Snapshot.Open == 1 && got.Snapshot.Oldest == 500,
		"recovery":   got.Recovery.Created && got.Recovery.Time > 0,
		"stages":     len(got.Stages) == 5 && got.Stages[0].Name == "writer" && got.Stages[0].Messages >= 500 && got.Stages[0].Busy > 0,
		"manifest":   got.Files.ManifestBytes > 0,
		"amplified":  got.WriteAmplification() > 1 && got.ReadAmplification() >= 2,
		"levels":     len(got.Levels) == NumLevels,
		"no failure": got.Failure == "",
	} {
		if !ok {
			t.Errorf("%s: %+v", what, got)
		}
	}
	must(t, s.Close())
	must(t, d.Close())
	if f := d.Metrics(); f.Failure != "" || f.Snapshot.Open != 0 || f.Files.OpenTables != 0 {
		t.Errorf("after Close: %+v", f)
	}
}

// TestCompactDropsGarbage: overwritten and deleted entries go, unless a snapshot needs
// them.
func TestCompactDropsGarbage(t *testing.T) {
	d := openMemory(t)
	want := fillTables(t, d, 400)
	s, err := d.NewSnapshot()
	must(t, err)
	for key := range want {
		must(t, d.Delete([]byte(key), NoSync))
	}
	must(t, d.Put([]byte("k"), []byte("v")))
	must(t, d.Compact(t.Context(), nil, nil))
	must(t, differ(view{"k": "v"}, contents(t, d)))
	it, err := s.NewIterator(nil)
	must(t, err)
	must(t, newModelIterator(it, want, nil).scan())
	must(t, it.Close())
	if e := entryCount(d); e != 801 {
		t.Errorf("%d entries with a snapshot, want 801", e)
	}
	must(t, s.Close())
	must(t, d.Compact(t.Context(), nil, nil))
	if _, size := metricsOf(d).Tables(); entryCount(d) != 1 || size > 2000 {
		t.Errorf("%d entries in %d bytes are left of one", entryCount(d), size)
	}
	must(t, d.Delete([]byte("k")))
	must(t, d.Compact(t.Context(), nil, nil))
	if n, size := metricsOf(d).Tables(); n != 0 || size != 0 {
		t.Errorf("%d tables, %d bytes of nothing", n, size)
	}
}

func metricsOf(d *DB) *Metrics { m := d.Metrics(); return &m }

func entryCount(d *DB) (n uint64) {
	for _, l := range d.Metrics().Levels {
		n += l.Entries
	}
	return n
}

// TestCompactRange leaves the rest alone.
func TestCompactRange(t *testing.T) {
	d := openMemory(t)
	want := fillTables(t, d, 400)
	for i := 100; i < 200; i++ {
		key := fmt.Sprintf("table%05d", i)
		must(t, d.Delete([]byte(key)))
		delete(want, key)
	}
	must(t, d.Compact(t.Context(), []byte("table00100"), []byte("table00199")))
	must(t, differ(want, contents(t, d)))
	if e := entryCount(d); e != 300 {
		t.Errorf("%d entries, want 300", e)
	}
	must(t, d.Compact(t.Context(), []byte("z"), []byte("a"))) // an impossible range is an empty one
	must(t, differ(want, contents(t, d)))
}

func TestIteratorOfNothing(t *testing.T) {
	d := openMemory(t)
	must(t, d.Put([]byte("m"), nil))
	for _, o := range []*IterOptions{
		{Lower: []byte("n"), Upper: []byte("b")}, {Upper: []byte{}}, {Lower: []byte("m"), Upper: []byte("m")},
		{Prefix: []byte("x")}, {Prefix: []byte("m"), Lower: []byte("n")}, {Prefix: []byte{0xff, 0xff}},
	} {
		it, err := d.NewIterator(o)
		must(t, err)
		m := newModelIterator(it, view{"m": ""}, o)
		for _, op := range "flgsnpnnppglfs" {
			must(t, m.move(byte(op), "m"))
		}
		must(t, it.Close())
	}
}

func TestMustExist(t *testing.T) {
	disk := vfstest.NewDisk()
	for _, o := range []Options{{MustExist: true}, {ReadOnly: true}} {
		o.fs = disk
		_, err := Open(at, &o)
		wantErr(t, "no directory", err, fs.ErrNotExist)
		must(t, disk.MkdirAll(at))
		_, err = Open(at, &o)
		wantErr(t, "empty directory", err, fs.ErrNotExist)
		if left := filesOf(t, disk, at); len(left) != 0 {
			t.Errorf("an open that failed left %v", left)
		}
	}
	mustHold(t, disk, view{})
	d, err := Open(at, &Options{MustExist: true, fs: disk})
	must(t, errors.Join(err, d.Close()))
}
