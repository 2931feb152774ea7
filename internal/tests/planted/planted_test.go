// Package planted puts bugs into the sources and sees that the tests notice. It
// consists of tests.
package planted

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lsmdb/internal/tests/fixture"
)

var plantBugs = flag.Bool("sweep.plant", false, "plant bugs into the sources and see that the crash sweep, or another test, catches each; takes minutes")

// plantedBug is a change of the sources that makes of lsmdb what another system once
// was, or what lsmdb must not become.
type plantedBug struct {
	name  string
	edits []edit
}

type edit struct{ file, old, new string }

// TestPlantedBugs builds the crash sweep, or another test where nothing crashes, with
// one bug planted at a time, and expects it to fail. Nothing of that touches the
// sources: the compiler is shown others in their place. It is slow, as each bug needs a
// build:
//
//	go test ./internal/tests/planted -run '^TestPlantedBugs$' -v -timeout 30m -sweep.plant
func TestPlantedBugs(t *testing.T) {
	if !*plantBugs {
		t.Skip("takes minutes: -sweep.plant")
	}
	caught := 0
	plant := func(bug plantedBug, dir, test string, flags ...string) {
		t.Run(strings.ReplaceAll(bug.name, " ", "-"), func(t *testing.T) {
			out, err := testWith(t, bug, append([]string{"-run", "^" + test + "$", dir}, flags...))
			report := string(out)
			_, failure, failed := strings.Cut(report, "--- FAIL: "+test)
			switch {
			case err == nil:
				t.Errorf("%s does not notice:\n%s", test, report)
			case !failed && strings.Contains(report, "panic: test timed out") && strings.Contains(report, "\t"+test+" ("):
				caught++
				t.Logf("caught by %s: it does not end", test)
			case !failed:
				t.Fatalf("%s did not run: %v\n%s", test, err, report)
			default:
				caught++
				t.Logf("caught by %s: %s", test, strings.TrimSpace(strings.SplitN(failure, "\n", 3)[1]))
			}
		})
	}
	for _, bug := range plantedBugs {
		plant(bug, "./internal/tests/crash", "TestCrashSweep", "-sweep.states", "1")
	}
	rest := slices.Concat(plantedWithoutCrash, plantedVocabulary, plantedQueued, plantedBudget, plantedLarge, plantedSalvage, plantedInsight, plantedChanges)
	for _, bug := range rest {
		var flags []string
		switch bug.test {
		case "TestModel":
			flags = []string{"-model.seeds", "12"}
		case "TestCrashSweep":
			flags = []string{"-sweep.states", "1"}
		}
		plant(bug.plantedBug, bug.dir, bug.test, flags...)
	}
	t.Logf("%d of %d planted bugs caught", caught, len(plantedBugs)+len(rest))
}

// TestPlantedBugsFit: sources change, and a bug that fits nowhere any more proves nothing.
func TestPlantedBugsFit(t *testing.T) {
	all := slices.Clone(plantedBugs)
	for _, bug := range slices.Concat(plantedWithoutCrash, plantedVocabulary, plantedQueued, plantedBudget, plantedLarge, plantedSalvage, plantedInsight, plantedChanges) {
		all = append(all, bug.plantedBug)
	}
	for _, bug := range all {
		for _, e := range bug.edits {
			text, err := os.ReadFile(filepath.Join("..", "..", "..", filepath.FromSlash(e.file)))
			fixture.Must(t, err)
			if n := strings.Count(string(text), e.old); n != 1 {
				t.Errorf("%s: %s holds %d times %q", bug.name, e.file, n, e.old)
			}
		}
	}
}

// testWith runs go test with a bug.
func testWith(t *testing.T, bug plantedBug, args []string) ([]byte, error) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	fixture.Must(t, err)
	dir := t.TempDir()
	replaced := make(map[string]string)
	for _, e := range bug.edits {
		path := filepath.Join(root, filepath.FromSlash(e.file))
		from := path
		if replaced[path] != "" {
			from = replaced[path]
		}
		text, err := os.ReadFile(from)
		fixture.Must(t, err)
		if n := strings.Count(string(text), e.old); n != 1 {
			t.Fatalf("%s holds %d times %q", e.file, n, e.old)
		}
		replaced[path] = filepath.Join(dir, strings.ReplaceAll(e.file, "/", "_"))
		fixture.Must(t, os.WriteFile(replaced[path], []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o600))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	fixture.Must(t, err)
	list := filepath.Join(dir, "overlay.json")
	fixture.Must(t, os.WriteFile(list, overlay, 0o600))
	command := exec.CommandContext(t.Context(), "go", append([]string{"test", "-overlay", list, "-vet", "off", "-timeout", "120s"}, args...)...)
	command.Dir = root
	return command.CombinedOutput()
}

// plantedBugs are, by what became of them elsewhere or would become of us. Numbers are
// of issues.
var plantedBugs = []plantedBug{
	{"no directory sync after the creation of a WAL (badger 104)", []edit{
		{"wal/writer.go", "if err = fs.SyncDir(filepath.Dir(path)); err == nil {", "if err == nil {"}}},
	{"no directory sync after the creation of a table (etcd 6368)", []edit{
		{"internal/output/tables.go", "if err := t.dir.FS.SyncDir(t.dir.Dir); err != nil {", "if err := error(nil); err != nil {"}}},
	{"no directory sync after the rename of CURRENT (leveldb 195)", []edit{
		{"manifest/current.go", "if err := fsys.SyncDir(dir); err != nil {", "if err := error(nil); err != nil {"}}},
	{"no sync of a table that is listed", []edit{
		{"sstable/writer.go", `w.fail("sync", w.file.Sync())`, `w.fail("sync", nil)`}}},
	{"a write acknowledged before its sync", []edit{
		{"stages/writer.go", "	if durable {\n", "	if false && durable {\n"}}},
	{"the old WAL unsynced when the next one acknowledges (leveldb 193)", []edit{
		{"stages/segment.go", "	if err := w.syncAll(); err != nil {\n		return sealed, err\n	}\n	next, err", "	next, err"}}},
	{"a sync tried again after it failed (pebble 1159)", []edit{
		{"wal/writer.go", "	err := w.file.Sync()\n", "	err := w.file.Sync()\n	if err != nil {\n		err = w.file.Sync()\n	}\n"}}},
	{"a failed MANIFEST sync taken for not written (rocksdb 4990)", []edit{
		{"manifest/log.go", "	return l.Sync()\n", "	if err := l.Sync(); err != nil {\n		return &base.ShortageError{Cause: err}\n	}\n	return nil\n"}}},
	{"file numbers given out again (rocksdb 7621)", []edit{
		{"internal/recovery/open.go", "output.NewFileNumbers(o.firstNumber())", "output.NewFileNumbers(o.listed)"}}},
	{"replay going on past a hole (pebble 864)", []edit{
		{"stages/segment.go", "	if err := w.syncAll(); err != nil {\n		return sealed, err\n	}\n	next, err", "	next, err"},
		{"internal/recovery/replay.go", "if end := s.reader.End().Offset; end != p.End {", "if end := s.reader.End().Offset; end > p.End {"},
		{"internal/recovery/replay.go", "if header.First != r.lastSeq+1 {", "r.lastSeq = header.First - 1\n	if false {"}}},
	{"records believed without their checksum (leveldb 251)", []edit{
		{"wal/chunk.go", "case t == TypeZero || s.binding.checksum(offset, b[lengthAt:n]) != binary.LittleEndian.Uint32(b):", "case t == TypeZero:"}}},
	{"WALs replayed out of order (weaviate 12138)", []edit{
		{"internal/recovery/replay.go", "	slices.Reverse(chain)\n", ""}}},
	{"sequence numbers going backwards (rocksdb 14864)", []edit{
		{"internal/recovery/open.go", "	state.LastSeq = o.replay.lastSeq\n", ""}}},
	{"deleted keys coming back (leveldb 184)", []edit{
		{"flusher/flusher.go", "output.Scope{Readers: readers,", "output.Scope{Elide: func([]byte) bool { return true }, Readers: readers,"}}},
	{"a creation that was interrupted taken for damage (etcd 16596)", []edit{
		{"internal/recovery/open.go", "if len(names) == 1 && names[0]", "if false && names[0]"}}},
	{"files removed before CURRENT is switched", []edit{
		{"internal/recovery/takeover.go", "	if err := o.commit(); err != nil {\n", "	o.remove(func(string) bool { return false })\n	if err := o.commit(); err != nil {\n"}}},
	{"the mark of a clean close not taken back", []edit{
		{"internal/recovery/takeover.go", "manifest.Current{Manifest: o.begun.Manifest.Segment()}", "manifest.Current{Manifest: o.begun.Manifest.Segment(), Clean: o.current.Clean}"}}},
	{"CURRENT written in place", []edit{
		{"manifest/current.go", `temporary := path + ".tmp"`, "temporary := path"}}},
	{"a WAL removed before its table is listed", []edit{
		{"stages/flusher.go", "	edit := &manifest.Edit{OldestWAL: s.Next, LastSeq: s.LastSeq}\n", "	edit := &manifest.Edit{OldestWAL: s.Next, LastSeq: s.LastSeq}\n	_ = f.env.FS.Remove(base.WALPath(f.env.Dir, s.Segment))\n"}}},
	{"a durable mark ahead of the sync", []edit{
		{"wal/writer.go", "uint64(at-w.durable))", "uint64(at-w.offset))"}}},
	{"an end mark before the sync of what it follows", []edit{
		{"wal/writer.go", "	err = w.Sync()\n	if err == nil {\n		err = w.writeEnd()", "	if err == nil {\n		err = w.writeEnd()"}}},
	{"a recovered WAL that names a predecessor which may be lost", []edit{
		{"internal/recovery/takeover.go", "NewSegment(wal.Previous{})", "NewSegment(o.lastReplayed())"},
		{"internal/recovery/takeover.go", "// remove removes", `func (o *Opening) lastReplayed() (p wal.Previous) {
	for _, s := range o.replay.segments {
		if !s.stray {
			p = wal.Previous{Segment: s.number, End: s.reader.End().Offset}
		}
	}
	return p
}

// remove removes`}}},
}

// noticed is a bug with the test that must notice it.
type noticed struct {
	plantedBug
	dir, test string
}

// plantedWithoutCrash are those that show while the machine goes on.
var plantedWithoutCrash = []noticed{
	{plantedBug{"a merge that empties the cache", []edit{
		{"stages/keeper.go", "	e.Succeed(runs, heirs).Fill(goOn)\n	left := e.Succeed(runs, heirs)\n", "	left := e.Succeed(nil, heirs)\n"}}}, "./internal/tests/cached", "TestMergesKeepTheCache"},
	{plantedBug{"what a merge replaced stays in the cache", []edit{
		{"stages/keeper.go", "			t.Handle.Retire()\n			list =", "			list ="}}}, "./internal/tests/cached", "TestMergesKeepTheCache"},
	{plantedBug{"what a failed merge wrote stays in the cache", []edit{
		{"internal/output/directory.go", "if err := a.Meta.Handle.Close(); err != nil {", "if err := error(nil); err != nil {"}}}, "./stages", "TestMergedTablesAreCachedBeforeTheyAreListed"},
	{plantedBug{"a merge that takes what others read out of the cache", []edit{
		{"sstable/cache.go", " || c.usedBytes+size > c.capacityBytes", ""}}}, "./sstable", "TestSuccessionTakesNothingElseOut"},
	{plantedBug{"a sync beside the Writer that fails unheard", []edit{
		{"wal/ahead.go", "	if p.err != nil && w.err == nil {", "	if false {"}}}, "./wal", "TestSyncAheadFails"},
	{plantedBug{"a sync that does not wait for the one beside it", []edit{
		{"wal/writer.go", "	if w.syncing { //", "	if false { //"}}}, "./wal", "TestSyncAhead"},
	{plantedBug{"a deleted table that a checkpoint has, too, is cut", []edit{
		{"internal/vfs/platform_unix.go", " || about.Nlink > 0", ""}}}, "./internal/vfs", "TestRemoveInSteps"},
	{plantedBug{"a bad record left in the MANIFEST by a full disk (rocksdb 6316)", []edit{
		{"wal/writer.go", `		w.err = fmt.Errorf("write to log %s at offset %d: %w", w.name, offset, err)
		return w.err
`, "		w.offset = offset + int64(len(chunks))\n		return err\n"}}}, "./manifest", "TestAppendFaults"},
	{plantedBug{"records of another life of the log believed (pebble 567)", []edit{
		{"wal/wal.go", "seed: base.ChecksumNumber(0, segment)", "seed: 0"}}}, "./wal", "TestBytesOfAnotherLife"},
	{plantedBug{"a snapshot taken before it is registered (leveldb 320)", []edit{
		{"stages/snapshots.go", "	r.mu.Lock()\n	defer r.mu.Unlock()\n	s.at = now()\n", "	s.at = now()\n	r.mu.Lock()\n	defer r.mu.Unlock()\n"}}}, "./stages", "TestSnapshotIsNumberedAndRegisteredAtOnce"},
	{plantedBug{"a compaction that does not know the snapshots (pebble 6085)", []edit{
		{"stages/compactor.go", "c.env.Directory, c.snapshots.Readers(", "c.env.Directory, new(Snapshots).Readers("}}}, "./stages", "TestSnapshotDuringAJob"},
	{plantedBug{"a database open in two processes (badger 424)", []edit{
		{"internal/vfs/lock.go", `pathError("lock", name, lock(file, shared))`, "nil"}}}, "./internal/tests/kill", "TestTwoProcesses"},
	{plantedBug{"a database open twice in one process (leveldb 126)", []edit{
		{"internal/vfs/lock.go", `pathError("lock", name, lock(file, shared))`, "nil"},
		{"internal/vfs/lock.go", "!(shared && other.shared)", "false"}}}, "./db", "TestLocked"},
	{plantedBug{"no limit of keys (pebble 1025)", []edit{
		{"internal/base/ops.go", "case keyBytes > MaxKeyBytes:", "case keyBytes > 100*MaxKeyBytes:"}}}, "./db", "TestKeyLimits"},
	{plantedBug{"lengths believed before they are checked (rocksdb 14993)", []edit{
		{"sstable/handle.go", "if e.length > maxPayloadBytes+blockTrailerBytes {", "if false {"}}}, "./sstable", "TestHugeClaimsAllocateNothing"},
	{plantedBug{"filters that are never loaded", []edit{
		{"sstable/table.go", "	case f == later && !found:\n", "	case false:\n"}}}, "./sstable", "TestFilterIsLoadedAfterASearchInVain"},
	{plantedBug{"heirs without the filters that were needed", []edit{
		{"sstable/succession.go", "if filtered && ", "if false && "}}}, "./sstable", "TestHeirsHaveTheirFilter"},
	{plantedBug{"a read-only open that writes (rocksdb 10433)", []edit{
		{"internal/recovery/open.go", "directory.FS.Lock(o.options.ReadOnly)", "directory.FS.Lock(false)"}}}, "./db", "TestReadOnly"},
	{plantedBug{"an error of close ignored (leveldb 1081)", []edit{
		{"sstable/writer.go", "	w.fail(\"close\", w.close())\n", "	_ = w.close()\n"}}}, "./sstable", "TestWriterReportsFailures"},
	{plantedBug{"memory used again while an iterator reads it (pebble 537)", []edit{
		{"internal/view/readers.go", "delete(unread, s.number)", "delete(unread, 0*s.number)"}}}, "./internal/view", "TestReadersKeepArenas"},
	{plantedBug{"an iterator that stays with a state which was replaced before it was listed", []edit{
		{"internal/view/holders.go", "return s == p.state.Load()", "return s != nil"}}}, "./internal/view", "TestNobodyStaysWithAReplacedState"},
	{plantedBug{"values shown that lie in memory which goes with the iterator", []edit{
		{"internal/view/values.go", "		return it.copied(value)\n", "		return value\n"}}}, "./db", "TestReadersWhileMemtablesComeBack"},
	{plantedBug{"memory used again while a get reads it", []edit{
		{"internal/view/readers.go", "!s.entered() && s.held.Load() == 0", "s.held.Load() == 0"}}}, "./internal/view", "TestReadersKeepArenas"},
	{plantedBug{"a put into a range whose keys readers skip, told to nobody", []edit{
		{"internal/view/gaps.go", "if !slices.ContainsFunc(list, filled)", "if true || !slices.ContainsFunc(list, filled)"}}}, "./internal/view", "TestGapsHideNothing"},
	{plantedBug{"a range that readers skip before it is proven", []edit{
		{"internal/view/gaps.go", "g.proven != 0 && at.Seq >= g.proven", "at.Seq >= g.proven"}}}, "./internal/view", "TestGapsHideNothing"},
	{plantedBug{"a range that a walk proves which does not see a put under way", []edit{
		{"internal/view/gaps.go", "base.Seq(p.announced.Load())+1", "base.Seq(p.visible.Load())+1"}}}, "./internal/view", "TestGapIsNotProvenBesideAPut"},
	{plantedBug{"leftovers removed that a power failure may list again", []edit{
		{"internal/recovery/takeover.go", "number < o.listed && kind", "false && kind"}}}, "./internal/tests/recovery", "TestPowerLostAfterKilledChange"},
	{plantedBug{"a table deleted while an iterator may come to it", []edit{
		{"internal/view/readers.go", "s.Version.Lists(t)", "false"}}}, "./stages", "TestSweeperWaitsForReaders"},
	{plantedBug{"a database closed twice (pebble 3589)", []edit{
		{"db/db.go", "	d.closeOnce.Do(func() {", "	func(f func()) { f() }(func() {"}}}, "./db", "TestCloseUnderLoad"},
	{plantedBug{"a sync that is acknowledged beside refused writes", []edit{
		{"stages/writer.go", "	case ctx.Err() != nil: // it", "	case false && ctx.Err() != nil: // it"},
		{"stages/writer.go", "	case shortage != nil && !base.IsShortage(shortage):", "	case false:"}}}, "./stages", "TestFailureRefusesTheWholeGroup"},
	{plantedBug{"a sync that does not look where the directory is", []edit{
		{"stages/segment.go", "	if err == nil {\n		err = w.env.CheckPlace()\n	}\n", ""}}}, "./internal/tests/faults", "TestDisplacedSweep"},
	{plantedBug{"a sync with nothing to sync that does not look either", []edit{
		{"stages/segment.go", "	if w.proven == w.log.Offset() {\n		return w.env.CheckPlace()", "	if w.proven == w.log.Offset() {\n		return nil"}}}, "./internal/tests/faults", "TestDisplacedSweep"},
	{plantedBug{"a flush of nothing that does not look either", []edit{
		{"stages/writer.go", "} else if err = w.env.CheckPlace(); err == nil {", "} else if err == nil {"}}}, "./internal/tests/faults", "TestDisplacedSweep"},
	{plantedBug{"a close that does not look where the directory is", []edit{
		{"stages/keeper.go", "err := k.env.CheckPlace() //", "err := error(nil) //"}}}, "./internal/tests/faults", "TestDisplacedSweep"},
	{plantedBug{"a log that is synced after it was removed", []edit{
		{"wal/writer.go", "displaced := w.file.Check();", "displaced := error(nil);"}}}, "./db", "TestDirectoryChanges"},
	{plantedBug{"a shortage of descriptors or memory taken for final", []edit{
		{"internal/vfs/vfs.go", "	case matchesAny(err, scarce):\n		return &base.ShortageError{Cause: err}\n", ""}}}, "./internal/tests/faults", "TestShortageSweep"},
	{plantedBug{"a shortage of quota taken for final", []edit{
		{"internal/vfs/platform_unix.go", "diskFull  = []error{syscall.ENOSPC, syscall.EDQUOT}", "diskFull  = []error{syscall.ENOSPC}"}}}, "./internal/tests/faults", "TestShortageSweep"},
	{plantedBug{"leftovers of takeovers swept only in the end", []edit{
		{"internal/recovery/takeover.go", "	o.sweepLeft()\n	for", "	for"}}}, "./internal/tests/recovery", "TestKilledTakeoversNeedNoMoreSpace"},
	{plantedBug{"a table closed while it is read", []edit{
		{"sstable/openfiles.go", "!spared && f.reads.CompareAndSwap(0, math.MinInt64)", "!spared && (f.reads.CompareAndSwap(0, math.MinInt64) || true)"}}}, "./sstable", "TestReadsKeepTheirPlace"},
	{plantedBug{"a batch that two goroutines use", []edit{
		{"db/batch.go", "if free := b.inUse.CompareAndSwap(false, true); !free", "if free := b.inUse.CompareAndSwap(false, true) || true; !free"}}}, "./db", "TestBatchInUseIsRefused"},
	{plantedBug{"operations logged that were changed on their way", []edit{
		{"stages/writer.go", "			err = c.check()\n", "			err = error(nil)\n"}}}, "./stages", "TestWhatWasChangedOnItsWayIsNotLogged"},
	{plantedBug{"a log closed while its next piece is prepared", []edit{
		{"wal/writer.go", "	w.closed = true\n	err := w.closeWindows()\n", "	w.closed = true\n	err := w.window.Close()\n"}}}, "./wal", "TestWhoChangesTheFileWaits"},
	{plantedBug{"a log extended while its next piece is prepared", []edit{
		{"wal/writer.go", "w.collect(true) && w.Room(payload)", "w.collect(false) && w.Room(payload)"}}}, "./wal", "TestWhoChangesTheFileWaits"},
	{plantedBug{"records erased by whoever touches memory before its use", []edit{
		{"internal/vfs/mapping.go", "atomic.OrUint32(", "atomic.StoreUint32("}}}, "./internal/vfs", "TestTouchChangesNothing"},
	{plantedBug{"no mark behind the last synced group", []edit{
		{"stages/writer.go", "if err := w.mark(); err != nil {", "if err := error(nil); err != nil {"}}}, "./stages", "TestMarkProvesTheLastSyncedGroup"},
}
