package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/bench/workload"
)

// settings is what the flags say.
type settings struct {
	engines, sections []string
	rounds            int
	scale             workload.Scale
	jsonPath          string
	results           string // name of a file of results; empty: none
	profileDir        string
	pictureDir        string
	withFullOnly      bool

	processors          []int    // values of GOMAXPROCS; none: as Go chooses
	sizes, clientCounts []string // of growth
}

func quickSettings() settings {
	return settings{rounds: 3, jsonPath: "bench.json", scale: workload.Scale{
		Entries: 200_000, ColdEntries: 200_000, ValueBytes: 100,
		Duration: 150 * time.Millisecond, Cap: time.Second, Rate: 20_000,
	}}
}

func fullSettings() settings {
	return settings{rounds: 3, jsonPath: "bench.json", withFullOnly: true, scale: workload.Scale{
		Entries: 3_000_000, ColdEntries: 20_000_000, ValueBytes: 100,
		Duration: 5 * time.Second, Cap: 3 * time.Minute, Rate: 20_000,
	}}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "bench",
		Short: "Compare lsmdb with other embedded stores",
		Long: "Runs the same work on lsmdb and its peers, in turns, each in a process of its own,\n" +
			"verifies what is read, and prints medians and ratios. RocksDB takes part in builds with -tags rocksdb.",
		Example: "  go run . quick\n" +
			"  go run . quick --engines lsmdb,pebble --sections read,ycsb --rounds 5\n" +
			"  go run . full --json full.json --results full\n" +
			"  go run -tags rocksdb . growth --sizes 1M,3M --client-counts 1,16",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		runCommand("quick", "A few minutes, small data: does a change help?", quickSettings()),
		runCommand("full", "Hours, data larger than caches: the figures to quote", fullSettings()),
		growthCommand(), corruptionCommand(), showCommand(), listCommand(), childCommand(), corruptCommand(),
	)
	return root
}

func runCommand(name, short string, s settings) *cobra.Command {
	c := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		Example: fmt.Sprintf("  go run . %[1]s\n"+
			"  go run . %[1]s --sections fillrandom,read --engines lsmdb,pebble\n"+
			"  go run . %[1]s --sections fillrandom,read --cpu 1,2,4\n"+
			"  go run . %[1]s --sections rate --rate 100000 --engines lsmdb,pebble\n"+
			"  go run . %[1]s --sections fillrandom --profile profiles\n"+
			"  go run . %[1]s --entries 1000000 --value-bytes 1024 --json large-values.json", name),
		RunE: func(c *cobra.Command, _ []string) error { return compare(c, s) },
	}
	addFlags(c, &s)
	f := c.Flags()
	f.Int64Var(&s.scale.Entries, "entries", s.scale.Entries, "entries of a database")
	f.Int64Var(&s.scale.ColdEntries, "cold-entries", s.scale.ColdEntries, "entries for cold reads and sustained load")
	f.Int64Var(&s.scale.Rate, "rate", s.scale.Rate, "operations per second of workloads at a fixed rate; synced ones have a tenth")
	f.IntSliceVar(&s.processors, "cpu", nil, "values of GOMAXPROCS, each of which everything runs with; Go's default if empty")
	f.StringVar(&s.profileDir, "profile", "", "directory for pprof profiles of lsmdb, one pair per workload and round")
	return c
}

// addFlags adds those that all runs have.
func addFlags(c *cobra.Command, s *settings) {
	f := c.Flags()
	f.StringSliceVar(&s.engines, "engines", nil, "engines to run, all by default (see list)")
	f.StringSliceVar(&s.sections, "sections", nil, "sections to run, all by default (see list)")
	f.IntVar(&s.rounds, "rounds", s.rounds, "alternating rounds, of which the medians are taken")
	f.IntVar(&s.scale.ValueBytes, "value-bytes", s.scale.ValueBytes, "bytes of a value")
	f.DurationVar(&s.scale.Duration, "duration", s.scale.Duration, "length of workloads without a fixed number of operations")
	f.DurationVar(&s.scale.Cap, "cap", s.scale.Cap, "end a fill that takes longer; its figures get an asterisk")
	f.BoolVar(&s.scale.Counter, "counter-keys", false, "decimal keys with leading zeros instead of keys spread over the key space")
	f.StringVar(&s.jsonPath, "json", s.jsonPath, "file for all figures; empty: none")
	addResultsFlag(f, &s.results)
	f.StringVar(&s.pictureDir, "pictures", "", "directory for SVG pictures")
}
