package crash

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

var sweepCauses = flag.Bool("sweep.causes", false, "remove the syncs also one caller at a time, which takes minutes")

// TestEverySyncIsNecessary removes every sync of the engine in turn, files' and
// directories', and expects the crash sweep to fail each time: a sync that nothing
// fails without would be a wasted one, or a sign that the sweep misses something. The
// histories are recorded once; a removed sync counts for nothing in them, as if it
// had never been called. That the list is whole shows in the sources.
func TestEverySyncIsNecessary(t *testing.T) {
	if base.Invariants {
		t.Skip("nothing here depends on the race detector, which makes it slow")
	}
	recordings := recordAll(t)
	sites := allSites(recordings)
	points := make(map[string]bool)
	for _, site := range sites {
		points[point(site)] = true
	}
	mustBeAllSyncs(t, sites)
	proven := 0
	for _, p := range slices.Sorted(maps.Keys(points)) {
		err, special := otherProof(t, p, recordings)
		if !special {
			err = without(recordings, func(site string) bool { return point(site) == p })
		}
		if err == nil {
			t.Errorf("nothing fails without the sync at %s", p)
			continue
		}
		proven++
		t.Logf("%s is necessary; without it: %s", p, strings.SplitN(err.Error(), "\n", 2)[0])
	}
	t.Logf("%d of %d sync points proven necessary", proven, len(points))
}

// point is the place in the sources that decides to sync: what merely passes the
// decision on to a file is left out.
func point(site string) string {
	frames := strings.Split(site, " < ")
	for len(frames) > 1 && (strings.HasSuffix(frames[0], " (*Writer).Sync") || strings.HasSuffix(frames[0], " (*Writer).syncLog")) {
		frames = frames[1:]
	}
	return frames[0]
}

// recordAll goes through the histories of two seeds.
func recordAll(t *testing.T) []*recording {
	var recordings []*recording
	for seed := range uint64(2) {
		for _, k := range allKinds() {
			recordings = append(recordings, k.record(t, 1000+seed))
		}
	}
	return recordings
}

func allSites(recordings []*recording) []string {
	sites := make(map[string]bool)
	for _, r := range recordings {
		for _, site := range r.trace.Sites() {
			sites[site] = true
		}
	}
	return slices.Sorted(maps.Keys(sites))
}

// without sweeps the histories without some of their syncs.
func without(recordings []*recording, gone func(site string) bool) error {
	for _, r := range recordings {
		ignore := func(e *vfstest.Event) bool { return e.Site != "" && gone(e.Site) }
		from := slices.IndexFunc(r.trace.Events, func(e vfstest.Event) bool { return ignore(&e) })
		if from < 0 {
			continue
		}
		s := sweep{recording: r, seed: 1, sample: 1, effort: vfstest.Effort{Subsets: 6, Tears: 4}, from: from, ignore: ignore}
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// otherProof is for some syncs that are not there for a power failure alone.
func otherProof(t *testing.T, at string, recordings []*recording) (err error, special bool) {
	switch {
	case strings.HasSuffix(at, " (*Opening).takeLock"):
		// The way to a new database is synced again when CURRENT is made, but without
		// a look at the error: the directories above may be other people's.
		above := func(site string) bool { return strings.HasSuffix(point(site), " (*Opening).create") }
		straight := recordings[:1] // whose creation nothing interrupts
		if err := without(straight, above); err != nil {
			t.Errorf("%s does not suffice: %v", at, err)
		}
		return without(straight, func(site string) bool { return above(site) || strings.HasSuffix(point(site), " (*Opening).takeLock") }), true
	case strings.HasSuffix(at, " Prepare"):
		// It spares the Writer a long sync: the Writer's own would cover all of the file. That
		// it is made, TestPrepareAndPlace sees.
		return without(recordings, func(site string) bool {
			return strings.HasSuffix(point(site), " Prepare") || strings.HasSuffix(point(site), " (*Writer).complete")
		}), true
	case strings.HasSuffix(at, " NewDirectory"):
		// The same for a copy: either does where nothing interrupts it.
		return without(recordings, func(site string) bool { return strings.Contains(site, " NewDirectory") }), true
	case strings.HasSuffix(at, " NewWriter") && !slices.ContainsFunc(allSites(recordings), func(site string) bool { return strings.Contains(site, "(*Writer).Sync < "+at) }):
		// Where space is only found to be missing at a sync, that must be one behind
		// which nothing but zeros lies.
		if err := lateDiskFull(t, false); err != nil {
			t.Errorf("no space at a sync: %v", err)
		}
		return lateDiskFull(t, true), true
	}
	return nil, false
}

// lateDiskFull lets the syncs of new WAL segments fail for want of space, like a file
// system that looks for it only then; without the sync in NewWriter itself, if that
// is removed. It returns an error unless writes resume when there is room.
func lateDiskFull(t *testing.T, removed bool) error {
	m := fixture.NewMachine(vfstest.NewDisk())
	d := m.OpenDB(t)
	defer d.Close()
	value := make([]byte, 5000)
	fixture.Must(t, d.Put([]byte("first"), value))
	m.Fail(func(op vfstest.Op) error {
		if op.Kind != vfstest.OpSync || op.Name == fixture.Dir+"/000002.wal" || !strings.HasSuffix(op.Name, ".wal") {
			return nil
		}
		if removed && !strings.Contains(string(debug.Stack()), "wal.(*Writer).Sync(") {
			return nil
		}
		return syscall.ENOSPC
	})
	var err error
	for n := 0; err == nil && n < 10; n++ {
		err = d.Put([]byte("more"), value)
	}
	if !errors.Is(err, db.ErrDiskFull) {
		return fmt.Errorf("no room, but Put returned %v", err)
	}
	m.Fail(nil)
	return d.Put([]byte("after"), value)
}

// notSwept are directories whose syncs are not the engine's own decisions.
var notSwept = []string{"bench", "cmd", "docs", "ext", "internal/vfs", "internal/vfstest", "internal/tests"}

// hopeful are syncs that promise nothing and that no history reaches: in a database that
// has failed, in a copy that was refused, of a new directory whose parent may not be read and so not be synced,
// and beside the Writer, who syncs himself later.
var hopeful = []string{"p.err = a.file.Sync()", "_ = w.log.Sync()", "_ = d.SyncDir(d.dir)", "err = o.fs.SyncDir(o.directory.Dir)"}

// mustBeAllSyncs finds the syncs in the sources of the engine. All must be among the
// sites but the hopeful ones.
func mustBeAllSyncs(t *testing.T, sites []string) {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	call := regexp.MustCompile(`\.(Sync\(\)|SyncDir\(|SyncFile\(|syncLog\(\))`)
	places := strings.Join(sites, " < ") + " "
	found := 0
	fixture.Must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		name := filepath.ToSlash(relative)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || slices.Contains(notSwept, name)):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for i, line := range strings.Split(string(text), "\n") {
			code, _, _ := strings.Cut(line, "//")
			if !call.MatchString(code) || slices.ContainsFunc(hopeful, func(h string) bool { return strings.Contains(code, h) }) {
				continue
			}
			found++
			if place := fmt.Sprintf("%s:%d ", name, i+1); !strings.Contains(places, place) {
				t.Errorf("no history comes to the sync at %s: %s", place, strings.TrimSpace(line))
			}
		}
		return err
	}))
	if found < 14 {
		t.Errorf("only %d syncs were found in the sources", found)
	}
}

// coveredSyncs are those that one caller would not need, because before anything
// depends on them another sync of the same file or directory follows.
var coveredSyncs = []struct{ point, caller, why string }{
	{"(*Opening).takeLock", "", "SyncAbove follows, unless it fails"},
	{" NewDirectory", "", "it syncs the directory above twice: as it makes one, and for one that was there"},
	{" NewWriter", "", "sync of zeros: for file systems that find a full disk late"},
	{"wal/writer.go", "manifest/log.go", "CreateLog syncs the snapshot too before CURRENT names the file"},
	{"(*Tables).Finish", "(*Opening).flush", "CreateLog syncs the directory too before CURRENT names the MANIFEST"},
	{" Create", "NewSegment < internal/recovery/takeover.go", "CreateLog syncs the directory too before CURRENT names the MANIFEST"},
}

// TestEveryCauseOfSyncs removes the syncs one path of calls at a time.
func TestEveryCauseOfSyncs(t *testing.T) {
	if !*sweepCauses {
		t.Skip("takes minutes: -sweep.causes")
	}
	recordings := recordAll(t)
	sites := allSites(recordings)
	necessary, covered := 0, 0
	for _, site := range sites {
		err := without(recordings, func(other string) bool { return other == site })
		if err != nil {
			necessary++
			t.Logf("necessary: %s\n\twithout it: %s", site, strings.SplitN(err.Error(), "\n", 2)[0])
			continue
		}
		i := slices.IndexFunc(coveredSyncs, func(c struct{ point, caller, why string }) bool {
			return strings.Contains(point(site), c.point) && strings.Contains(site, c.caller)
		})
		if i < 0 {
			t.Errorf("nothing fails without %s", site)
			continue
		}
		covered++
		t.Logf("covered: %s\n\t%s", site, coveredSyncs[i].why)
	}
	t.Logf("%d causes of syncs: %d proven necessary, %d covered by another sync", len(sites), necessary, covered)
}
