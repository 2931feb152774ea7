package crash

import (
	"strings"

	"lsmdb/db"
	"lsmdb/internal/vfstest"
)

// sweepKinds are the histories of the sweep. Together they come to every sync of the
// engine, which TestEverySyncIsNecessary checks.
var sweepKinds = []sweepKind{
	{name: "short life", keys: 12, valueBytes: 300, noSync: 40, run: func(s *scribe) {
		s.open()
		s.some(8)
		s.flush()
		s.some(6)
		s.flushMeanwhile(2)
		s.close()
		s.open()
		s.some(3)
		s.kill()
		s.some(3)
		s.close()
		s.open() // only to read
		s.close()
		s.open()
		s.some(2)
		s.compact()
		s.some(2)
	}},
	{name: "rotation", keys: 20, valueBytes: 3000, noSync: 50, run: func(s *scribe) {
		s.open()
		s.some(30)
		s.kill()
		s.some(12)
	}},
	{name: "rare syncs", keys: 20, valueBytes: 900, noSync: 97, run: func(s *scribe) {
		s.open()
		s.some(25)
		s.kill()
		s.some(25)
		s.close()
	}},
	{name: "compaction", keys: 16, valueBytes: 1600, noSync: 70, run: func(s *scribe) {
		s.open()
		for range 4 {
			s.some(6)
			s.flush()
		}
		s.compact()
		s.some(4)
		s.compact()
		s.kill()
		s.some(3)
		s.compact()
	}},
	{name: "many tables", keys: 14, valueBytes: 200, noSync: 90, run: func(s *scribe) {
		s.open()
		for range 10 {
			s.some(2)
			s.flush()
		}
		s.some(2)
		s.kill()
		s.some(2)
	}},
	{name: "long keys", keys: 9, keyBytes: 9000, valueBytes: 100, noSync: 30, run: func(s *scribe) {
		s.open()
		for range 9 {
			s.some(2)
			s.flushAndRest()
		}
		s.some(2)
		s.close()
		s.open()
		s.some(2)
	}},
	{name: "large batches", keys: 30, valueBytes: 5000, noSync: 50, run: func(s *scribe) {
		s.open()
		for range 5 {
			s.write(3+s.rng.IntN(20), s.durability())
		}
		if s.db.Metrics().Writes.Large == 0 {
			s.t.Errorf("%s: no batch was large enough to be prepared", s.name)
		}
		s.kill()
		s.write(10, db.NoSync)
		s.write(1, db.Sync)
	}},
	{name: "windows", windows: true, keys: 20, valueBytes: 700, noSync: 100, run: func(s *scribe) {
		s.open()
		for range 30 {
			s.write(1, db.NoSync)
		}
		s.write(1, db.Sync)
		for range 24 {
			s.write(1+s.rng.IntN(2), db.NoSync)
		}
		s.flush()
		for range 20 {
			s.write(1, db.NoSync)
		}
		s.close()
		s.open()
		s.write(2, db.NoSync)
	}},
	{name: "killed creation", keys: 5, valueBytes: 100, noSync: 50, run: func(s *scribe) {
		s.killBefore(vfstest.OpSyncDir, "")
		s.killIn(3 + s.rng.IntN(12))
		s.killIn(3 + s.rng.IntN(20))
		s.open()
		s.some(3)
		s.close()
	}},
	{name: "killed recovery", keys: 9, valueBytes: 2000, noSync: 60, run: func(s *scribe) {
		s.open()
		s.some(12)
		s.end()
		for range 3 {
			s.killIn(20 + s.rng.IntN(30))
		}
		s.open()
		s.some(4)
	}},
	{name: "killed before a sync", keys: 9, valueBytes: 900, noSync: 40, run: func(s *scribe) {
		s.open()
		s.some(6)
		s.killInFlush() // an edit of the MANIFEST that need not be there tomorrow
		s.killIn(12 + s.rng.IntN(40))
		s.open()
		s.some(4)
		s.flush()
		s.write(1, db.NoSync)
		s.end()
		s.killBefore(vfstest.OpSyncDir, vfstest.OpRename) // nor the name CURRENT
		s.killIn(12 + s.rng.IntN(40))
		s.open()
		s.some(4)
	}},
	{name: "failed WAL sync", keys: 9, valueBytes: 500, noSync: 50, run: func(s *scribe) {
		s.open()
		s.some(5)
		s.failSync(func(name string) bool { return strings.HasSuffix(name, ".wal") })
		for s.try(1, db.Sync) == nil && s.written < 30 {
		}
		s.afterFailure()
		s.some(3)
		s.close()
	}},
	{name: "failed MANIFEST sync", keys: 9, valueBytes: 500, noSync: 50, run: func(s *scribe) {
		s.open()
		s.some(5)
		s.flush()
		s.some(3)
		s.failSync(func(name string) bool { return strings.Contains(name, "MANIFEST") })
		if s.db.Flush(s.t.Context()) == nil { // there was nothing to flush
			_ = s.db.Compact(s.t.Context(), nil, nil)
		}
		s.afterFailure()
		s.some(3)
		s.close()
	}},
	{name: "vocabulary", whole: true, keys: 14, valueBytes: 500, noSync: 60, run: func(s *scribe) {
		s.open()
		for range 3 {
			s.some(7)
			s.flush()
			s.pass(2)
		}
		s.some(4)
		s.kill()
		s.some(3)
		s.compact()
		s.pass(5)
		s.some(5)
		s.compact()
		s.some(3)
		s.close()
	}},
	{name: "checkpoint", whole: true, keys: 9, valueBytes: 600, noSync: 60, run: func(s *scribe) {
		s.open()
		s.some(4)
		s.flush()
		s.some(3)
		s.checkpoint()
		s.some(3)
		s.close()
	}},
	{name: "load", whole: true, keys: 20, valueBytes: 900, noSync: 60, run: func(s *scribe) {
		s.open()
		s.load(12)
		s.some(5)
		s.load(8)
		s.some(2)
		s.kill()
		s.load(3)
		s.some(2)
		s.compact()
	}},
}
