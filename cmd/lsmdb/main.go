// Command lsmdb shows and operates lsmdb databases: a guided tour on real data,
// an interactive shell, single operations, bulk load and dump, and tools that
// look into databases, also into damaged ones.
//
// Each subcommand lives in the file of its name. What they share lies in
// console.go (where output goes), exit.go (errors and exit codes), open.go
// (opening a directory, or saying why not), textform.go (keys and values as
// text), record.go (the lines of load and dump), display.go and pipeline.go (what
// one sees while it works).
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], standardConsole()))
}
