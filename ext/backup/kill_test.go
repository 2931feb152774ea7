package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gocloud.dev/blob/fileblob"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// killedIn names the directory in which this program is only a process to be killed.
const killedIn = "LSMDB_BACKUP_KILLED_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedIn); dir != "" {
		fmt.Println(beKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// beKilled puts one key after the other beside a Run, and tells of each.
func beKilled(dir string) error {
	b, err := fileblob.OpenBucket(filepath.Join(dir, "bucket"), &fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return err
	}
	d, err := db.Open(filepath.Join(dir, "db"), &db.Options{KeepChangesBytes: 1 << 20})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- Run(context.Background(), d, b, &quick) }()
	for {
		select {
		case err := <-ended:
			return err
		default:
		}
		n := d.Metrics().Sequence
		if err := d.Put(fmt.Appendf(nil, "%08d", n), fmt.Appendf(nil, "value %d", n)); err != nil {
			return err
		}
		fmt.Println(n + 1)
	}
}

// A process is killed without warning, again and again. What the bucket holds is always a
// state that there was, and no newer than what was durable.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	fixture.Must(t, err)
	b, err := fileblob.OpenBucket(filepath.Join(dir, "bucket"), &fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	fixture.Must(t, err)
	defer b.Close()
	for round := range 4 {
		child := exec.Command(self)
		child.Env = append(os.Environ(), killedIn+"="+dir)
		out, err := child.StdoutPipe()
		fixture.Must(t, err)
		fixture.Must(t, child.Start())
		told := uint64(0)
		shipped := uint64(0)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, err := fmt.Sscan(lines.Text(), &told); err != nil {
				t.Fatal(lines.Text())
			}
			if told%20 == 0 { // until something was shipped by this process
				if list, err := List(t.Context(), b); err == nil && len(list) > round {
					shipped = list[len(list)-1].LogSeq
				}
				if shipped > 0 {
					break
				}
			}
		}
		fixture.Must(t, child.Process.Kill())
		_ = child.Wait()
		_, err = Verify(t.Context(), b)
		fixture.Must(t, err)
		d, err := db.Open(filepath.Join(dir, "db"), nil)
		fixture.Must(t, err)
		durable := d.Metrics().Sequence
		fixture.Must(t, d.Close())
		right := 0
		for _, at := range []Point{Latest, Seq(shipped), Seq(shipped - 1), Seq(shipped / 2)} {
			copied := filepath.Join(t.TempDir(), "copy")
			r, err := Restore(t.Context(), b, copied, at)
			if errors.Is(err, ErrNotReached) && at != Latest && at != Seq(shipped) { // between two processes
				continue
			}
			fixture.Must(t, err)
			d, err := db.Open(copied, nil)
			fixture.Must(t, err)
			found := fixture.Contents(t, d)
			fixture.Must(t, d.Close())
			if r.Seq > durable || len(found) != int(r.Seq) {
				t.Errorf("round %d, at %v: %d keys at %d, durable are %d", round, at, len(found), r.Seq, durable)
			}
			for n := range r.Seq {
				if key := fmt.Sprintf("%08d", n); found[key] != fmt.Sprintf("value %d", n) {
					t.Fatalf("round %d, at %v: %s is %q", round, at, key, found[key])
				}
			}
			right++
		}
		if right < 2 {
			t.Errorf("round %d: only %d states", round, right)
		}
	}
}
