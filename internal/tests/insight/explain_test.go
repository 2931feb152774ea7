package insight

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// TestEachDecision has each kind of entry decide, from the log and from a table.
func TestEachDecision(t *testing.T) {
	decisions := map[string]string{
		"put": "put", "put until": "put", "delete": "delete", "range": "range-delete", "expiry": "expiry", "merge": "merge", "queued": "put", "none": "nothing", "": "nothing",
	}
	for _, flushed := range []bool{false, true} {
		disk, clock := vfstest.NewDisk(), fixture.NewClock()
		d, err := db.Open(fixture.Dir, fixture.On(disk, fixture.Speaking(db.Options{}, clock)))
		fixture.Must(t, err)
		for key, by := range decisions {
			if by != "nothing" {
				fixture.Must(t, d.Put([]byte(key), []byte("older")))
			}
		}
		fixture.Must(t, d.Flush(t.Context()))
		s, err := d.NewSnapshot() // so that nothing is dropped
		fixture.Must(t, err)
		ends := fixture.Epoch.Add(time.Second)
		fixture.Must(t, errors.Join(
			d.Put([]byte("put"), []byte("v")),
			d.PutUntil([]byte("put until"), []byte("v"), ends.Add(time.Hour)),
			d.Delete([]byte("delete")),
			d.DeleteRange([]byte("range"), []byte("rangf")),
			d.PutUntil([]byte("expiry"), []byte("v"), ends),
			d.Merge([]byte("merge"), []byte("o")),
			d.Put([]byte("queued"), []byte("v"), db.Queued),
		))
		e, err := d.Explain(t.Context(), []byte("queued"))
		if err != nil || !e.Found || e.Level != -1 {
			t.Errorf("what was queued: %+v, %v", e, err)
		}
		if flushed {
			fixture.Must(t, d.Flush(t.Context()))
		}
		fixture.Must(t, errors.Join(d.Close(), s.Close()))
		clock.Set(ends.UnixNano())
		d, err = db.Open(fixture.Dir, fixture.On(disk, fixture.Speaking(db.Options{ReadOnly: true}, clock)))
		fixture.Must(t, err)
		for key, want := range decisions {
			e, err := d.Explain(t.Context(), []byte(key))
			_, getErr := d.Get([]byte(key))
			inTable := flushed && want != "nothing"
			if err != nil || e.DecidedBy != want || e.Found != (getErr == nil) || string(e.Key) != key ||
				(e.Level >= 0) != inTable || (e.Table > 0) != inTable || len(e.Steps) == 0 || e.Steps[0].Place != "memtable" || e.Time <= 0 {
				t.Errorf("flushed %v, %q: %+v, %v; want %s", flushed, key, e, err, want)
			}
			if !flushed && want != "nothing" && e.Steps[1].Place != "sealed memtable" {
				t.Errorf("%q from the log: %+v", key, e)
			}
		}
		fixture.Must(t, d.Close())
	}
}

// TestExplainCostsWhatGetCosts: it asks the same filters, reads the same blocks, and leaves
// the same cache behind.
func TestExplainCostsWhatGetCosts(t *testing.T) {
	disk := vfstest.NewDisk()
	d, err := db.Open(fixture.Dir, fixture.On(disk, db.Options{MemtableBytes: 8 << 20}))
	fixture.Must(t, err)
	f := &filler{t: t, rng: rand.New(rand.NewPCG(5, 17)), d: d}
	f.load(3000, 100)
	for range 2 {
		f.each(3000, 0.3, func(b *db.Batch, i int) error { return b.Put(key(i), f.value(100)) })
		f.flush()
	}
	fixture.Must(t, d.Close())
	files := fixture.FilesOf(t, disk, fixture.Dir)
	got, explained := openFiles(t, files.Disk(t)), openFiles(t, files.Disk(t))
	steps := map[string]int{}
	for range 1000 {
		key := fmt.Appendf(key(f.rng.IntN(3000)), "%.*s", f.rng.IntN(2), "absent")
		_, err := got.Get(key)
		e, explainErr := explained.Explain(t.Context(), key)
		if e.Found != (err == nil) || explainErr != nil {
			t.Fatalf("%s: %v, %+v, %v", key, err, e, explainErr)
		}
		a, b := got.Metrics(), explained.Metrics()
		if a.Reads != b.Reads || a.Cache != b.Cache || a.Filter != b.Filter {
			t.Fatalf("%s: Get %+v %+v %+v, Explain %+v %+v %+v", key, a.Reads, a.Cache, a.Filter, b.Reads, b.Cache, b.Filter)
		}
		if last := e.Steps[len(e.Steps)-1]; e.Found && (last.Level != e.Level || last.Table != e.Table) {
			t.Fatalf("%s: %+v", key, e)
		}
		if !slices.IsSortedFunc(e.Steps, func(a, b db.ExplainStep) int { return a.Level - b.Level }) {
			t.Fatalf("%s: %+v", key, e.Steps)
		}
		for _, s := range e.Steps {
			steps[fmt.Sprintf("%s %q read %v cached %v", s.Place, s.Filter, s.Read, s.Cached)]++
		}
	}
	empty, err := explained.Explain(t.Context(), []byte{})
	none, noneErr := explained.Explain(t.Context(), nil)
	if err != nil || noneErr != nil || len(none.Steps) != len(empty.Steps) || none.Found {
		t.Errorf("the empty key: %+v, %v, and %+v, %v", empty, err, none, noneErr)
	}
	t.Logf("%v", steps)
	for _, want := range []string{`table "" read true cached false`, `table "maybe" read false cached true`, `table "absent" read false cached false`} {
		if steps[want] == 0 {
			t.Errorf("no step was %s: %v", want, steps)
		}
	}
}

// TestJSON: names as documented, keys in a form that keeps all bytes, and the way back.
func TestJSON(t *testing.T) {
	for key, want := range map[string]string{
		"text":     `{"key":"text","found":true,"decided_by":"put","level":2,"table":7,"steps":[{"place":"table","level":2,"table":7,"filter":"maybe","read":true,"cached":false,"time_ns":5}],"time_ns":9}`,
		"\x00\xff": `{"key_base64":"AP8=","found":true,"decided_by":"put","level":2,"table":7,"steps":[{"place":"table","level":2,"table":7,"filter":"maybe","read":true,"cached":false,"time_ns":5}],"time_ns":9}`,
		"":         `{"key":"","found":true,"decided_by":"put","level":2,"table":7,"steps":[{"place":"table","level":2,"table":7,"filter":"maybe","read":true,"cached":false,"time_ns":5}],"time_ns":9}`,
	} {
		e := db.Explanation{Key: []byte(key), Found: true, DecidedBy: "put", Level: 2, Table: 7, Steps: []db.ExplainStep{{Place: "table", Level: 2, Table: 7, Filter: "maybe", Read: true, Time: 5}}, Time: 9}
		got, err := json.Marshal(e)
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v, want %s", key, got, err, want)
		}
		var back db.Explanation
		if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back, e) {
			t.Errorf("%q: %+v, %v, want %+v", key, back, err, e)
		}
	}
	var e db.Explanation
	if json.Unmarshal([]byte(`{"key_base64":"*"}`), &e) == nil {
		t.Error("malformed base64 is taken")
	}
	got, err := json.Marshal(db.Space{LiveBytes: 1, DeadBytes: 2, TombstoneBytes: 3, ExpiredBytes: 4, PinnedBytes: 5, Levels: []db.LevelSpace{{Level: 6, LiveBytes: 7, DeadBytes: 8, TombstoneBytes: 9, ExpiredBytes: 10}}})
	const want = `{"live_bytes":1,"dead_bytes":2,"tombstone_bytes":3,"expired_bytes":4,"pinned_bytes":5,"levels":[{"level":6,"live_bytes":7,"dead_bytes":8,"tombstone_bytes":9,"expired_bytes":10}]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

// TestBesideOthers asks while others write, merge and close.
func TestBesideOthers(t *testing.T) {
	d, err := db.Open("", &db.Options{InMemory: true, MemtableBytes: 16 << 10, Durability: db.NoSync})
	fixture.Must(t, err)
	var all sync.WaitGroup
	value := make([]byte, 100)
	asked := make(chan struct{}, 1) // the asker has asked often enough, or ends; nobody closes it
	all.Go(func() {
		for i := 0; ; i++ {
			if err := errors.Join(d.Put(key(i%500), value), d.DeleteRange(key(i%300), key(i%300+20))); err != nil {
				if !errors.Is(err, db.ErrClosed) {
					t.Error(err)
				}
				return
			}
		}
	})
	all.Go(func() {
		enough := func() {
			select {
			case asked <- struct{}{}:
			default:
			}
		}
		defer enough()
		for i := 0; ; i++ {
			s, err := d.SpaceOf(t.Context(), key(i%100), nil)
			if err == nil {
				_, err = d.Explain(t.Context(), key(i%500))
			}
			if s.PinnedBytes != 0 || err != nil {
				if !errors.Is(err, db.ErrClosed) {
					t.Error(s, err)
				}
				return
			}
			if i == 200 {
				enough()
			}
		}
	})
	<-asked
	fixture.Must(t, d.Close())
	all.Wait()
}
