package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"lsmdb/db"
	"lsmdb/internal/door"
	"lsmdb/internal/vfstest"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// TestExpiry sees that values end by the clock that commands carry, whatever time it is here.
func TestExpiry(t *testing.T) {
	wrong := &db.Options{Now: func() time.Time { return noon.AddDate(10, 0, 0) }}
	f := openFSM(t, t.TempDir(), wrong)
	k := []byte("k")
	mustApply(t, f, entryAt(1, NewCommand().PutUntil(k, []byte("v"), noon.Add(time.Minute)), noon))
	mustHold(t, f, model{"k": "v"})
	mustApply(t, f, entryAt(2, NewCommand().Expect(k, []byte("v")), noon.Add(time.Minute-1)))
	mustHold(t, f, model{"k": "v"})
	if r, _ := f.Apply(entryAt(3, NewCommand().Expect(k, []byte("v")), noon.Add(time.Minute))).(error); !errors.Is(r, ErrMismatch) {
		t.Errorf("a value that ends now: %v", r)
	}
	mustHold(t, f, model{})
	// A later leader whose clock is behind does not bring it back.
	mustApply(t, f, entryAt(4, NewCommand().Expect(k, nil).Put([]byte("other"), nil), noon))
	mustHold(t, f, model{"other": ""})
	// What has ended when it is put is never there; the zero time and the far future are.
	mustApply(t, f, entryAt(5, NewCommand().PutUntil(k, []byte("past"), noon.Add(-time.Hour)), noon))
	mustHold(t, f, model{"other": ""})
	mustApply(t, f, entryAt(6, NewCommand().PutUntil(k, []byte("before 1970"), time.Unix(-5, 0)), noon))
	mustHold(t, f, model{"other": ""})
	mustApply(t, f, entryAt(7, NewCommand().PutUntil(k, []byte("v"), time.Time{}).PutUntil([]byte("far"), nil, noon.AddDate(1000, 0, 0)), noon))
	mustApply(t, f, entryAt(8, NewCommand(), noon.AddDate(200, 0, 0)))
	mustHold(t, f, model{"other": "", "k": "v", "far": ""})
}

// TestExpiryInOneRun sees that entries of one run see the end of values that others of it put.
func TestExpiryInOneRun(t *testing.T) {
	f := openFSM(t, t.TempDir(), nil)
	k := []byte("k")
	mustApply(t, f,
		entryAt(1, NewCommand().PutUntil(k, []byte("v"), noon.Add(time.Second)), noon),
		entryAt(2, NewCommand().Expect(k, []byte("v")), noon),
		entryAt(3, NewCommand().Expect(k, nil).Put([]byte("seen"), nil), noon.Add(time.Second)))
	mustHold(t, f, model{"seen": ""})
}

// TestExpiryIsTheSameEverywhere gives the same entries to machines that live differently: one
// applies them one by one, one in runs, one loses its power and gets entries again after its tables
// were merged, one is restored from snapshots. All must answer alike, or they would differ for ever.
func TestExpiryIsTheSameEverywhere(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var history []*raft.Log
		now := noon
		for i := range 300 {
			c := NewCommand()
			k := key(rng.IntN(8))
			switch rng.IntN(4) {
			case 0:
				c.PutUntil(k, []byte("v"), now.Add(time.Duration(rng.IntN(20))*time.Second))
			case 1:
				c.Expect(k, nil).PutUntil(k, []byte("v"), now.Add(time.Duration(rng.IntN(20))*time.Second))
			case 2:
				c.Expect(k, []byte("v")).Put(key(100+i), nil)
			case 3:
				c.Put(k, []byte("v"))
			}
			now = now.Add(time.Duration(rng.IntN(4)-1) * time.Second) // leaders' clocks differ
			history = append(history, entryAt(uint64(i+1), c, now))
		}
		answers := make([]string, len(history))
		note := func(who string, entries []*raft.Log, responses []any) {
			for i, r := range responses {
				text := fmt.Sprint(r)
				if at := entries[i].Index - 1; answers[at] == "" {
					answers[at] = text
				} else if answers[at] != text {
					t.Fatalf("seed %d, entry %d: %s answers %s instead of %s", seed, at+1, who, text, answers[at])
				}
			}
		}
		plain := openFSM(t, t.TempDir(), small())
		for _, e := range history {
			note("the first", []*raft.Log{e}, []any{plain.Apply(e)})
		}
		runs := openFSM(t, t.TempDir(), small())
		for rest := history; len(rest) > 0; {
			n := min(1+rng.IntN(30), len(rest))
			note("runs", rest[:n], runs.ApplyBatch(rest[:n]))
			rest = rest[n:]
		}
		failing := openFailing(t, rng, history, note)
		restored := openFSM(t, t.TempDir(), small())
		for i, e := range history {
			note("restored", []*raft.Log{e}, []any{restored.Apply(e)})
			if i%50 == 49 {
				if err := restore(restored, takeSnapshot(t, restored)); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := contents(t, plain)
		for _, f := range []*FSM{runs, failing, restored} {
			mustHold(t, f, want)
		}
	}
}

// openFailing applies a history on a machine that loses its power again and again. Before, its
// tables are merged, which drops for good what has ended, and somebody looks, which needs the time.
func openFailing(t *testing.T, rng *rand.Rand, history []*raft.Log, note func(string, []*raft.Log, []any)) *FSM {
	disk, dir := vfstest.NewDisk(), t.TempDir()
	open := func() *FSM {
		o := small()
		door.Set(o, disk, nil)
		return openFSM(t, dir, o)
	}
	f := open()
	for i := 0; i < len(history); {
		n := min(1+rng.IntN(20), len(history)-i)
		i = int(f.Applied())
		n = min(n, len(history)-i)
		note("failing", history[i:i+n], f.ApplyBatch(history[i:i+n]))
		i += n
		if rng.IntN(2) == 0 {
			contents(t, f)
		}
		if rng.IntN(3) == 0 {
			if err := f.current.db.Compact(t.Context(), nil, nil); err != nil {
				t.Fatal(err)
			}
			n := min(1+rng.IntN(20), len(history)-i)
			note("failing", history[i:i+n], f.ApplyBatch(history[i:i+n]))
			i += n
		}
		if rng.IntN(3) == 0 {
			disk = disk.CrashClone(rng)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f = open()
			i = int(f.Applied())
		}
	}
	return f
}
