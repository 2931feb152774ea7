package base

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The operations that the page on the log's format shows are what is written and read.
func TestPageOfOperations(t *testing.T) {
	page, err := os.ReadFile("../../docs/format-wal.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(strings.ReplaceAll(string(page), "\r\n", "\n"), "```hex operations\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("the page has no operations")
	}
	line := regexp.MustCompile(`^ ?([0-9]+)  ((?:[0-9a-f]{2} )+) *\S.*$`)
	var shown []byte
	for l := range strings.Lines(block) {
		field := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if field == nil {
			t.Fatalf("malformed line %q", l)
		}
		if offset, err := strconv.Atoi(field[1]); err != nil || offset != len(shown) {
			t.Errorf("line %q stands at offset %d", l, len(shown))
		}
		p, err := hex.DecodeString(strings.ReplaceAll(field[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, p...)
	}
	written := AppendOp(AppendOp(nil, KindRangeDelete, []byte("a"), []byte("c"), 0), KindRangeDelete, []byte("x"), nil, 0)
	written = AppendOp(AppendOp(written, KindMerge, []byte("n"), []byte("+1"), 0), KindSetExpiring, []byte("s"), []byte("on"), 6e9)
	if !bytes.Equal(shown, written) {
		t.Errorf("the page shows\n%swritten is\n%s", hex.Dump(shown), hex.Dump(written))
	}
	var kinds []Kind
	for rest := shown; len(rest) > 0; {
		op, next, err := DecodeOp(rest)
		if err != nil {
			t.Fatal(err)
		}
		kinds, rest = append(kinds, op.Kind), next
	}
	if want := []Kind{KindRangeDelete, KindRangeDelete, KindMerge, KindSetExpiring}; !slices.Equal(kinds, want) {
		t.Errorf("read: %v", kinds)
	}
}
