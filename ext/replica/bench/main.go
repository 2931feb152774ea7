// Command bench compares the Raft log stores of hashicorp, one over Pebble and lsmdb's: with
// raft's own package bench, and with what that does not measure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lsmdb/bench/report"
)

func main() {
	testing.Init()
	rounds := flag.Int("rounds", 5, "how often each figure is measured, the stores in turns")
	each := flag.Duration("time", 500*time.Millisecond, "how long a figure is measured for, more or less")
	only := flag.String("rows", "", "regular expression for the rows to measure; all if empty")
	results := flag.String("results", "", "also write results/NAME.md")
	dir := flag.String("dir", os.TempDir(), "where the stores lie for the time being")
	flag.Parse()
	if err := run(*rounds, *each, *only, *results, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds int, each time.Duration, only, results, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	chosen, err := regexp.Compile(only)
	switch {
	case err != nil:
		return err
	case rounds < 1 || each <= 0 || flag.NArg() > 0:
		return errors.New("rounds and time must be larger than 0, and there are no arguments")
	}
	dir, err = os.MkdirTemp(dir, "raftlog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	origin := report.NewOrigin(ctx, time.Now(), os.Args[1:], dir)
	m := &measurement{ctx: ctx, dir: dir, rounds: rounds, each: each, told: os.Stderr}
	var stores, groups []figures
	for _, r := range rows {
		if chosen.MatchString(r.name) {
			f, err := m.measure(r, kinds)
			if err != nil {
				return err
			}
			stores = append(stores, f)
		}
	}
	if chosen.MatchString(groupsRow.name) {
		f, err := m.measure(groupsRow, groupsKinds())
		if err != nil {
			return err
		}
		groups = append(groups, f)
	}
	if results == "" {
		return write(os.Stdout, rounds, stores, groups)
	}
	path := filepath.Join("results", results+".md")
	var out strings.Builder
	origin.Describe(&out, path)
	if err := write(&out, rounds, stores, groups); err != nil {
		return err
	}
	fmt.Print(out.String())
	return os.WriteFile(path, []byte(out.String()), 0o644)
}
