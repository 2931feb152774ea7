package importer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dgraph-io/badger/v4"
	"github.com/syndtr/goleveldb/leveldb"
	"go.etcd.io/bbolt"

	"lsmdb/db"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pairs are entries that every store can hold: binary keys, empty and large values, and what was
// overwritten and deleted.
func pairs() (put []map[string]string, deleted []string, want map[string]string) {
	r := rand.New(rand.NewPCG(1, 2))
	first, second := make(map[string]string), make(map[string]string)
	for i := range 3000 {
		key := fmt.Sprintf("key%05d", i)
		first[key] = strings.Repeat(key, r.IntN(20))
		if i%3 == 0 {
			second[key] = "again " + key
		}
		if i%7 == 0 {
			deleted = append(deleted, key)
		}
	}
	for _, key := range []string{"\x00", "\x00\x00", "\x00\xff", "\xff\xff\xff", "\x01\x00\x02", "ü"} {
		first[key] = "binary " + key
	}
	first["empty"], first["large"] = "", strings.Repeat("large", 40_000)
	want = maps.Clone(first)
	maps.Copy(want, second)
	for _, key := range deleted {
		delete(want, key)
	}
	return []map[string]string{first, second}, deleted, want
}

// written makes a database of each kind that has neither buckets nor ends.
var written = map[string]func(t *testing.T, path string){
	LevelDB: func(t *testing.T, path string) {
		put, deleted, _ := pairs()
		d, err := leveldb.OpenFile(path, nil)
		must(t, err)
		for _, m := range put {
			for key, value := range m {
				must(t, d.Put([]byte(key), []byte(value), nil))
			}
		}
		for _, key := range deleted {
			must(t, d.Delete([]byte(key), nil))
		}
		must(t, d.Close())
	},
	Pebble: func(t *testing.T, path string) {
		put, deleted, _ := pairs()
		d, err := pebble.Open(path, &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
		must(t, err)
		must(t, d.Set([]byte("a removed range/1"), []byte("x"), nil))
		for _, m := range put {
			for key, value := range m {
				must(t, d.Set([]byte(key), []byte(value), pebble.NoSync))
			}
			must(t, d.Flush())
		}
		for _, key := range deleted {
			must(t, d.Delete([]byte(key), pebble.NoSync))
		}
		must(t, d.DeleteRange([]byte("a removed range/"), []byte("a removed range0"), nil))
		must(t, d.Merge([]byte("empty"), nil, nil))
		must(t, d.Close())
	},
	Badger: func(t *testing.T, path string) {
		put, deleted, _ := pairs()
		d, err := badger.Open(badger.DefaultOptions(path).WithLogger(nil))
		must(t, err)
		for _, m := range put {
			b := d.NewWriteBatch()
			for key, value := range m {
				must(t, b.Set([]byte(key), []byte(value)))
			}
			must(t, b.Flush())
		}
		b := d.NewWriteBatch()
		for _, key := range deleted {
			must(t, b.Delete([]byte(key)))
		}
		must(t, b.Flush())
		must(t, d.Close())
	},
}

// fingerprint is what a source looks like from outside. Pebble makes LOCK anew to lock it.
func fingerprint(t *testing.T, path string) string {
	t.Helper()
	var all strings.Builder
	must(t, filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		info, statErr := entry.Info()
		changed := info.ModTime()
		if entry.Name() == "LOCK" {
			changed = time.Time{}
		}
		fmt.Fprintf(&all, "%s %d %v %x\n", name, len(data), changed, sha256.Sum256(data))
		return errors.Join(err, statErr)
	}))
	return all.String()
}

// contents reads a database of lsmdb.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	d, err := db.Open(dir, &db.Options{ReadOnly: true})
	must(t, err)
	defer d.Close()
	it, err := d.NewIterator(nil)
	must(t, err)
	defer it.Close()
	all := make(map[string]string)
	for key, value := range it.All() {
		all[string(key)] = string(value)
	}
	must(t, it.Err())
	return all
}

func TestImport(t *testing.T) {
	_, _, want := pairs()
	for kind, write := range written {
		for _, named := range []string{"", kind} {
			t.Run(kind+", named: "+named, func(t *testing.T) {
				parent := t.TempDir()
				from, to := filepath.Join(parent, "from"), filepath.Join(parent, "to")
				write(t, from)
				before := fingerprint(t, from)
				steps := make(map[string]int64)
				r, err := Import(t.Context(), Order{Kind: named, Source: from, Destination: to, Progress: func(step string, n int64) { steps[step] = n }})
				must(t, err)
				if r.Kind != kind || r.Entries != int64(len(want)) || !r.Verified || r.Keyspaces != nil {
					t.Errorf("%+v, want %d entries", r, len(want))
				}
				if steps[Writing] != r.Entries || steps[Verifying] != r.Entries {
					t.Errorf("progress %v", steps)
				}
				if !maps.Equal(contents(t, to), want) {
					t.Error("the copy differs")
				}
				if fingerprint(t, from) != before {
					t.Error("the source was changed")
				}
				mustHoldOnly(t, parent, "from", "to")
			})
		}
	}
}

// mustHoldOnly looks for what an import may have left.
func mustHoldOnly(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("%q are there, want %q", names, want)
	}
}

func TestImportBbolt(t *testing.T) {
	parent := t.TempDir()
	from, to := filepath.Join(parent, "from"), filepath.Join(parent, "to")
	d, err := bbolt.Open(from, 0o600, nil)
	must(t, err)
	paths := [][]string{ // as bbolt shows them
		{"\x00"}, {"\x00\x00"}, {"\x00\x00", "\x01"}, {"\x00\x01"}, {"a"}, {"a", "\x00"}, {"a", "b"}, {"a", "b", "c"}, {"a\x00"}, {"a\x00\x01b"}, {"ab"}, {"empty"}, {"b"},
	}
	want := make(map[string]string)
	must(t, d.Update(func(tx *bbolt.Tx) error {
		for _, path := range paths {
			var b *bbolt.Bucket
			var names [][]byte
			for i, name := range path {
				names = append(names, []byte(name))
				var err error
				if i == 0 {
					b, err = tx.CreateBucketIfNotExists([]byte(name))
				} else {
					b, err = b.CreateBucketIfNotExists([]byte(name))
				}
				must(t, err)
			}
			if path[0] == "empty" {
				continue
			}
			for i := range 50 {
				key, value := fmt.Sprintf("%02d\x00\xff", i), fmt.Sprint(path, i)
				must(t, b.Put([]byte(key), []byte(value)))
				want[string(Prefix(names...))+key] = value
			}
			must(t, b.Put([]byte("gone"), nil))
			must(t, b.Delete([]byte("gone")))
			must(t, b.Put([]byte("nothing"), nil))
			want[string(Prefix(names...))+"nothing"] = ""
		}
		return nil
	}))
	must(t, d.Close())
	before := fingerprint(t, from)
	r, err := Import(t.Context(), Order{Source: from, Destination: to})
	must(t, err)
	if r.Kind != Bbolt || r.Entries != int64(len(want)) || !r.Verified || len(r.Keyspaces) != len(paths) {
		t.Errorf("%d entries in %d keyspaces: %+v", r.Entries, len(r.Keyspaces), r)
	}
	if !maps.Equal(contents(t, to), want) {
		t.Error("the copy differs")
	}
	if fingerprint(t, from) != before {
		t.Error("the source was changed")
	}
	for i, k := range r.Keyspaces {
		if !bytes.Equal(k.Prefix, Prefix(k.Path...)) {
			t.Errorf("prefix of %q: %q", k.Path, k.Prefix)
		}
		for _, other := range r.Keyspaces[i+1:] {
			if bytes.Compare(k.Prefix, other.Prefix) >= 0 || bytes.HasPrefix(other.Prefix, k.Prefix) {
				t.Errorf("prefixes %q and %q", k.Prefix, other.Prefix)
			}
		}
	}
}

func TestImportEnds(t *testing.T) {
	parent := t.TempDir()
	from, to := filepath.Join(parent, "from"), filepath.Join(parent, "to")
	d, err := badger.Open(badger.DefaultOptions(from).WithLogger(nil))
	must(t, err)
	later := time.Now().Add(time.Hour)
	b := d.NewWriteBatch()
	for i := range 2500 {
		key := fmt.Appendf(nil, "%05d", i)
		e := badger.NewEntry(key, key)
		switch i % 3 {
		case 1:
			e.ExpiresAt = uint64(later.Unix())
		case 2:
			e.ExpiresAt = uint64(time.Now().Add(-time.Hour).Unix())
		}
		must(t, b.SetEntry(e))
	}
	must(t, b.Flush())
	must(t, d.Close())
	r, err := Import(t.Context(), Order{Source: from, Destination: to})
	must(t, err)
	if r.Entries != 1667 || !r.Verified {
		t.Errorf("%+v", r)
	}
	copied, err := db.Open(to, &db.Options{ReadOnly: true})
	must(t, err)
	defer copied.Close()
	it, err := copied.NewIterator(nil)
	must(t, err)
	defer it.Close()
	n := 0
	for key := range it.All() {
		var i int
		_, err := fmt.Sscanf(string(key), "%d", &i)
		must(t, err)
		if want := time.Unix(later.Unix(), 0); i%3 == 0 && !it.Until().IsZero() || i%3 == 1 && !it.Until().Equal(want) || i%3 == 2 {
			t.Errorf("%s ends at %v", key, it.Until())
		}
		n++
	}
	if must(t, it.Err()); n != 1667 {
		t.Errorf("%d entries", n)
	}
}

// TestVerify: a copy that differs is no copy.
func TestVerify(t *testing.T) {
	from := filepath.Join(t.TempDir(), "from")
	written[LevelDB](t, from)
	for name, change := range map[string]func(d *db.DB) error{
		"nothing":  func(*db.DB) error { return nil },
		"another":  func(d *db.DB) error { return d.Put([]byte("key00001"), []byte("other")) },
		"missing":  func(d *db.DB) error { return d.Delete([]byte("key00001")) },
		"too much": func(d *db.DB) error { return d.Put([]byte("\xff\xff\xff\xff"), nil) },
		"ends": func(d *db.DB) error {
			return d.PutUntil([]byte("\x00"), []byte("binary \x00"), time.Now().Add(time.Hour))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := open(LevelDB, from)
			must(t, err)
			defer s.Close()
			d, err := db.Open(filepath.Join(t.TempDir(), "to"), nil)
			must(t, err)
			defer d.Close()
			w := &work{ctx: t.Context(), from: s}
			_, _, err = w.load(d)
			must(t, err)
			must(t, change(d))
			if n, err := w.verify(d); (err == nil) != (name == "nothing") || (n > 0) != (err == nil) {
				t.Errorf("%d entries: %v", n, err)
			}
		})
	}
}

// TestRefused: what cannot be imported leaves nothing, and is told soon.
func TestRefused(t *testing.T) {
	parent := t.TempDir()
	at := func(name string) string { return filepath.Join(parent, name) }
	written[LevelDB](t, at("level"))
	written[Badger](t, at("badger"))
	written[Pebble](t, at("pebble"))
	must(t, os.Mkdir(at("nothing"), 0o700))
	must(t, os.WriteFile(at("text"), []byte("hello"), 0o600))
	ours, err := db.Open(at("ours"), nil)
	must(t, err)
	must(t, ours.Close())
	bolt, err := bbolt.Open(at("bolt"), 0o600, nil)
	must(t, err)
	defer bolt.Close()
	locked := map[string]func() error{}
	level, err := leveldb.OpenFile(at("level"), nil)
	must(t, err)
	locked["level"] = level.Close
	opened, err := badger.Open(badger.DefaultOptions(at("badger")).WithLogger(nil))
	must(t, err)
	locked["badger"] = opened.Close
	p, err := pebble.Open(at("pebble"), &pebble.Options{Logger: quiet{}})
	must(t, err)
	locked["pebble"] = p.Close
	before, err := os.ReadDir(parent)
	must(t, err)
	defer time.AfterFunc(2*time.Minute, func() { panic("an import waits for who has a store open") }).Stop()
	for _, name := range []string{"missing", "nothing", "text", "ours", "bolt", "level", "badger", "pebble"} {
		r, err := Import(t.Context(), Order{Source: at(name), Destination: at("to")})
		if err == nil {
			t.Errorf("%s: %+v", name, r)
		}
		t.Logf("%s: %v", name, err)
	}
	for _, closing := range locked {
		must(t, closing())
	}
	if _, err := Import(t.Context(), Order{Kind: "paper", Source: at("level"), Destination: at("to")}); err == nil {
		t.Error("an unknown kind")
	}
	if _, err := Import(t.Context(), Order{Source: at("level"), Destination: at("ours")}); !errors.Is(err, ErrDestination) {
		t.Errorf("onto another database: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Import(ended, Order{Source: at("level"), Destination: at("to")}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	after, err := os.ReadDir(parent)
	must(t, err)
	if len(after) != len(before) {
		t.Errorf("%d names before, %d after", len(before), len(after))
	}
}

// TestDamaged flips bits and cuts files: an import fails and leaves nothing, or it ends well, where the
// store did not notice, or needs nothing of what was hit. Badger ends the process; the command sees to that.
func TestDamaged(t *testing.T) {
	_, _, want := pairs()
	for _, kind := range []string{LevelDB, Pebble} {
		write := written[kind]
		t.Run(kind, func(t *testing.T) {
			sound := filepath.Join(t.TempDir(), "sound")
			write(t, sound)
			r := rand.New(rand.NewPCG(3, 4))
			refused := 0
			for range 12 {
				parent := t.TempDir()
				from, to := filepath.Join(parent, "from"), filepath.Join(parent, "to")
				must(t, os.CopyFS(from, os.DirFS(sound)))
				var names []string
				must(t, filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
					if info, _ := entry.Info(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
						names = append(names, name)
					}
					return err
				}))
				name := names[r.IntN(len(names))]
				data, err := os.ReadFile(name)
				must(t, err)
				if r.IntN(2) == 0 {
					data = data[:r.IntN(len(data))]
				} else {
					data[r.IntN(min(len(data), 200_000))] ^= 0x40
				}
				must(t, os.WriteFile(name, data, 0o600))
				result, err := Import(t.Context(), Order{Kind: kind, Source: from, Destination: to})
				if err != nil {
					refused++
					mustHoldOnly(t, parent, "from")
					continue
				}
				if result.Entries > int64(len(want))+1 {
					t.Errorf("%d entries of %d", result.Entries, len(want))
				}
			}
			if t.Logf("%d of 12 refused", refused); refused == 0 {
				t.Error("no damage was noticed")
			}
		})
	}
}

func TestRocksDBIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "CURRENT"), []byte("MANIFEST-000005\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "IDENTITY"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "MANIFEST-000005"), []byte("not LevelDB's"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "OPTIONS-000007"), []byte("[Version]\n  rocksdb_version=7.8.3\n"), 0o600))
	_, err := Import(t.Context(), Order{Source: dir, Destination: filepath.Join(t.TempDir(), "to")})
	if err == nil || !strings.Contains(err.Error(), "ldb dump") {
		t.Error(err)
	}
}
