package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// textForm says how keys and values stand on the command line and in text
// output. The zero value is plain: arguments are taken as they are, output is
// escaped where a byte is not printable.
type textForm struct {
	escaped bool
	hex     bool
	base64  bool
}

// addFlags gives a command the flags --escaped, --hex and --base64.
func (f *textForm) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&f.escaped, "escaped", "e", false, `arguments use the escapes \\ \t \n \r \xHH`)
	cmd.Flags().BoolVarP(&f.hex, "hex", "x", false, "arguments and results are hexadecimal")
	cmd.Flags().BoolVarP(&f.base64, "base64", "b", false, "arguments and results are base64")
	cmd.MarkFlagsMutuallyExclusive("escaped", "hex", "base64")
}

// parse reads an argument; what names it in the error.
func (f textForm) parse(what, argument string) ([]byte, error) {
	var decoded []byte
	var err error
	switch {
	case f.escaped:
		decoded, err = parseEscaped([]byte(argument))
	case f.hex:
		decoded, err = hex.DecodeString(argument)
	case f.base64:
		decoded, err = base64.StdEncoding.DecodeString(argument)
	default:
		return []byte(argument), nil
	}
	if err != nil {
		return nil, usagef("malformed %s %q: %v", what, argument, err)
	}
	return decoded, nil
}

// parseOptional is parse for a flag that may be absent: nil then.
func (f textForm) parseOptional(cmd *cobra.Command, flag string) ([]byte, error) {
	if !cmd.Flags().Changed(flag) {
		return nil, nil
	}
	decoded, err := f.parse("--"+flag, cmd.Flag(flag).Value.String())
	if err == nil && decoded == nil {
		decoded = []byte{}
	}
	return decoded, err
}

// format writes bytes in the form.
func (f textForm) format(p []byte) string {
	switch {
	case f.hex:
		return hex.EncodeToString(p)
	case f.base64:
		return base64.StdEncoding.EncodeToString(p)
	}
	return string(appendEscaped(nil, p))
}

const hexDigits = "0123456789abcdef"

// appendEscaped appends p to dst as one line of printable UTF-8: \\ \t \n \r for
// those, \xHH for every byte of anything else that is not printable. The result
// is unambiguous; parseEscaped reverses it.
func appendEscaped(dst, p []byte) []byte {
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

// parseEscaped reverses appendEscaped. Bytes that need no escape but have one
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
			return nil, fmt.Errorf("unknown escape \\%s (known: \\\\ \\t \\n \\r \\xHH)", appendEscaped(nil, p[i:i+1]))
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
