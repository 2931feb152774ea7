package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"go.etcd.io/bbolt"
)

func TestMain(m *testing.M) {
	if source := os.Getenv(probed); source != "" {
		probeAndExit(source)
	}
	os.Exit(m.Run())
}

// TestDamagedBadger: Badger panics in a goroutine of its own, and that is an error like others.
func TestDamagedBadger(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "new")
	d, err := badger.Open(badger.DefaultOptions(from).WithLogger(nil))
	if err == nil {
		err = d.Update(func(tx *badger.Txn) error { return tx.Set([]byte("key"), make([]byte, 1000)) })
	}
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var out, says bytes.Buffer
	if code := run(t.Context(), []string{from, to + "1"}, &out, &says); code != 0 {
		t.Fatal(code, says.String())
	}
	tables, err := filepath.Glob(filepath.Join(from, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal("no tables", err)
	}
	data, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := len(data) - 8; i < len(data); i++ {
		data[i] ^= 0x5a
	}
	if err := os.WriteFile(tables[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	says.Reset()
	if code := run(t.Context(), []string{from, to + "2"}, &out, &says); code != exitFailed || !strings.Contains(says.String(), "as badger") || strings.Contains(says.String(), "goroutine") {
		t.Error(code, says.String())
	}
	if _, err := os.Stat(to + "2"); err == nil {
		t.Error("there is a copy of what cannot be read")
	}
}

// bolt makes a database of two buckets, one of them empty.
func bolt(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "old.bolt")
	d, err := bbolt.Open(path, 0o600, nil)
	if err == nil {
		err = d.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte("orders"))
			if err == nil {
				err = b.Put([]byte("1"), []byte("tea"))
			}
			if err == nil {
				_, err = b.CreateBucket([]byte("open"))
			}
			return err
		})
	}
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommand(t *testing.T) {
	from, to := bolt(t), filepath.Join(t.TempDir(), "new")
	for _, c := range []struct {
		args []string
		code int
		out  string
		err  string
	}{
		{args: []string{"--help"}, out: "lsmdb-import [--from KIND] [--json] SRC DST"},
		{args: []string{from}, code: exitUsage, err: "SRC and DST"},
		{args: []string{"--from", "paper", from, to}, code: exitUsage, err: `unknown kind "paper"`},
		{args: []string{"--what", from, to}, code: exitUsage, err: "unknown flag"},
		{args: []string{from + "x", to}, code: exitFailed, err: "no such file"},
		{args: []string{"--from", "leveldb", from, to}, code: exitFailed, err: "as leveldb"},
		{args: []string{from, to}, out: "1 entries of bbolt are in"},
		{args: []string{from, to}, code: exitFailed, err: "must be new"},
		{args: []string{"--json", from, to + "2"}, out: `"verified":true`},
	} {
		var out, err bytes.Buffer
		code := run(t.Context(), c.args, &out, &err)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(err.String(), c.err) {
			t.Errorf("%q: code %d, %q, %q", c.args, code, out.String(), err.String())
		}
	}
}

func TestJSON(t *testing.T) {
	var out, err bytes.Buffer
	if code := run(t.Context(), []string{"--json", bolt(t), filepath.Join(t.TempDir(), "new")}, &out, &err); code != 0 {
		t.Fatal(code, err.String())
	}
	var result struct {
		Kind      string
		Entries   int
		Verified  bool
		Keyspaces []struct {
			Path   [][]byte `json:"path_base64"`
			Prefix []byte   `json:"prefix_base64"`
		}
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	if result.Kind != "bbolt" || result.Entries != 1 || !result.Verified || len(result.Keyspaces) != 2 {
		t.Errorf("%+v", result)
	}
	if k := result.Keyspaces[1]; string(bytes.Join(k.Path, []byte("/"))) != "orders/open" || string(k.Prefix) != "orders\x00\x01open\x00\x00" {
		t.Errorf("%q", k)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	to := filepath.Join(t.TempDir(), "new")
	var out, err bytes.Buffer
	if code := run(ctx, []string{bolt(t), to}, &out, &err); code != exitInterrupted || !strings.Contains(err.String(), "nothing was written") {
		t.Error(code, err.String())
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("something was written")
	}
}
