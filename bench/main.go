// Command bench compares lsmdb with other embedded stores: the same work, in one
// run, in turns. See the README.
//
// Each engine, round and act is a process of its own (child.go), started by the
// runner, which goes around the engines within each round (runner.go). What is done
// is in package workload, on what in package engine, and how it is shown in package
// report.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
