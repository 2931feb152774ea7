// Package text holds the forms in which keys and values stand as text: on command
// lines, in results, as words of the shell, and in the lines of load and dump.
package text

import (
	"encoding/base64"
	"encoding/hex"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/exit"
)

// Form says how keys and values stand on the command line and in text
// output. The zero value is plain: arguments are taken as they are, output is
// escaped where a byte is not printable.
type Form struct {
	escaped bool
	Hex     bool
	Base64  bool
}

// AddFlags gives a command the flags --escaped, --hex and --base64.
func (f *Form) AddFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&f.escaped, "escaped", "e", false, `arguments use the escapes \\ \t \n \r \xHH`)
	cmd.Flags().BoolVarP(&f.Hex, "hex", "x", false, "arguments and results are hexadecimal")
	cmd.Flags().BoolVarP(&f.Base64, "base64", "b", false, "arguments and results are base64")
	cmd.MarkFlagsMutuallyExclusive("escaped", "hex", "base64")
}

// Parse reads an argument; what names it in the error.
func (f Form) Parse(what, argument string) ([]byte, error) {
	var decoded []byte
	var err error
	switch {
	case f.escaped:
		decoded, err = parseEscaped([]byte(argument))
	case f.Hex:
		decoded, err = hex.DecodeString(argument)
	case f.Base64:
		decoded, err = base64.StdEncoding.DecodeString(argument)
	default:
		return []byte(argument), nil
	}
	if err != nil {
		return nil, exit.Usagef("malformed %s %q: %v", what, argument, err)
	}
	return decoded, nil
}

// ParseOptional is parse for a flag that may be absent: nil then.
func (f Form) ParseOptional(cmd *cobra.Command, flag string) ([]byte, error) {
	if !cmd.Flags().Changed(flag) {
		return nil, nil
	}
	decoded, err := f.Parse("--"+flag, cmd.Flag(flag).Value.String())
	if err == nil && decoded == nil {
		decoded = []byte{}
	}
	return decoded, err
}

// Format writes bytes in the form.
func (f Form) Format(p []byte) string {
	switch {
	case f.Hex:
		return hex.EncodeToString(p)
	case f.Base64:
		return base64.StdEncoding.EncodeToString(p)
	}
	return string(AppendEscaped(nil, p))
}
