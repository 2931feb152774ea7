package text

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The lines of both formats; the counterpart of AppendJSONLine, parseJSONLine,
// has a file of its own.

// AppendTSV appends an entry as a line. A brace that would open the line is
// escaped, so that guessFormat never takes the line for JSON.
func AppendTSV(dst, key, value []byte) []byte {
	if len(key) > 0 && key[0] == '{' {
		dst, key = append(dst, `\x7b`...), key[1:]
	}
	dst = append(AppendEscaped(dst, key), '\t')
	return append(AppendEscaped(dst, value), '\n')
}

// parseTSV reverses AppendTSV. The line has no line feed.
func parseTSV(line []byte) (key, value []byte, err error) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	left, right, found := bytes.Cut(line, []byte("\t"))
	if !found {
		return nil, nil, errors.New("no tab; KEY<TAB>VALUE is expected")
	}
	if more := bytes.Count(right, []byte("\t")); more > 0 {
		return nil, nil, fmt.Errorf("%d columns; KEY<TAB>VALUE is expected, with one tab (a tab inside a key or value is written \\t)", more+2)
	}
	if key, err = parseEscaped(left); err != nil {
		return nil, nil, fmt.Errorf("key: %w", err)
	}
	if value, err = parseEscaped(right); err != nil {
		return nil, nil, fmt.Errorf("value: %w", err)
	}
	return key, value, nil
}

// AppendJSONLine appends an entry as a line.
func AppendJSONLine(dst, key, value []byte) []byte {
	dst = AppendJSONField(append(dst, '{'), "key", key)
	dst = AppendJSONField(append(dst, ','), "value", value)
	return append(dst, "}\n"...)
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
