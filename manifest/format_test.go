package manifest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"lsmdb/internal/base"
	"lsmdb/sstable"
)

// page is the documentation of the formats, whose worked examples are the golden
// files of these tests.
const page = "../docs/format-manifest.md"

// example returns the bytes of the block that starts with "```hex name".
func example(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n```hex "+name+"\n")
	block, _, closed := strings.Cut(after, "\n```\n")
	if !found || !closed {
		t.Fatalf("%s has no example %q", page, name)
	}
	var all []byte
	for line := range strings.Lines(block) {
		digits, _, _ := strings.Cut(line, "|")
		p, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatalf("%s, example %q: %q: %v", page, name, line, err)
		}
		all = append(all, p...)
	}
	return all
}

func TestPageEdit(t *testing.T) {
	want := &Edit{
		NextFile: 9, LastSeq: 42, OldestWAL: 7,
		Removed: []RemovedTable{{0, 5}},
		Added: []AddedTable{{1, &TableMeta{Number: 8, Summary: sstable.Summary{
			SizeBytes: 1500, Identity: 0x1122334455667788,
			Smallest:    base.MakeInternalKey([]byte("ape"), 41, base.KindSet),
			Largest:     base.MakeInternalKey([]byte("bee"), 7, base.KindDelete),
			SmallestSeq: 7, LargestSeq: 41, Entries: 3, Deletes: 1, Shadowed: 1,
		}}}},
	}
	extended := &Edit{
		LastSeq: 50, Now: 5e9, Merger: "sum",
		Added: []AddedTable{{0, &TableMeta{Number: 9, Summary: sstable.Summary{
			SizeBytes: 1200, Identity: 0x1122334455667788,
			Smallest:    base.MakeInternalKey([]byte("ape"), 43, base.KindMerge),
			Largest:     base.MakeInternalKey([]byte("cow"), base.MaxSeq, base.KindRangeDelete),
			SmallestSeq: 43, LargestSeq: 50, Entries: 2, RangeDeletes: 1, Merges: 1,
			Expiring: 1, EarliestExpiry: 6e9, LatestExpiry: 6e9, HalfExpiry: 6e9,
		}}}},
	}
	loaded := &Edit{LastSeq: 51, Loaded: []Loaded{{51, []byte("ape"), []byte("bee")}}}
	for name, want := range map[string]*Edit{"edit": want, "extended": extended, "loaded": loaded} {
		encoded := example(t, name)
		got, err := DecodeEdit(encoded)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decoded %s, %v", got, err)
		}
		if again := want.AppendTo(nil); !bytes.Equal(again, encoded) {
			t.Errorf("encoded % x", again)
		}
	}
}

func TestPageManifest(t *testing.T) {
	contents := example(t, "manifest")
	mem := newDir(t)
	put(t, mem, base.ManifestName(1), contents)
	state, facts, err := Load(mem, testDir, 1)
	if err != nil || state.DatabaseID != 0xd1ce || state.NextFile != 2 || !facts.End.Sealed || facts.End.Offset != int64(len(contents)) {
		t.Fatalf("loaded %+v, %+v, %v", state, facts, err)
	}
	other := newDir(t)
	log, err := CreateLog(other, testDir, 1, state)
	if err == nil {
		_, err = log.Finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, other, base.ManifestName(1)); !bytes.Equal(got, contents) {
		t.Errorf("written % x", got)
	}
}

func TestPageCurrent(t *testing.T) {
	want := Current{Manifest: 12, Clean: &CleanMark{ManifestEnd: 4242, WAL: 14, WALEnd: 8192}}
	text := example(t, "current")
	got, err := DecodeCurrent(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %+v, %v", got, err)
	}
	if again := want.Encode(); !bytes.Equal(again, text) {
		t.Errorf("encoded %q", again)
	}
	// The comments of the example say what the bytes spell.
	file, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(string(file), "| "+line) {
			t.Errorf("the page does not spell out %q", line)
		}
	}
}

// TestPageListsTags: every tag has its row, and nothing else has one.
func TestPageListsTags(t *testing.T) {
	file, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for tag, name := range []string{1: "database id", 2: "next file number", 3: "last sequence number", 4: "oldest WAL needed", 5: "table removed", 6: "table added", 7: "table added, extended", 8: "now", 9: "merge operator", 10: "load"} {
		row := fmt.Sprintf("| %d | %s |", tag, name)
		if strings.Contains(string(file), row) != (tag > 0) {
			t.Errorf("row %q", row)
		}
	}
	if strings.Contains(string(file), "\n| 11 | ") {
		t.Error("the page has a row for tag 11, which does not exist")
	}
}
