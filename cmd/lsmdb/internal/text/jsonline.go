package text

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf8"
)

// jsonLine reads one entry in JSON: an object with text fields only. Package
// encoding/json would silently replace halves of characters, take the last of two
// equal fields and field names in any case; for data that is to be stored each of
// them is an error. It is also several times faster, which a bulk load feels.
type jsonLine struct {
	line   []byte
	at     int
	fields [5]jsonField // in the order of jsonFieldNames
}

type jsonField struct {
	present bool
	text    []byte
}

var jsonFieldNames = [5]string{"key", "key_base64", "value", "value_base64", "until"}

// parseJSONLine reads an entry. Key and value may share the line's memory.
func parseJSONLine(line []byte) (e Entry, err error) {
	if !utf8.Valid(line) {
		return e, errors.New("not UTF-8 (binary data belongs into key_base64 and value_base64)")
	}
	j := jsonLine{line: line}
	if err := j.object(); err != nil {
		return e, err
	}
	if e.Key, err = oneOf("key", j.fields[0], j.fields[1]); err != nil {
		return e, err
	}
	if e.Value, err = oneOf("value", j.fields[2], j.fields[3]); err != nil {
		return e, err
	}
	if until := j.fields[4]; until.present {
		if e.Until, err = parseUntil(until.text); err != nil {
			return e, fmt.Errorf("field \"until\": %w", err)
		}
	}
	return e, nil
}

// oneOf decides between the plain and the base64 form of a field.
func oneOf(name string, plain, encoded jsonField) ([]byte, error) {
	switch {
	case plain.present && encoded.present:
		return nil, fmt.Errorf("both %q and %q", name, name+"_base64")
	case plain.present:
		return plain.text, nil
	case encoded.present:
		decoded, err := base64.StdEncoding.AppendDecode(nil, encoded.text)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", name+"_base64", err)
		}
		return decoded, nil
	}
	return nil, fmt.Errorf("neither %q nor %q", name, name+"_base64")
}

// object reads the whole line.
func (j *jsonLine) object() error {
	if !j.accept('{') {
		return j.malformed("an object, {...}, is wanted")
	}
	for first := true; !j.accept('}'); first = false {
		if !first && !j.accept(',') {
			return j.malformed("a comma or a closing brace is wanted")
		}
		if err := j.field(); err != nil {
			return err
		}
	}
	if j.skipBlanks(); j.at < len(j.line) {
		return j.malformed("something follows the object; one object per line")
	}
	return nil
}

// field reads "name":"text".
func (j *jsonLine) field() error {
	name, err := j.text("the name of a field")
	if err != nil {
		return err
	}
	if !j.accept(':') {
		return j.malformed("a colon is wanted")
	}
	for i := range jsonFieldNames {
		if jsonFieldNames[i] != string(name) {
			continue
		}
		if j.fields[i].present {
			return fmt.Errorf("field %q is there twice", name)
		}
		text, err := j.text("a text in quotes")
		j.fields[i] = jsonField{true, text}
		return err
	}
	return fmt.Errorf("unknown field %q (known: key, key_base64, value, value_base64, until)", name)
}

// accept skips blanks and the byte, if it comes next.
func (j *jsonLine) accept(b byte) bool {
	j.skipBlanks()
	if j.at < len(j.line) && j.line[j.at] == b {
		j.at++
		return true
	}
	return false
}

func (j *jsonLine) skipBlanks() {
	for j.at < len(j.line) && (j.line[j.at] == ' ' || j.line[j.at] == '\t' || j.line[j.at] == '\r') {
		j.at++
	}
}

// text reads a text in quotes; what names it in the error.
func (j *jsonLine) text(what string) ([]byte, error) {
	if !j.accept('"') {
		return nil, j.malformed(what + " is wanted")
	}
	rest := j.line[j.at:]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil, j.malformed("a quote is not closed")
	}
	if bytes.IndexByte(rest[:end], '\\') < 0 {
		for i, b := range rest[:end] {
			if b < ' ' {
				j.at += i
				return nil, j.malformed("a control character must be escaped")
			}
		}
		j.at += end + 1
		return rest[:end:end], nil
	}
	return j.escapedText(make([]byte, 0, end))
}

// escapedText is text for one that has escapes.
func (j *jsonLine) escapedText(decoded []byte) ([]byte, error) {
	for j.at < len(j.line) {
		b := j.line[j.at]
		switch {
		case b == '"':
			j.at++
			return decoded, nil
		case b < ' ':
			return nil, j.malformed("a control character must be escaped")
		case b != '\\':
			decoded = append(decoded, b)
			j.at++
		default:
			var err error
			if decoded, err = j.escape(decoded); err != nil {
				return nil, err
			}
		}
	}
	return nil, j.malformed("a quote is not closed")
}

// escape decodes the escape that begins here.
func (j *jsonLine) escape(decoded []byte) ([]byte, error) {
	const letters, meanings = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if j.at+1 == len(j.line) {
		return nil, j.malformed("a quote is not closed")
	}
	if i := bytes.IndexByte([]byte(letters), j.line[j.at+1]); i >= 0 {
		j.at += 2
		return append(decoded, meanings[i]), nil
	}
	high, ok := j.unit(j.at)
	switch {
	case !ok:
		return nil, j.malformed("an unknown escape")
	case high < 0xd800 || high > 0xdfff:
		j.at += 6
		return utf8.AppendRune(decoded, high), nil
	}
	low, ok := j.unit(j.at + 6)
	if high > 0xdbff || !ok || low < 0xdc00 || low > 0xdfff {
		return nil, j.malformed("half a character (binary data belongs into key_base64 and value_base64)")
	}
	j.at += 12
	return utf8.AppendRune(decoded, 0x10000+(high-0xd800)<<10+(low-0xdc00)), nil
}

// unit reads \uXXXX at an offset.
func (j *jsonLine) unit(at int) (value rune, ok bool) {
	if at+6 > len(j.line) || j.line[at] != '\\' || j.line[at+1] != 'u' {
		return 0, false
	}
	for _, digit := range j.line[at+2 : at+6] {
		if unhex(digit) < 0 {
			return 0, false
		}
		value = value<<4 | rune(unhex(digit))
	}
	return value, true
}

// malformed is the error for what stands at the current place.
func (j *jsonLine) malformed(reason string) error {
	return fmt.Errorf("malformed JSON at column %d: %s", utf8.RuneCount(j.line[:j.at])+1, reason)
}
