package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"lsmdb/internal/base"
)

// recordFormat is one of the two line formats that load reads and dump writes.
// Both hold one entry per line and carry every byte.
type recordFormat string

const (
	formatJSONLines recordFormat = "jsonl"
	formatTSV       recordFormat = "tsv"
)

// formatHelp documents the formats; load and dump both show it.
const formatHelp = `Formats, one entry per line (empty lines are skipped):

  jsonl  {"key":"fruit/apple","value":"red"}
         {"key_base64":"AP8=","value_base64":"3q2+7w=="}
         Every line has exactly one of key and key_base64 and exactly one of
         value and value_base64. The plain fields are text (UTF-8), the base64
         fields carry any bytes; dump uses them where text would not do.

  tsv    fruit/apple<TAB>red
         Exactly one tab. Both sides may use the escapes \\ \t \n \r and \xHH
         (two hexadecimal digits), all other bytes stand for themselves. A
         carriage return before the line feed is ignored.`

// formatOfName guesses the format from a file's name; "" when it says nothing.
func formatOfName(name string) recordFormat {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson", ".json":
		return formatJSONLines
	case ".tsv", ".tab", ".txt":
		return formatTSV
	}
	return ""
}

// checkFormat validates the value of --format.
func checkFormat(f string) (recordFormat, error) {
	switch format := recordFormat(f); format {
	case "", formatJSONLines, formatTSV:
		return format, nil
	}
	return "", usagef("unknown format %q: jsonl or tsv", f)
}

// maxLineBytes bounds what a line may occupy: the longest value and key with
// every byte escaped.
const maxLineBytes = 4*(base.MaxValueBytes+base.MaxKeyBytes) + 1024

// recordReader reads entries from lines of either format.
type recordReader struct {
	from      *bufio.Reader
	format    recordFormat // "" until the first byte decides
	line      int64        // number of the line read last; the first is 1
	readBytes int64
	long      []byte // a line that did not fit into from's buffer
}

func newRecordReader(from io.Reader, format recordFormat) *recordReader {
	return &recordReader{from: bufio.NewReaderSize(from, 256<<10), format: format}
}

// malformedLine is an error in the input, with the number of its line.
type malformedLine struct {
	line   int64
	reason error
}

func (e *malformedLine) Error() string { return fmt.Sprintf("line %d: %s", e.line, plain(e.reason)) }
func (e *malformedLine) Unwrap() error { return e.reason }

// next returns the next entry; its bytes are valid until the following call. At
// the end of the input the error is io.EOF; for a line that is no entry it is a
// *malformedLine.
func (r *recordReader) next() (key, value []byte, err error) {
	for {
		line, err := r.nextLine()
		if err != nil {
			return nil, nil, err
		}
		if len(bytes.TrimRight(line, " \r")) == 0 {
			continue
		}
		if r.format == "" {
			r.format = guessFormat(line)
		}
		if r.format == formatTSV {
			key, value, err = parseTSV(line)
		} else {
			key, value, err = parseJSONLine(line)
		}
		if err != nil {
			return nil, nil, &malformedLine{r.line, err}
		}
		return key, value, nil
	}
}

// guessFormat looks at the first line: an entry in JSON starts with a brace.
// What dump writes as TSV never does.
func guessFormat(line []byte) recordFormat {
	if bytes.HasPrefix(bytes.TrimLeft(line, " "), []byte("{")) {
		return formatJSONLines
	}
	return formatTSV
}

// nextLine returns a line without its line feed. The last line may lack one.
func (r *recordReader) nextLine() ([]byte, error) {
	r.long = r.long[:0]
	for {
		piece, err := r.from.ReadSlice('\n')
		r.readBytes += int64(len(piece))
		switch {
		case err == nil && len(r.long) == 0:
			r.line++
			return piece[:len(piece)-1], nil
		case len(r.long)+len(piece) > maxLineBytes:
			return nil, &malformedLine{r.line + 1, errors.New("longer than the longest key and value can be")}
		}
		r.long = append(r.long, piece...)
		switch {
		case err == nil:
			r.line++
			return r.long[:len(r.long)-1], nil
		case err == io.EOF && len(r.long) > 0:
			r.line++
			return r.long, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}

// recordWriter writes entries as lines of either format.
type recordWriter struct {
	to     *bufio.Writer
	format recordFormat
	line   []byte
}

func newRecordWriter(to io.Writer, format recordFormat) *recordWriter {
	return &recordWriter{to: bufio.NewWriterSize(to, 256<<10), format: format}
}

func (w *recordWriter) write(key, value []byte) error {
	if w.format == formatTSV {
		w.line = appendTSV(w.line[:0], key, value)
	} else {
		w.line = appendJSONLine(w.line[:0], key, value)
	}
	_, err := w.to.Write(w.line)
	return err
}

func (w *recordWriter) flush() error { return w.to.Flush() }
