package text

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"lsmdb/cmd/lsmdb/internal/exit"
)

// wide writes text in units of a width.
func wide(s string, width int, order binary.AppendByteOrder) string {
	var p []byte
	if width == 4 {
		for _, r := range s {
			p = order.AppendUint32(p, uint32(r))
		}
		return string(p)
	}
	for _, u := range utf16.Encode([]rune(s)) {
		p = order.AppendUint16(p, u)
	}
	return string(p)
}

// Other encodings are refused by name, with a mark and without, in both byte orders,
// whatever the format, and also where the input arrives in pieces.
func TestForeignEncodings(t *testing.T) {
	for _, lines := range []string{"apple\tred\r\nplum\tblue\r\n", "a\tb\n", "größe\t好好好\n", "好\tb\n", `{"key":"apple","value":"red"}`, "one column\n"} {
		for _, mark := range []string{"", "\ufeff"} {
			for _, width := range []int{2, 4} {
				for order, want := range map[binary.AppendByteOrder]string{binary.LittleEndian: "little endian", binary.BigEndian: "big endian"} {
					name := map[int]string{2: "UTF-16", 4: "UTF-32"}[width] + ", " + want
					in := wide(mark+lines, width, order)
					for _, format := range []Format{"", TSV, JSONLines} {
						entries, err := readAll(NewReader(iotest.OneByteReader(strings.NewReader(in)), format))
						if f := exit.Explain(err); len(entries) > 0 || !errors.Is(err, ErrForeign) || !strings.Contains(f.Sentence, name) || !strings.Contains(f.Hint, "iconv") {
							t.Errorf("%q as %s, mark %q, format %q: %q, %v", lines, name, mark, format, entries, err)
						}
					}
				}
			}
		}
	}
	for start, word := range map[string]string{"\x1f\x8b\x08\x00": "gzip", "\x28\xb5\x2f\xfd\x00": "zstd", "PK\x03\x04\x00": "zip archive"} {
		if _, err := readAll(NewReader(strings.NewReader(start), "")); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %v", start, err)
		}
	}
}

// Tab-separated text may hold any bytes as they are: zeros alone make no UTF-16.
func TestZerosAreNoEncoding(t *testing.T) {
	for _, in := range []string{"\x00\x01\x00\x02\tvalue\n", "k\t\x00\x00\x00\x01\n", "key\t\x00v\x00\n", "\x00\tb\n", "a\x00\tb\n", "\x00\x00\x00\x00\t\x00\x00\x00\n"} {
		if entries, err := readAll(NewReader(strings.NewReader(in), TSV)); err != nil || len(entries) != 1 {
			t.Errorf("%q: %q, %v", in, entries, err)
		}
	}
}

// Where answers are awaited, nothing is waited for but the first byte.
func TestSkipMarkIsNotGreedy(t *testing.T) {
	for _, first := range []string{"x", "\n", "\ufeffx"} {
		reader, writer := io.Pipe()
		go writer.Write([]byte(first)) // and nothing more, for as long as the test lasts
		from := bufio.NewReader(reader)
		if err := SkipMark(from, 1); err != nil {
			t.Fatal(err)
		}
		if b, err := from.ReadByte(); err != nil || string(b) != first[len(first)-1:] {
			t.Errorf("%q: %q, %v", first, b, err)
		}
		writer.Close()
	}
}

// A mark that arrives in pieces is one all the same.
func TestSkipMarkInPieces(t *testing.T) {
	from := bufio.NewReader(iotest.OneByteReader(strings.NewReader("\ufeffput a 1")))
	if err := SkipMark(from, 1); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(from); err != nil || string(rest) != "put a 1" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := SkipMark(bufio.NewReader(iotest.OneByteReader(strings.NewReader("\xff\xfeg\x00"))), 1); !errors.Is(err, ErrForeign) {
		t.Errorf("UTF-16: %v", err)
	}
}
