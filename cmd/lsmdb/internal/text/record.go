package text

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/internal/base"
)

// Format is one of the two line formats that load reads and dump writes.
// Both hold one entry per line and carry every byte.
type Format string

// The formats.
const (
	JSONLines Format = "jsonl"
	TSV       Format = "tsv"
)

// FormatHelp documents the formats; load and dump both show it.
const FormatHelp = `Formats, one entry per line (empty lines are skipped):

  jsonl  {"key":"fruit/apple","value":"red"}
         {"key_base64":"AP8=","value_base64":"3q2+7w=="}
         Every line has exactly one of key and key_base64 and exactly one of
         value and value_base64. The plain fields are text (UTF-8), the base64
         fields carry any bytes; dump uses them where text would not do. A value
         that ends has "until":"2030-12-31T18:00:00Z" too.

  tsv    fruit/apple<TAB>red
         One tab, or a second one and when the value ends: 2030-12-31T18:00:00Z.
         Keys and values may use the escapes \\ \t \n \r and \xHH (two
         hexadecimal digits), all other bytes stand for themselves.

In both, a carriage return before the line feed and a byte order mark at the
start are ignored. The encoding is UTF-8; UTF-16 and UTF-32 are refused.`

// FormatOfName guesses the format from a file's name; "" when it says nothing.
func FormatOfName(name string) Format {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson", ".json":
		return JSONLines
	case ".tsv", ".tab", ".txt":
		return TSV
	}
	return ""
}

// CheckFormat validates the value of --format.
func CheckFormat(f string) (Format, error) {
	switch format := Format(f); format {
	case "", JSONLines, TSV:
		return format, nil
	}
	return "", exit.Usagef("unknown format %q: jsonl or tsv", f)
}

// maxLineBytes bounds what a line may occupy: the longest value and key with
// every byte escaped.
const maxLineBytes = 4*(base.MaxValueBytes+base.MaxKeyBytes) + 1024

// Reader reads entries from lines of either format.
type Reader struct {
	from      *bufio.Reader
	format    Format // "" until the first byte decides
	begun     bool
	Line      int64 // number of the line read last; the first is 1
	ReadBytes int64
	long      []byte // a line that did not fit into from's buffer
}

// NewReader returns a reader of lines in a format; with "" the first line decides.
func NewReader(from io.Reader, format Format) *Reader {
	return &Reader{from: bufio.NewReaderSize(from, 256<<10), format: format}
}

// MalformedLine is an error in the input, with the number of its line.
type MalformedLine struct {
	Line   int64
	reason error
}

func (e *MalformedLine) Error() string {
	return fmt.Sprintf("line %d: %s", e.Line, exit.Plain(e.reason))
}
func (e *MalformedLine) Unwrap() error { return e.reason }

// errMark is for files that were joined: a mark that is skipped in front would end up in
// a key here.
var errMark = errors.New(`a byte order mark in front of the line; remove it, or write \xef\xbb\xbf in tab-separated text if it belongs to the key`)

// Malformed is the error for the line read last.
func (r *Reader) Malformed(reason error) error { return &MalformedLine{r.Line, reason} }

// Next returns the next entry; its bytes are valid until the following call. At
// the end of the input the error is io.EOF; for a line that is no entry it is a
// *MalformedLine.
func (r *Reader) Next() (e Entry, err error) {
	if !r.begun {
		r.begun = true
		if err := SkipMark(r.from, lookBytes); err != nil {
			return e, err
		}
	}
	for {
		line, err := r.nextLine()
		if err != nil {
			return e, err
		}
		if len(bytes.TrimRight(line, " \r")) == 0 {
			continue
		}
		if r.format == "" {
			r.format = guessFormat(line)
		}
		if bytes.HasPrefix(line, []byte(byteOrderMark)) {
			return e, r.Malformed(errMark)
		}
		if r.format == TSV {
			e, err = parseTSV(line)
		} else {
			e, err = parseJSONLine(line)
		}
		if err != nil {
			err = r.Malformed(err)
		}
		return e, err
	}
}

// guessFormat looks at the first line: an entry in JSON starts with a brace.
// What dump writes as TSV never does.
func guessFormat(line []byte) Format {
	if bytes.HasPrefix(bytes.TrimLeft(line, " "), []byte("{")) {
		return JSONLines
	}
	return TSV
}

// nextLine returns a line without its line feed. The last line may lack one.
func (r *Reader) nextLine() ([]byte, error) {
	r.long = r.long[:0]
	for {
		piece, err := r.from.ReadSlice('\n')
		r.ReadBytes += int64(len(piece))
		switch {
		case err == nil && len(r.long) == 0:
			r.Line++
			return piece[:len(piece)-1], nil
		case len(r.long)+len(piece) > maxLineBytes:
			return nil, &MalformedLine{r.Line + 1, errors.New("longer than the longest key and value can be")}
		}
		r.long = append(r.long, piece...)
		switch {
		case err == nil:
			r.Line++
			return r.long[:len(r.long)-1], nil
		case err == io.EOF && len(r.long) > 0:
			r.Line++
			return r.long, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}

// Writer writes entries as lines of either format.
type Writer struct {
	to     *bufio.Writer
	format Format
	line   []byte
}

// NewWriter returns a writer of lines in a format.
func NewWriter(to io.Writer, format Format) *Writer {
	return &Writer{to: bufio.NewWriterSize(to, 256<<10), format: format}
}

// Write writes an entry.
func (w *Writer) Write(e Entry) error {
	if w.format == TSV {
		w.line = AppendTSV(w.line[:0], e)
	} else {
		w.line = AppendJSONLine(w.line[:0], e)
	}
	_, err := w.to.Write(w.line)
	return err
}

// Flush passes on what is buffered.
func (w *Writer) Flush() error { return w.to.Flush() }
