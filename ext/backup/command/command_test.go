package command

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/db/attach"
	"lsmdb/ext/backup"
	"lsmdb/internal/tests/fixture"
)

// text collects what a program says.
type text struct{ strings.Builder }

// try runs the program.
func try(t *testing.T, ctx context.Context, args ...string) (code int, out, says string) {
	t.Helper()
	var o, e text
	code = run(ctx, args, &o, &e)
	return code, o.String(), e.String()
}

func TestCommand(t *testing.T) {
	root := t.TempDir()
	dir, bucket := filepath.Join(root, "db"), filepath.Join(root, "bucket")
	d, err := db.Open(dir, nil)
	fixture.Must(t, err)
	fixture.Must(t, d.Put([]byte("tea"), []byte("green")))
	fixture.Must(t, d.Close())
	for _, c := range []struct {
		args []string
		code int
		out  string
		err  string
	}{
		{args: []string{"--help"}, out: "BUCKET is a directory"},
		{args: []string{"restore", "--help"}, out: "--at"},
		{args: []string{}, code: exitUsage, err: "a command is missing"},
		{args: []string{"rum"}, code: exitUsage, err: `unknown command "rum"`},
		{args: []string{"once", dir}, code: exitUsage, err: "DIR and BUCKET needed"},
		{args: []string{"list", "--what", bucket}, code: exitUsage, err: "unknown flag"},
		{args: []string{"list", bucket}, code: exitFailed, err: "open the bucket"},
		{args: []string{"list", "nowhere://x"}, code: exitFailed, err: "nowhere"},
		{args: []string{"run", filepath.Join(root, "none"), bucket}, code: exitFailed, err: "no such file"},
		{args: []string{"once", filepath.Join(root, "none"), bucket}, code: exitFailed, err: "no such file"},
		{args: []string{"restore", bucket, filepath.Join(root, "early")}, code: exitFailed, err: "it has no point"},
		{args: []string{"once", dir, bucket}, out: "sequence number 1, 1 tables"},
		{args: []string{"once", dir, bucket}, out: "of which 0 of 0 bytes"},
		{args: []string{"list", bucket}, out: "with the log up to"},
		{args: []string{"verify", bucket}, out: "all is well: 1 points with 1 tables"},
		{args: []string{"restore", "--at", "noon", bucket, filepath.Join(root, "new")}, code: exitUsage, err: `"noon" is no point`},
		{args: []string{"restore", "--at", "2", bucket, filepath.Join(root, "new")}, code: exitFailed, err: "lsmdb-backup list shows"},
		{args: []string{"restore", bucket, filepath.Join(root, "new")}, out: "as of sequence number 1"},
		{args: []string{"restore", bucket, filepath.Join(root, "new")}, code: exitFailed, err: "does not exist"},
		{args: []string{"once", filepath.Join(root, "new"), bucket}, code: exitFailed, err: "a restored copy is another one"},
		{args: []string{"prune", bucket}, code: exitUsage, err: "--keep"},
		{args: []string{"prune", "--keep", "1", bucket}, out: "1 points are left; 0 objects"},
	} {
		code, out, says := try(t, t.Context(), c.args...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(says, c.err) {
			t.Errorf("%q: code %d, %q, %q", c.args, code, out, says)
		}
	}
	code, out, says := try(t, t.Context(), "list", "--json", bucket)
	var l backup.Listed
	if err := json.Unmarshal([]byte(out), &l); err != nil || code != 0 || l.Seq != 1 || l.Tables != 1 {
		t.Errorf("%d %q %q: %v", code, out, says, err)
	}
	if after, err := db.Open(filepath.Join(root, "new"), nil); err != nil {
		t.Error(err)
	} else if v, err := after.Get([]byte("tea")); string(v) != "green" {
		t.Error(v, err)
	} else {
		fixture.Must(t, after.Close())
	}
	wrong, err := filepath.Glob(filepath.Join(bucket, "tables", "*"))
	if err != nil || len(wrong) != 1 {
		t.Fatal(wrong, err)
	}
	fixture.Must(t, os.Remove(wrong[0]))
	if code, out, says := try(t, t.Context(), "verify", bucket); code != exitFailed || !strings.Contains(says, "tables/") {
		t.Error(code, out, says)
	}
}

// run backs up what another process writes, and waits for the next one when that ends.
func TestRun(t *testing.T) {
	root := t.TempDir()
	dir, bucket := filepath.Join(root, "db"), filepath.Join(root, "bucket")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var code int
	ended := make(chan struct{})
	seq := uint64(0)
	for round := range 2 {
		d, err := db.Open(dir, nil)
		fixture.Must(t, err)
		if round == 0 { // it may begin before anybody serves
			go func() {
				defer close(ended)
				code, _, _ = try(t, ctx, "run", "--log-interval", "1ms", dir, bucket)
			}()
		}
		_, err = attach.Serve(d)
		fixture.Must(t, err)
		for range 3 {
			fixture.Must(t, d.Put(fmt.Appendf(nil, "key%d", seq), []byte("value")))
			seq++
			listed(t, bucket, seq)
		}
		fixture.Must(t, d.Close())
	}
	stop()
	<-ended
	if code != 0 {
		t.Errorf("interrupted, it ends with code %d", code)
	}
	copied := filepath.Join(root, "copy")
	if code, out, says := try(t, t.Context(), "restore", bucket, copied); code != 0 {
		t.Fatal(code, out, says)
	}
	d, err := db.Open(copied, nil)
	fixture.Must(t, err)
	defer d.Close()
	if n := len(fixture.Contents(t, d)); n != int(seq) {
		t.Errorf("%d keys of %d", n, seq)
	}
}

// listed waits until list says that a number can be restored.
func listed(t *testing.T, bucket string, seq uint64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		_, out, says := try(t, t.Context(), "list", "--json", bucket)
		for line := range strings.Lines(out) {
			var l backup.Listed
			if json.Unmarshal([]byte(line), &l) == nil && l.LogSeq >= seq {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d was never shipped: %q %q", seq, out, says)
		}
	}
}
