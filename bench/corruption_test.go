package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/bench/corruption"
)

// TestCorruption damages every engine a little. What becomes of the peers is theirs, but
// each mutant gets a verdict; lsmdb never loses anything silently.
func TestCorruption(t *testing.T) {
	t.Chdir(withResults(t))
	s := corruptionSettings{
		amounts: corruption.Amounts{Bits: 6, Cuts: 3, Blocks: 2}, jobs: 2,
		jsonPath: "c.json", results: "damage",
	}
	var text strings.Builder
	if err := corrupt(context.Background(), &text, s); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(resultsDir, "damage.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| lsmdb | closed | log |", "| pebble | killed | table |", "| bbolt |  | all |", "# Results: damage", "| date | 20"} {
		if !strings.Contains(string(table), want) {
			t.Errorf("%q is missing in\n%s", want, table)
		}
	}
	s.engines = []string{"nobody"}
	if err := corrupt(context.Background(), io.Discard, s); err == nil {
		t.Error("an unknown engine was taken")
	}
}

// TestCorruptionOfLsmdb holds lsmdb to its promise.
func TestCorruptionOfLsmdb(t *testing.T) {
	for _, killed := range []bool{false, true} {
		sweep := corruption.Sweep{
			Engine: "lsmdb", Killed: killed, Root: t.TempDir(), ChildName: corruptName,
			Amounts: corruption.Amounts{Bits: 40, Cuts: 20, Blocks: 5}, Progress: func(int, int) {},
		}
		rows, err := sweep.Run(context.Background())
		if err != nil || len(rows) != 4 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for _, row := range rows {
			fine := row.Verdicts[corruption.Detected] + row.Verdicts[corruption.Harmless]
			if killed && row.File == "log" {
				fine += row.Verdicts[corruption.LogEnd]
			}
			if row.Mutants < 50 || fine != row.Mutants || row.Verdicts[corruption.Detected] == 0 {
				t.Errorf("%+v", row)
			}
		}
	}
}
