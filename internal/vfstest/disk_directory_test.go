package vfstest

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// openHouse makes /db with a durable file, opens and locks it, and has a log in it that
// is open and whose name is not durable.
func openHouse(t *testing.T) (*Disk, vfs.Directory, vfs.File) {
	t.Helper()
	d := NewDisk()
	must(t, d.MkdirAll("/db"))
	must(t, d.SyncDir("/"))
	put(t, d, "/db/old", "OLD", true)
	must(t, d.SyncDir("/db"))
	dir := must2(d.OpenDirectory("/db"))
	must(t, dir.Lock(false))
	log := must2(dir.Create("/db/log"))
	must(t, errors.Join(dir.Check(), log.Check()))
	return d, dir, log
}

func wantDisplaced(t *testing.T, err error, words string) {
	t.Helper()
	if !errors.Is(err, vfs.ErrDisplaced) || !strings.HasSuffix(err.Error(), words) {
		t.Errorf("%v; want %q", err, words)
	}
}

func TestMoveDirectory(t *testing.T) {
	d, dir, log := openHouse(t)
	must(t, d.MoveDirectory("/db", "/moved"))
	wantDisplaced(t, dir.Check(), "/db was moved away")
	must(t, log.Check())
	must(t, d.MkdirAll("/db"))
	put(t, d, "/db/old", "mine", true)
	put(t, d, "/db/LOCK", "mine", true)
	must(t, errors.Join(d.SyncDir("/"), d.SyncDir("/db")))
	wantDisplaced(t, dir.Check(), "was moved away, and another one put in its place")

	put(t, dir, "/db/new", "NEW", true)
	must(t, second(log.WriteAt([]byte("LOG"), 0)))
	must(t, errors.Join(log.Sync(), dir.Rename("/db/new", "/db/newer"), dir.Remove("/db/old")))
	wantNames(t, dir, "/db", "LOCK", "log", "newer")
	look := reads("/db/old", "/moved/old", "/moved/log", "/moved/newer")
	if got := look(d.CrashClone(nil)); got != "mine OLD (missing) (missing)" {
		t.Errorf("before the sync of the directory %q is certain", got)
	}
	must(t, dir.SyncDir("/db"))
	if got := look(d.CrashClone(nil)); got != "mine (missing) LOG NEW" {
		t.Errorf("after the sync of the directory %q is certain", got)
	}
	must(t, must2(d.OpenDirectory("/db")).Lock(false)) // is another one
	wantErr(t, "the one that was moved", must2(d.OpenDirectory("/moved")).Lock(false), base.ErrLocked)
	must(t, dir.Close())
	must(t, must2(d.OpenDirectory("/moved")).Lock(false))

	wantErr(t, "of nothing", d.MoveDirectory("/none", "/x"), fs.ErrNotExist)
	wantErr(t, "into nothing", d.MoveDirectory("/db", "/none/x"), fs.ErrNotExist)
	wantErr(t, "onto another", d.MoveDirectory("/db", "/moved"), fs.ErrExist)
	wantErr(t, "into itself", d.MoveDirectory("/db", "/db/x"), fs.ErrExist)
}

func TestRemoveDirectory(t *testing.T) {
	d, dir, log := openHouse(t)
	must(t, second(log.WriteAt([]byte("12345"), 0)))
	must(t, d.RemoveDirectory("/db"))
	wantDisplaced(t, dir.Check(), "/db was deleted")
	wantDisplaced(t, log.Check(), "/db/log was deleted or moved away")
	if got := d.UsedBytes(); got != 5 {
		t.Errorf("%d bytes are used by the file that is open", got)
	}
	wantErr(t, "create", second(dir.Create("/db/new")), fs.ErrNotExist)
	wantErr(t, "stat", second(dir.Stat("/db/old")), fs.ErrNotExist)
	must(t, errors.Join(log.Sync(), dir.SyncDir("/db")))
	must(t, d.MkdirAll("/db"))
	put(t, d, "/db/log", "mine", true)
	wantDisplaced(t, dir.Check(), "was deleted, and another one put in its place")
	wantErr(t, "create in another", second(dir.Create("/db/new")), fs.ErrNotExist)
	must(t, errors.Join(dir.Close(), log.Close()))
	if got := d.UsedBytes(); got != 4 || get(d, "/db/log") != "mine" {
		t.Errorf("%d bytes are used, /db/log holds %q", got, get(d, "/db/log"))
	}
	wantErr(t, "again", errors.Join(d.RemoveDirectory("/db"), d.RemoveDirectory("/db")), fs.ErrNotExist)
	wantNames(t, d, "/")
	for look, want := range map[string]string{"/db/old": "(missing)", "/db/log": "(missing)"} {
		if got := get(d.CrashClone(seeded(1)), look); got != want {
			t.Errorf("the power brings back %q", got)
		}
	}
}

// TestLegalFollowsMoves: what a power failure may leave of a directory that was moved or
// removed while files in it were not durable.
func TestLegalFollowsMoves(t *testing.T) {
	for _, to := range []string{"/moved", ""} {
		d := NewDisk()
		must(t, d.MkdirAll("/db"))
		must(t, d.SyncDir("/"))
		trace := d.Record("")
		dir := must2(d.OpenDirectory("/db"))
		put(t, dir, "/db/synced", "A", true)
		must(t, dir.SyncDir("/db"))
		put(t, dir, "/db/b", "B", true)
		move := func() error { return d.MoveDirectory("/db", to) }
		if to == "" {
			move = func() error { return d.RemoveDirectory("/db") }
		}
		must(t, move())
		must(t, d.MkdirAll("/db"))
		trace.Stop()
		l := trace.Legal()
		states := legalNow(l, Effort{Subsets: 20})
		got := make(map[string]bool)
		for _, state := range states {
			names, err := state.List("/")
			must(t, err)
			got[strings.Join(names, " ")+": "+get(state, "/moved/synced")+get(state, "/moved/b")] = true
		}
		want := []string{"moved: A(missing)", "moved: AB", "db moved: A(missing)", "db moved: AB"}
		if to == "" {
			want = []string{": (missing)(missing)", "db: (missing)(missing)"}
		}
		if len(got) != len(want) {
			t.Errorf("%q: states %v", to, got)
		}
		for _, state := range want {
			if !got[state] {
				t.Errorf("%q: %q is not among %v", to, state, got)
			}
		}
		if text := events(trace); !strings.Contains(text, strings.TrimSpace("\nmovedir /db "+to)) {
			t.Errorf("trace:\n%s", text)
		}
	}
}

// TestSyncFile makes the contents certain without the handle that wrote them.
func TestSyncFile(t *testing.T) {
	d := NewDisk()
	must(t, d.MkdirAll("/db"))
	put(t, d, "/db/f", "x", false)
	must(t, d.SyncDir("/"))
	must(t, d.SyncDir("/db"))
	dir := must2(d.OpenDirectory("/db"))
	if got := get(d.CrashClone(nil), "/db/f"); got != "" {
		t.Errorf("certain is %q before", got)
	}
	must(t, dir.SyncFile("/db/f"))
	if got := get(d.CrashClone(nil), "/db/f"); got != "x" {
		t.Errorf("certain is %q", got)
	}
}
