// Command lsmdb shows and operates lsmdb databases: a guided tour on real data,
// an interactive shell, single operations, bulk load and dump, and tools that
// look into databases, also into damaged ones.
//
// The subcommands are in internal/command, each in the file of its name; tour, shell
// and inspect have packages of their own. Below them lie access (opening a directory,
// or saying why not), console (where output goes, and interrupts), text (keys, values
// and entries as text), display (what one sees while it works), units and exit (errors
// and exit codes).
package main

import (
	"context"
	"os"

	"lsmdb/cmd/lsmdb/internal/command"
	"lsmdb/cmd/lsmdb/internal/console"
)

func main() {
	os.Exit(command.Run(context.Background(), os.Args[1:], console.Standard()))
}
