package text

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// The lines of both formats; the counterpart of AppendJSONLine, parseJSONLine,
// has a file of its own.

// AppendTSV appends an entry as a line. A brace that would open the line, behind spaces or
// not, is escaped, so that guessFormat never takes the line for JSON.
func AppendTSV(dst []byte, e Entry) []byte {
	if rest := bytes.TrimLeft(e.Key, " "); len(rest) > 0 && rest[0] == '{' {
		dst = append(append(dst, e.Key[:len(e.Key)-len(rest)]...), `\x7b`...)
		e.Key = rest[1:]
	}
	dst = append(AppendEscaped(dst, e.Key), '\t')
	dst = AppendEscaped(dst, e.Value)
	if !e.Until.IsZero() {
		dst = append(append(dst, '\t'), FormatUntil(e.Until)...)
	}
	return append(dst, '\n')
}

// parseTSV reverses AppendTSV. The line has no line feed.
func parseTSV(line []byte) (e Entry, err error) {
	columns := bytes.SplitN(bytes.TrimSuffix(line, []byte("\r")), []byte("\t"), 4)
	switch len(columns) {
	case 1:
		return e, errors.New("no tab; KEY<TAB>VALUE is expected")
	case 2:
	case 3:
		if e.Until, err = parseUntil(columns[2]); err != nil {
			return e, fmt.Errorf("3 columns, and the third, %w; %s", err, columnsWanted)
		}
	default:
		return e, fmt.Errorf("%d columns; %s", bytes.Count(line, []byte("\t"))+1, columnsWanted)
	}
	if e.Key, err = parseEscaped(columns[0]); err != nil {
		return e, fmt.Errorf("key: %w", err)
	}
	if e.Value, err = parseEscaped(columns[1]); err != nil {
		return e, fmt.Errorf("value: %w", err)
	}
	return e, nil
}

const columnsWanted = "KEY<TAB>VALUE is expected, or KEY<TAB>VALUE<TAB>UNTIL (a tab inside a key or value is written \\t)"

// AppendJSONLine appends an entry as a line.
func AppendJSONLine(dst []byte, e Entry) []byte {
	dst = AppendJSONField(append(dst, '{'), "key", e.Key)
	dst = AppendJSONField(append(dst, ','), "value", e.Value)
	return append(AppendJSONUntil(dst, e.Until), "}\n"...)
}

// AppendJSONUntil appends the field for the end of a value, if it ends.
func AppendJSONUntil(dst []byte, until time.Time) []byte {
	if until.IsZero() {
		return dst
	}
	return append(append(append(dst, `,"until":"`...), FormatUntil(until)...), '"')
}

// AppendJSONField appends "name":"text" where p is text, and "name_base64":"..."
// otherwise.
func AppendJSONField(dst []byte, name string, p []byte) []byte {
	dst = append(append(dst, '"'), name...)
	if isText(p) {
		return appendJSONString(append(dst, `":`...), p)
	}
	dst = base64.StdEncoding.AppendEncode(append(dst, `_base64":"`...), p)
	return append(dst, '"')
}

// isText reports whether p is UTF-8 without control characters but tab, line
// feed and carriage return.
func isText(p []byte) bool {
	for _, b := range p {
		if b < ' ' && b != '\t' && b != '\n' && b != '\r' {
			return false
		}
	}
	return utf8.Valid(p)
}

// appendJSONString appends text, for which isText holds, as a JSON string.
func appendJSONString(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, b := range text {
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\t':
			dst = append(dst, `\t`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, '"')
}

// JSONFields adds bytes to an object in the form that load uses.
func JSONFields(object map[string]any, name string, p []byte) {
	field := AppendJSONField(nil, name, p)
	var decoded map[string]any
	if err := json.Unmarshal(append(append([]byte{'{'}, field...), '}'), &decoded); err != nil {
		panic("invariant: appendJSONField writes JSON: " + err.Error())
	}
	for k, v := range decoded {
		object[k] = v
	}
}
