package text

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Word is one argument of a line in the shell.
type Word struct {
	Text   []byte // unescaped
	quoted bool
	start  int // offset in the line
}

// Is reports whether the word is a keyword; a quoted word never is one.
func (w Word) Is(keyword string) bool { return !w.quoted && string(w.Text) == keyword }

// SplitWords takes a line apart at spaces and tabs. A word in double quotes may hold
// spaces. In both forms the escapes of AppendEscaped hold, and \" and "\ " besides.
func SplitWords(line string) ([]Word, error) {
	var words []Word
	rest := []byte(line)
	for {
		rest = bytes.TrimLeft(rest, " \t")
		if len(rest) == 0 {
			return words, nil
		}
		w := Word{start: len(line) - len(rest), quoted: rest[0] == '"'}
		raw, after, err := cutWord(rest, w.quoted)
		if err != nil {
			return nil, err
		}
		if w.Text, err = parseEscaped(raw); err != nil {
			return nil, err
		}
		words, rest = append(words, w), after
	}
}

// cutWord returns the first word of p, without quotes, and what follows it.
func cutWord(p []byte, quoted bool) (raw, after []byte, err error) {
	if quoted {
		p = p[1:]
	}
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\':
			i++
		case quoted && p[i] == '"':
			after = p[i+1:]
			if len(after) > 0 && after[0] != ' ' && after[0] != '\t' {
				return nil, nil, errors.New("a quote ends in the middle of a word; write \\\" for a quote inside")
			}
			return p[:i], after, nil
		case !quoted && (p[i] == ' ' || p[i] == '\t'):
			return p[:i], p[i:], nil
		}
	}
	if quoted {
		return nil, nil, errors.New("a quote is not closed")
	}
	return p, nil, nil
}

// ValueFrom returns the value that begins with words[0]: that word if it stands
// alone or is quoted, else the whole rest of the line, so that text with spaces
// needs no quotes.
func ValueFrom(line string, words []Word) ([]byte, error) {
	if len(words) == 1 {
		return words[0].Text, nil
	}
	if words[0].quoted {
		return nil, fmt.Errorf("something follows the quoted value")
	}
	return parseEscaped(bytes.TrimRight([]byte(line[words[0].start:]), " \t"))
}

// CutFlag takes a flag and the word behind it off the words of a line: from the end, or
// from the place at. line is then what is left of it; argument is nil without the flag.
func CutFlag(line string, words []Word, flag string, at int) (string, []Word, []byte, error) {
	n := len(words)
	switch {
	case n > at+1 && words[at].Is(flag):
		return line, slices.Delete(slices.Clone(words), at, at+2), words[at+1].Text, nil
	case n > at+1 && words[n-2].Is(flag):
		return line[:words[n-2].start], words[:n-2], words[n-1].Text, nil
	case n > at && words[n-1].Is(flag):
		return line, words, nil, fmt.Errorf("%s wants a word behind it", flag)
	}
	return line, words, nil, nil
}

// Quote writes bytes as SplitWords reads them back, as one word.
func Quote(p []byte) string {
	escaped := AppendEscaped(nil, p)
	if len(p) > 0 && !bytes.ContainsAny(escaped, " \"") {
		return string(escaped)
	}
	return `"` + string(bytes.ReplaceAll(escaped, []byte(`"`), []byte(`\"`))) + `"`
}
