package checkpoint

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"lsmdb/internal/output"
	"lsmdb/internal/vfstest"
	"lsmdb/manifest"
)

const formatPage = "../../docs/format-checkpoint.md"

// exampleStream writes the stream that the format page shows.
func exampleStream(t *testing.T) []byte {
	t.Helper()
	f, err := New(&output.Directory{}, manifest.State{DatabaseID: 0x1122334455667788, Version: &manifest.Version{}, LastSeq: 43})
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if _, err := f.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	return stream.Bytes()
}

// pageExample collects the bytes of the page's hex block and checks the offset at
// the start of each line: "offset  bytes  what they are".
func pageExample(t *testing.T) []byte {
	t.Helper()
	page, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(strings.ReplaceAll(string(page), "\r\n", "\n"), "```hex\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatalf("%s has no hex block", formatPage)
	}
	line := regexp.MustCompile(`^ *([0-9]+)  ((?:[0-9a-f]{2} )+) *\S.*$`)
	var data []byte
	for l := range strings.Lines(block) {
		field := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if field == nil {
			t.Fatalf("malformed line in the example: %q", l)
		}
		if offset, err := strconv.Atoi(field[1]); err != nil || offset != len(data) {
			t.Errorf("line %q stands at offset %d", l, len(data))
		}
		b, err := hex.DecodeString(strings.ReplaceAll(field[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, b...)
	}
	return data
}

// TestFormatPage: what the page shows is what is written, and can be restored.
func TestFormatPage(t *testing.T) {
	page, written := pageExample(t), exampleStream(t)
	if !bytes.Equal(page, written) {
		t.Errorf("the page shows\n%swritten is\n%s", hex.Dump(page), hex.Dump(written))
	}
	disk := vfstest.NewDisk()
	if err := Restore(t.Context(), bytes.NewReader(page), disk, "/db"); err != nil {
		t.Fatal(err)
	}
	current, err := manifest.ReadCurrent(disk, "/db")
	if err != nil {
		t.Fatal(err)
	}
	state, _, err := manifest.Load(disk, "/db", current.Manifest)
	if err != nil || state.DatabaseID != 0x1122334455667788 || state.LastSeq != 43 {
		t.Errorf("restored: %+v, %v", state, err)
	}
}

// TestLaterTable: a tree that holds what was written behind the instant is no checkpoint.
func TestLaterTable(t *testing.T) {
	table := &manifest.TableMeta{Number: 3}
	table.LargestSeq = 44
	v := &manifest.Version{}
	v.Levels[1] = []*manifest.TableMeta{table}
	if _, err := New(&output.Directory{}, manifest.State{Version: v, LastSeq: 43}); err == nil || !strings.HasPrefix(err.Error(), "invariant: ") {
		t.Errorf("%v", err)
	}
}
