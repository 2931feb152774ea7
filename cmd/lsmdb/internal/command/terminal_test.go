package command_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
)

// On a terminal, long commands show their picture and take it away again.
func TestCommandsOnTerminal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	var input strings.Builder
	for i := range 2001 {
		fmt.Fprintf(&input, "key%d\tvalue\n", i)
	}
	for _, c := range []struct {
		args  []string
		out   []string
		shown []string
	}{
		{[]string{"load", dir}, []string{"loaded 2,001 entries"}, []string{"loading", "mailbox", "writer", "memtables", "level 0"}},
		{[]string{"dump", dir, filepath.Join(t.TempDir(), "dump")}, nil, []string{"dumping", "1,024 entries", "dumped 2,001 entries"}},
		{[]string{"compact", dir}, []string{"compacted in"}, []string{"compacting", "compactor", "memtables"}},
		{[]string{"verify", dir}, []string{"sound"}, []string{"verifying", "%", ".sst"}},
		{[]string{"salvage", dir, filepath.Join(t.TempDir(), "new")}, []string{"rescued 2,001 entries", "nothing is lost"}, []string{"rescuing", "%", "000"}},
	} {
		out, shown := commandtest.OnTerminal(t, input.String(), c.args...)
		commandtest.Contains(t, out, c.out...)
		commandtest.Contains(t, shown, c.shown...)
	}
}
