//go:build unix

package formats

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// wholeCommits are a history of the whole vocabulary: range deletes, operands, values that
// end, large values and loads among puts and deletes. Some values have ended from the
// beginning, others end within the hour.
func wholeCommits() (rounds [][]fixture.Commit) {
	begin, n := fixture.Epoch.UnixNano(), 0
	key := func(i int) string { return fmt.Sprintf("user/%04d", i*7919%600) }
	for round := range 17 {
		var commits []fixture.Commit
		for i := round % 3; i < 600; i += 1 + round%5 {
			n++
			o := fixture.Operation{Key: key(i), Value: strings.Repeat(fmt.Sprintf("written as operation %d; ", n), n%6)}
			switch n % 13 {
			case 2, 7:
				o.Merge, o.Value = true, fmt.Sprint(n)
			case 4:
				o.Until = begin + int64(n%4-1)*int64(20*time.Minute)
			case 5:
				o = fixture.Operation{Key: o.Key, Delete: true}
			}
			commits = append(commits, fixture.Commit{o})
		}
		from := fmt.Sprintf("user/%04d", round*31%280)
		commits = append(commits, fixture.Commit{{Key: from, Value: from + "~", Range: true}, {Key: from, Value: "behind it"}, {Key: from, Value: "+", Merge: true}},
			fixture.Commit{{Key: "user/0150", Value: fmt.Sprintf("user/%04d", 151+round), Range: true}},
			fixture.Commit{{Key: "large", Value: strings.Repeat(fmt.Sprint(round), 3000)}, {Key: "deleted", Delete: true}})
		if round%5 == 2 {
			commits = append(commits, fixture.Commit{{Key: "loaded/1", Value: fmt.Sprint(round)}, {Key: fmt.Sprintf("loaded/2/%d", round)}, {Key: "user/0299", Value: "loaded"}}.Sorted())
		}
		rounds = append(rounds, commits)
	}
	last := len(rounds) - 1
	tail := fixture.Commit{{Key: "tail/1", Value: "x", Merge: true}, {Key: "tail/2", Until: begin + int64(time.Minute), Value: "a minute"}, {Key: "user/0290", Range: true, Value: "user/0295"}}
	rounds[last] = append(append(rounds[last][:min(30, len(rounds[last]))], rounds[last][len(rounds[last])-3:]...), tail)
	return rounds
}

// mustHoldAll checks that tables hold what is neither a put nor a delete.
func mustHoldAll(t *testing.T, dir string) {
	t.Helper()
	current, err := manifest.ReadCurrent(vfs.OS, dir)
	fixture.Must(t, err)
	state, _, err := manifest.Load(vfs.OS, dir, current.Manifest)
	fixture.Must(t, err)
	var ranges, merges, expiring uint64
	for _, tables := range state.Version.Levels {
		for _, meta := range tables {
			ranges, merges, expiring = ranges+meta.RangeDeletes, merges+meta.Merges, expiring+meta.Expiring
		}
	}
	if ranges == 0 || merges == 0 || expiring == 0 || state.Merger != fixture.MergerName {
		t.Errorf("the tables have %d range deletes, %d operands and %d values that end; the operator is %q", ranges, merges, expiring, state.Merger)
	}
}
