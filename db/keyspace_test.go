package db_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// prefixes of the keyspaces in the model test: some within others, some at the end of all
// keys, and all of the database.
var prefixes = []string{"", "a", "ab", "a\x00", "a\xff", "a\xff\xff", "b", "\x00", "\xff", "\xff\xff"}

// crowdedKey is a key of few letters, so that keyspaces meet.
func crowdedKey(rng *rand.Rand) string {
	key := make([]byte, rng.IntN(5))
	for i := range key {
		key[i] = "\x00ab\xff"[rng.IntN(4)]
	}
	return string(key)
}

// part is what a keyspace must show.
func part(whole fixture.View, prefix string) fixture.View {
	v := fixture.View{}
	for key, value := range whole {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			v[rest] = value
		}
	}
	return v
}

// TestKeyspaceModel compares keyspaces with a map over random operations.
func TestKeyspaceModel(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 13))
		d, whole := openMemory(t), fixture.View{}
		s, err := d.NewSnapshot()
		fixture.Must(t, err)
		then := fixture.View{}
		for step := range 400 {
			prefix := prefixes[rng.IntN(len(prefixes))]
			k, key := d.Keyspace([]byte(prefix)), crowdedKey(rng)
			value := fmt.Sprint(seed, step)
			switch rng.IntN(14) {
			case 0, 1, 2:
				fixture.Must(t, k.Put([]byte(key), []byte(value), db.NoSync))
				whole[prefix+key] = value
			case 3:
				fixture.Must(t, k.Delete([]byte(key), db.NoSync))
				delete(whole, prefix+key)
			case 4, 5:
				applyAcross(t, rng, d, whole, value)
			case 12:
				deleteRange(t, rng, d, k, whole, prefix)
			case 13:
				if rng.IntN(10) == 0 {
					fixture.Must(t, k.Drop(t.Context()))
					maps.DeleteFunc(whole, func(key, _ string) bool { return strings.HasPrefix(key, prefix) })
				}
			case 6:
				fixture.Must(t, d.Flush(t.Context()))
			case 7:
				fixture.Must(t, s.Close())
				s, err = d.NewSnapshot()
				fixture.Must(t, err)
				then = part(whole, "")
			case 8, 9:
				compareReads(t, k, part(whole, prefix), key)
				walk(t, rng, k, part(whole, prefix))
			default:
				view := s.In(d.Keyspace([]byte("other"))).In(k)
				compareReads(t, view, part(then, prefix), key)
				walk(t, rng, view, part(then, prefix))
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d, keyspace %q", seed, step, prefix)
			}
		}
		fixture.Must(t, errors.Join(s.Close(), fixture.Differ(whole, fixture.Contents(t, d))))
	}
}

// applyAcross applies one batch that changes several keyspaces, through any of its views.
func applyAcross(t *testing.T, rng *rand.Rand, d *db.DB, whole fixture.View, value string) {
	t.Helper()
	original := d.NewBatch()
	b, n := original, rng.IntN(6)
	for range n {
		prefix, key := prefixes[rng.IntN(len(prefixes))], crowdedKey(rng)
		if b = b.In(d.Keyspace([]byte(prefix))); rng.IntN(3) == 0 {
			fixture.Must(t, b.Delete([]byte(key)))
			delete(whole, prefix+key)
		} else {
			fixture.Must(t, b.Put([]byte(key), []byte(value)))
			whole[prefix+key] = value
		}
	}
	if original.Len() != n || b.Len() != n || original.Bytes() != b.Bytes() {
		t.Errorf("%d operations: Len is %d and %d, Bytes %d and %d", n, original.Len(), b.Len(), original.Bytes(), b.Bytes())
	}
	if rng.IntN(2) == 0 {
		fixture.Must(t, d.Apply(t.Context(), b, db.NoSync))
	} else {
		p, err := d.Submit(t.Context(), b, db.NoSync)
		fixture.Must(t, err)
		fixture.Must(t, p.Wait(t.Context()))
	}
	if b.Reset(); original.Len() != 0 {
		t.Errorf("after Reset of a view the batch has %d operations", original.Len())
	}
}

// deleteRange deletes a range of a keyspace, by itself or in a batch.
func deleteRange(t *testing.T, rng *rand.Rand, d *db.DB, k *db.Keyspace, whole fixture.View, prefix string) {
	t.Helper()
	start, end := []byte(crowdedKey(rng)), []byte(crowdedKey(rng))
	if rng.IntN(4) == 0 {
		end = nil
	}
	maps.DeleteFunc(whole, func(key, _ string) bool {
		rest, within := strings.CutPrefix(key, prefix)
		return within && rest >= string(start) && (end == nil || rest < string(end))
	})
	if rng.IntN(2) == 0 {
		fixture.Must(t, k.DeleteRange(start, end, db.NoSync))
		return
	}
	var b db.Batch
	view := b.In(k)
	fixture.Must(t, errors.Join(view.Put(start, []byte("before")), view.DeleteRange(start, end), view.Put([]byte("ab"), []byte("behind"))))
	fixture.Must(t, d.Apply(t.Context(), &b, db.NoSync))
	if end != nil && string(start) >= string(end) { // it deletes nothing
		whole[prefix+string(start)] = "before"
	}
	whole[prefix+"ab"] = "behind"
}

// compareReads reads one key in all ways.
func compareReads(t *testing.T, r fixture.Reader, v fixture.View, key string) {
	t.Helper()
	want, there := v[key]
	has, err := r.Has([]byte(key))
	fixture.Must(t, err)
	value, err := r.Get([]byte(key))
	appended, _ := r.AppendValue([]byte("before "), []byte(key))
	if there != has || there != (err == nil) || string(value) != want || string(appended) != "before "+want {
		t.Errorf("%q is %q (%v), %q, %v; want %q (%v)", key, value, err, appended, has, want, there)
	}
	if !there {
		fixture.WantErr(t, "Get", err, db.ErrNotFound)
	}
}

// walk makes random moves of an iterator with random options.
func walk(t *testing.T, rng *rand.Rand, r fixture.Reader, v fixture.View) {
	t.Helper()
	var o *db.IterOptions
	if rng.IntN(3) > 0 {
		bound := func() []byte {
			if rng.IntN(2) == 0 {
				return nil
			}
			return []byte(crowdedKey(rng))
		}
		o = &db.IterOptions{Lower: bound(), Upper: bound(), Prefix: bound()}
	}
	it, err := r.NewIterator(o)
	fixture.Must(t, err)
	m := fixture.NewModelIterator(it, v, o)
	for range 15 {
		key := []byte(crowdedKey(rng))
		if err := m.Move("flnnppgs"[rng.IntN(8)], string(key)); err != nil {
			t.Error(err)
			break
		}
		clear(key) // the iterator must not need it any more
	}
	if !t.Failed() {
		if err := m.Scan(); err != nil {
			t.Error(err)
		}
	}
	fixture.Must(t, it.Close())
}

// TestKeyspaceLimits: the prefix counts, and is copied.
func TestKeyspaceLimits(t *testing.T) {
	d := openMemory(t)
	prefix := bytes.Repeat([]byte{'p'}, 1000)
	k := d.Keyspace(prefix)
	clear(prefix)
	longest := make([]byte, db.MaxKeyBytes-len(prefix))
	fixture.Must(t, k.Put(longest, []byte("value")))
	if value, err := k.Get(longest); string(value) != "value" || err != nil {
		t.Errorf("the longest key: %q, %v", value, err)
	}
	if has, err := d.Has(append(bytes.Repeat([]byte{'p'}, 1000), longest...)); !has || err != nil {
		t.Errorf("the database does not show it: %v, %v", has, err)
	}
	tooLong := append(longest, 0)
	fixture.WantErr(t, "Put", k.Put(tooLong, nil), db.ErrKeyTooLarge)
	fixture.WantErr(t, "Delete", k.Delete(tooLong), db.ErrKeyTooLarge)
	b := d.NewBatch()
	fixture.WantErr(t, "Batch.Put", b.In(k).Put(tooLong, nil), db.ErrKeyTooLarge)
	fixture.WantErr(t, "Apply of what a view refused", d.Apply(t.Context(), b), db.ErrKeyTooLarge)
	if b.Reset(); d.Apply(t.Context(), b) != nil {
		t.Error("Reset does not forget what a view refused")
	}
}

// TestKeyspacesKeepNoLongKeys: who asks for keys that cannot be there takes no memory for good.
func TestKeyspacesKeepNoLongKeys(t *testing.T) {
	d := openMemory(t)
	k := d.Keyspace([]byte("prefix"))
	long := make([]byte, 1<<20)
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	defer s.Close()
	for what, ask := range map[string]func() error{
		"Get":          func() error { _, err := k.Get(long); return err },
		"GetSize":      func() error { _, err := k.GetSize(long); return err },
		"a snapshot's": func() error { _, err := s.In(k).Get(long); return err },
		"a transaction's": func() error {
			return d.Update(t.Context(), func(tx *db.Tx) error { _, err := tx.In(k).Get(long); return err })
		},
	} {
		for range 20 {
			fixture.WantErr(t, what, ask(), db.ErrNotFound)
			if n := db.WholeKeyRoom(); n >= len(long) {
				t.Fatalf("%s: %d bytes are kept", what, n)
			}
		}
	}
}

// TestViewsShare: a batch is one for all its views, and so is a snapshot.
func TestViewsShare(t *testing.T) {
	d := openMemory(t)
	k := d.Keyspace([]byte("k/"))
	var b db.Batch
	view := b.In(k)
	fixture.Must(t, view.Put([]byte("key"), []byte("value")))
	b.Claim()
	want := "lsmdb: a Batch is used by two goroutines at the same time"
	if what := caught(func() { view.Put(nil, nil) }); what != want {
		t.Errorf("Put to a view of a batch in use: %q", what)
	}
	b.Free()
	fixture.Must(t, d.Apply(t.Context(), &b))
	s, err := d.NewSnapshot()
	fixture.Must(t, err)
	seen := s.In(k)
	if value, err := seen.Get([]byte("key")); string(value) != "value" || err != nil {
		t.Errorf("a view of a snapshot: %q, %v", value, err)
	}
	fixture.Must(t, seen.Close())
	fixture.WantErr(t, "a snapshot whose view was closed", second(s.Get([]byte("k/key"))), db.ErrClosed)
	if open := d.Metrics().Snapshot.Open; open != 0 {
		t.Errorf("%d snapshots are open", open)
	}
	fixture.Must(t, d.Close())
	fixture.WantErr(t, "Get", second(k.Get(nil)), db.ErrClosed)
	fixture.WantErr(t, "Has", second(k.Has(nil)), db.ErrClosed)
	fixture.WantErr(t, "Put", k.Put(nil, nil), db.ErrClosed)
	fixture.WantErr(t, "Delete", k.Delete(nil), db.ErrClosed)
	fixture.WantErr(t, "NewIterator", second(k.NewIterator(nil)), db.ErrClosed)
}

func TestPrefixRange(t *testing.T) {
	for prefix, want := range map[string][2]string{
		"": {"", "-"}, "a": {"a", "b"}, "a\xff": {"a\xff", "b"}, "\xff": {"\xff", "-"}, "\xff\xff": {"\xff\xff", "-"}, "\x00": {"\x00", "\x01"},
	} {
		start, end := db.PrefixRange([]byte(prefix))
		if string(start) != want[0] || (end == nil) != (want[1] == "-") || end != nil && string(end) != want[1] {
			t.Errorf("the range of %q is %q to %q", prefix, start, end)
		}
	}
}
