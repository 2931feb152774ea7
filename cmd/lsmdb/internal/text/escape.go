package text

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// AppendEscaped appends p to dst as one line of printable UTF-8: \\ \t \n \r for
// those, \xHH for every byte of anything else that is not printable. The result
// is unambiguous; parseEscaped reverses it.
func AppendEscaped(dst, p []byte) []byte {
	for len(p) > 0 {
		r, size := rune(p[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(p)
		}
		switch {
		case r == '\\':
			dst = append(dst, '\\', '\\')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == utf8.RuneError && size == 1 || !unicode.IsPrint(r):
			for _, b := range p[:size] {
				dst = append(dst, '\\', 'x', hexDigits[b>>4], hexDigits[b&15])
			}
		default:
			dst = append(dst, p[:size]...)
		}
		p = p[size:]
	}
	return dst
}

// parseEscaped reverses AppendEscaped. Bytes that need no escape but have one
// are fine; a backslash that starts no escape is an error. The result may be p.
func parseEscaped(p []byte) ([]byte, error) {
	if bytes.IndexByte(p, '\\') < 0 {
		return p, nil
	}
	decoded := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] != '\\' {
			decoded = append(decoded, p[i])
			continue
		}
		if i+1 == len(p) {
			return nil, fmt.Errorf("a backslash at the end (write \\\\ for a backslash)")
		}
		i++
		switch p[i] {
		case '\\', '"', ' ':
			decoded = append(decoded, p[i])
		case 't':
			decoded = append(decoded, '\t')
		case 'n':
			decoded = append(decoded, '\n')
		case 'r':
			decoded = append(decoded, '\r')
		case 'x':
			if i+2 >= len(p) || unhex(p[i+1]) < 0 || unhex(p[i+2]) < 0 {
				return nil, fmt.Errorf("\\x wants two hexadecimal digits")
			}
			decoded = append(decoded, byte(unhex(p[i+1])<<4|unhex(p[i+2])))
			i += 2
		default:
			return nil, fmt.Errorf("unknown escape \\%s (known: \\\\ \\t \\n \\r \\xHH)", AppendEscaped(nil, p[i:i+1]))
		}
	}
	return decoded, nil
}

// unhex is the value of a hexadecimal digit, -1 for any other byte.
func unhex(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}
