package wal

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"lsmdb/internal/base"
)

const formatPage = "../docs/format-wal.md"

// exampleLog writes the log that the format page shows.
func exampleLog(t *testing.T) []byte {
	f := &memoryFile{}
	w, err := NewWriter(f, testName, 7, Previous{Segment: 5, End: 1234})
	mustDo(t, err)
	header := base.GroupHeader{First: 41, Count: 2}.AppendTo(nil)
	mustDo(t, w.Append(header, base.AppendSet(nil, []byte("k1"), []byte("v")), base.AppendDelete(nil, []byte("k0"))))
	mustDo(t, w.Append(base.GroupHeader{First: 43, Count: 1}.AppendTo(nil), base.AppendSet(nil, nil, nil)))
	_, err = w.Finish()
	mustDo(t, err)
	return f.data
}

// pageExample collects the bytes of the page's hex block and checks the offset at
// the start of each line: "offset  bytes  what they are".
func pageExample(t *testing.T) []byte {
	page, err := os.ReadFile(formatPage)
	mustDo(t, err)
	_, block, found := strings.Cut(strings.ReplaceAll(string(page), "\r\n", "\n"), "```hex\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatalf("%s has no hex block", formatPage)
	}
	line := regexp.MustCompile(`^ ?([0-9]+)  ((?:[0-9a-f]{2} )+) *\S.*$`)
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
		mustDo(t, err)
		data = append(data, b...)
	}
	return data
}

func TestFormatPageExampleIsWhatIsWritten(t *testing.T) {
	page, written := pageExample(t), exampleLog(t)
	if !bytes.Equal(page, written) {
		t.Errorf("the page shows\n%swritten is\n%s", hex.Dump(page), hex.Dump(written))
	}
}

func TestFormatPageExampleReads(t *testing.T) {
	page := pageExample(t)
	o := readSegment(page, 7)
	if o.err != nil || len(o.records) != 2 || o.end != (End{Offset: int64(len(page)), Sealed: true}) {
		t.Fatalf("%d records, end %+v, error %v", len(o.records), o.end, o.err)
	}
	group, ops, err := base.DecodeGroup(o.records[0])
	mustDo(t, err)
	set, ops, err := base.DecodeOp(ops)
	mustDo(t, err)
	remove, ops, err := base.DecodeOp(ops)
	mustDo(t, err)
	if group.First != 41 || group.Count != 2 || len(ops) != 0 || string(set.Key)+"="+string(set.Value) != "k1=v" ||
		remove.Kind != base.KindDelete || string(remove.Key) != "k0" {
		t.Errorf("group %+v, %+v, %+v, then %x", group, set, remove, ops)
	}
	r, err := Open(&memoryFile{data: page}, testName, 7)
	mustDo(t, err)
	if r.Previous() != (Previous{Segment: 5, End: 1234}) {
		t.Errorf("previous %+v", r.Previous())
	}
}
