package text

import (
	"bufio"
	"bytes"
	"errors"

	"lsmdb/cmd/lsmdb/internal/exit"
)

// byteOrderMark stands in front of UTF-8 that Windows programs write. It is no part of
// the text.
const byteOrderMark = "\ufeff"

// lookBytes is how much of an input tells what it is.
const lookBytes = 512

// foreign are the first bytes of inputs that are no UTF-8, longer ones first.
var foreign = []struct{ start, name, advice string }{
	{"\xff\xfe\x00\x00", "UTF-32, little endian", "iconv -f UTF-32LE -t UTF-8"},
	{"\x00\x00\xfe\xff", "UTF-32, big endian", "iconv -f UTF-32BE -t UTF-8"},
	{"\xff\xfe", "UTF-16, little endian", "iconv -f UTF-16LE -t UTF-8"},
	{"\xfe\xff", "UTF-16, big endian", "iconv -f UTF-16BE -t UTF-8"},
	{"\x1f\x8b\x08", "compressed with gzip", "gzip -dc"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd -dc"},
	{"PK\x03\x04", "a zip archive, as spreadsheets are", "unzip -p"},
}

// ErrForeign is the cause of the error for an input of another encoding.
var ErrForeign = errors.New("not UTF-8 text")

// SkipMark skips a byte order mark in front of UTF-8, and refuses what is another
// encoding; nothing of that is consumed. It waits for so many bytes of the input, and
// looks at what else is there already.
func SkipMark(from *bufio.Reader, wait int) error {
	head, _ := from.Peek(wait) // an error comes again when the lines are read
	if len(head) > 0 && (head[0] == 0 || head[0] >= byteOrderMark[0]) {
		from.Peek(4) // may be a mark
	}
	head, _ = from.Peek(min(from.Buffered(), lookBytes))
	if bytes.HasPrefix(head, []byte(byteOrderMark)) {
		from.Discard(len(byteOrderMark))
		return nil
	}
	start := string(head)
	if width, bigEndian := wideUnits(head); width > 0 { // say what a mark would say
		start = map[bool]string{true: "\xfe\xff", false: "\xff\xfe"}[bigEndian]
		if width == 4 {
			start = map[bool]string{true: "\x00\x00\xfe\xff", false: "\xff\xfe\x00\x00"}[bigEndian]
		}
	}
	for _, f := range foreign {
		if len(start) >= len(f.start) && start[:len(f.start)] == f.start {
			return &exit.Error{Code: exit.Failed, Sentence: "the input is " + f.name + "; UTF-8 text is expected", Cause: ErrForeign,
				Hint: "convert it on the way, for instance: " + f.advice + " FILE | lsmdb ..."}
		}
	}
	return nil
}

// wideUnits recognises UTF-32 and UTF-16 without a mark: characters that every entry
// has, a tab, a quote or a line feed, stand there with zeros. It returns the width of a
// unit; 0 for other text, also for such that holds zeros here and there.
func wideUnits(head []byte) (width int, bigEndian bool) {
	for _, width := range []int{4, 2} {
		for _, bigEndian := range []bool{false, true} {
			if isWide(head, width, bigEndian) {
				return width, bigEndian
			}
		}
	}
	return 0, false
}

// isWide reports whether text reads as units of a width. In UTF-32 the first byte of
// every unit is zero. In UTF-16 that of more than half of them is, and no second one.
func isWide(head []byte, width int, bigEndian bool) bool {
	units, wide, separators := len(head)/width, 0, 0
	for n := range units {
		unit := bytes.Clone(head[n*width : (n+1)*width])
		if !bigEndian {
			for i, j := 0, width-1; i < j; i, j = i+1, j-1 {
				unit[i], unit[j] = unit[j], unit[i]
			}
		}
		last := unit[width-1]
		switch zeros := len(unit) - len(bytes.TrimLeft(unit, "\x00")); {
		case zeros == width, width == 2 && last == 0, width == 4 && (zeros == 0 || unit[1] > 0x10):
			return false
		case zeros == width-1:
			wide++
			if bytes.IndexByte([]byte("\t\n\"{"), last) >= 0 {
				separators++
			}
		}
	}
	return separators > 0 && wide >= 2 && 2*wide > units
}
