package access

import (
	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
)

// Compression is the flag --compression, of commands that write much.
type Compression struct{ name string }

// AddFlag gives a command the flag.
func (c *Compression) AddFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.name, "compression", "snappy", "of the tables that are written: none, snappy, or zstd (below level 1)")
}

// Option returns what the flag says.
func (c *Compression) Option() (db.Compression, error) {
	switch c.name {
	case "snappy":
		return db.Snappy, nil
	case "none":
		return db.NoCompression, nil
	case "zstd":
		return db.Zstd, nil
	}
	return 0, exit.Usagef("--compression does not take %q: it is none, snappy or zstd", c.name)
}
