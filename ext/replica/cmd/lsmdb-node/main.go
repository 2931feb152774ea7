// Command lsmdb-node runs a node of a replicated lsmdb database, with an HTTP interface, and
// shows in a demo what replication is worth.
package main

import (
	"context"
	"os"

	"lsmdb/ext/replica/internal/command"
)

func main() {
	os.Exit(command.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
