package workload

import (
	"os"
	"testing"
)

func TestDatabasesOfSmallRunsAreFew(t *testing.T) {
	for entries, want := range map[int64]int{500: 2, 5000: 5, 200_000: 200, 3_000_000: 500} {
		if got := (Act{Databases: idleDatabases}).databases(Scale{Entries: entries}); got != want {
			t.Errorf("%d entries: %d databases, want %d", entries, got, want)
		}
	}
	if got := (Act{}).databases(smallest); got != 0 {
		t.Errorf("%d databases where there is one", got)
	}
	share := EngineOptions(Act{Databases: busyDatabases}, Scale{Entries: 1_000_000}, "").CacheBytes
	if share*busyDatabases != cacheBytes {
		t.Errorf("each has a cache of %d bytes", share)
	}
}

// TestEveryDatabaseTellsWhatItCosts counts directories, too: each entry has one.
func TestEveryDatabaseTellsWhatItCosts(t *testing.T) {
	results := resultsOf(t, "lsmdb", "databases-idle", 4000)
	if len(results) != 1 || results[0].Operations != 4 || results[0].Extra[DiskEach] <= 0 {
		t.Fatalf("results: %+v", results)
	}
	for _, r := range resultsOf(t, "pebble", "databases-busy", 4000) {
		if _, told := r.Extra[Collector]; !told {
			t.Errorf("results: %+v", r)
		}
	}
}

// TestKeysAreSpreadOverDatabases finds some of the load in each.
func TestKeysAreSpreadOverDatabases(t *testing.T) {
	dir := t.TempDir()
	q := Request{Engine: "goleveldb", Section: "databases-busy", Dir: dir, Scale: smallest}
	if err := RunAct(q, func(Event) {}); err != nil {
		t.Fatal(err)
	}
	directories, err := os.ReadDir(dir)
	if err != nil || len(directories) != 5 {
		t.Fatalf("%d directories, %v", len(directories), err)
	}
}
