package debug

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// keyText writes a key as one line of printable text: \\ for a backslash, and \xHH for
// every byte that is not printable UTF-8. parseKey reads it back. What takes more than so
// many bytes is cut, with an ellipsis in its middle, as keys often begin alike; 0: nothing is.
func keyText(key []byte, limit int) string {
	if limit > 0 && len(key) > limit {
		head := limit * 2 / 5
		return keyText(key[:head], 0) + "…" + keyText(key[len(key)-(limit-head):], 0)
	}
	var b strings.Builder
	for len(key) > 0 {
		r, size := utf8.DecodeRune(key)
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == utf8.RuneError && size == 1 || !unicode.IsPrint(r):
			for _, c := range key[:size] {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		default:
			b.Write(key[:size])
		}
		key = key[size:]
	}
	return b.String()
}

// parseKey reads what keyText writes. A backslash that begins no escape stands for itself,
// since people type keys as they know them.
func parseKey(text string) []byte {
	key := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			if text[i+1] == '\\' {
				key = append(key, '\\')
				i++
				continue
			}
			if text[i+1] == 'x' && i+3 < len(text) {
				if b, err := strconv.ParseUint(text[i+2:i+4], 16, 8); err == nil {
					key = append(key, byte(b))
					i += 3
					continue
				}
			}
		}
		key = append(key, text[i])
	}
	return key
}

// count writes a number with thousands separators.
func count[T int | int64 | uint64 | float64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// plural writes a count with its noun.
func plural[T int | int64 | uint64 | float64](n T, one, many string) string {
	if int64(n) == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// size writes a number of bytes with three significant digits. 1 MB is 1,000,000 bytes.
func size[T int | int64 | uint64 | float64](n T) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	value, unit := float64(n), 0
	for value >= 999.5 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	switch {
	case unit == 0:
		return fmt.Sprintf("%.0f B", value)
	case value >= 99.95:
		return fmt.Sprintf("%.0f %s", value, units[unit])
	case value >= 9.995:
		return fmt.Sprintf("%.1f %s", value, units[unit])
	}
	return fmt.Sprintf("%.2f %s", value, units[unit])
}
