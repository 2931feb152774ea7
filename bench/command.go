package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lsmdb/bench/engine"
	"lsmdb/bench/report"
	"lsmdb/bench/workload"
)

// settings is what the flags say.
type settings struct {
	engines, sections []string
	rounds            int
	scale             workload.Scale
	jsonPath          string
	profileDir        string
	pictureDir        string
	withFullOnly      bool
}

func quickSettings() settings {
	return settings{rounds: 3, jsonPath: "bench.json", scale: workload.Scale{
		Entries: 200_000, ColdEntries: 200_000, ValueBytes: 100,
		Duration: 150 * time.Millisecond, Cap: time.Second,
	}}
}

func fullSettings() settings {
	return settings{rounds: 3, jsonPath: "bench.json", withFullOnly: true, scale: workload.Scale{
		Entries: 3_000_000, ColdEntries: 20_000_000, ValueBytes: 100,
		Duration: 5 * time.Second, Cap: 3 * time.Minute,
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
			"  go run . full --json full.json\n" +
			"  go run -tags rocksdb . full",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		runCommand("quick", "A few minutes, small data: does a change help?", quickSettings()),
		runCommand("full", "Hours, data larger than caches: the figures to quote", fullSettings()),
		listCommand(), childCommand(),
	)
	return root
}

func runCommand(name, short string, s settings) *cobra.Command {
	c := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		Example: fmt.Sprintf("  go run . %[1]s\n"+
			"  go run . %[1]s --sections fillrandom,read --engines lsmdb,pebble\n"+
			"  go run . %[1]s --sections fillrandom --profile profiles\n"+
			"  go run . %[1]s --entries 1000000 --value-bytes 1024 --json large-values.json", name),
		RunE: func(c *cobra.Command, _ []string) error { return compare(c, s) },
	}
	f := c.Flags()
	f.StringSliceVar(&s.engines, "engines", nil, "engines to run, all by default (see list)")
	f.StringSliceVar(&s.sections, "sections", nil, "sections to run, all by default (see list)")
	f.IntVar(&s.rounds, "rounds", s.rounds, "alternating rounds, of which the medians are taken")
	f.Int64Var(&s.scale.Entries, "entries", s.scale.Entries, "entries of a database")
	f.Int64Var(&s.scale.ColdEntries, "cold-entries", s.scale.ColdEntries, "entries for cold reads and sustained load")
	f.IntVar(&s.scale.ValueBytes, "value-bytes", s.scale.ValueBytes, "bytes of a value")
	f.DurationVar(&s.scale.Duration, "duration", s.scale.Duration, "length of workloads without a fixed number of operations")
	f.DurationVar(&s.scale.Cap, "cap", s.scale.Cap, "end a fill that takes longer; its figures get an asterisk")
	f.BoolVar(&s.scale.Counter, "counter-keys", false, "decimal keys with leading zeros instead of keys spread over the key space")
	f.StringVar(&s.jsonPath, "json", s.jsonPath, "file for all figures; empty: none")
	f.StringVar(&s.profileDir, "profile", "", "directory for pprof profiles of lsmdb, one pair per workload and round")
	f.StringVar(&s.pictureDir, "pictures", "", "directory for SVG pictures, one per metric")
	return c
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Name the engines of this build and what is measured", Args: cobra.NoArgs,
		Example: "  go run . list",
		RunE: func(c *cobra.Command, _ []string) error {
			writeEngines(c.OutOrStdout(), engine.All())
			writeSections(c.OutOrStdout())
			return nil
		},
	}
}

// compare runs and reports.
func compare(c *cobra.Command, s settings) error {
	r, err := newRunner(s)
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	writeEngines(out, r.engines)
	fmt.Fprintf(out, "entries %d (cold %d), values %d bytes, rounds %d, open-ended workloads %v, fills at most %v\n\n",
		s.scale.Entries, s.scale.ColdEntries, s.scale.ValueBytes, s.rounds, s.scale.Duration, s.scale.Cap)
	began := time.Now()
	err = r.run(c.Context())
	r.progress.clear()
	if err != nil {
		return err
	}
	rows := report.Rows(r.results, r.engines)
	report.WriteTables(out, rows, r.engines, term.IsTerminal(int(os.Stdout.Fd())))
	fmt.Fprintf(out, "medians of %d rounds, %v in all; * ended before all was done\n", s.rounds, time.Since(began).Round(time.Second))
	if s.pictureDir != "" {
		if err := os.MkdirAll(s.pictureDir, 0o755); err != nil {
			return err
		}
		if err := report.WritePictures(s.pictureDir, rows, r.engines); err != nil {
			return err
		}
	}
	if s.jsonPath == "" {
		return nil
	}
	file := report.File{
		Time: began.UTC(), Command: strings.Join(append([]string{"bench"}, os.Args[1:]...), " "),
		Machine: report.ThisMachine(), Rounds: s.rounds, Scale: s.scale,
		Engines: report.Engines(r.engines, engine.Options{}), Rows: rows, Results: r.results,
	}
	return file.Write(s.jsonPath)
}

func newRunner(s settings) (*runner, error) {
	least := int64(1000)
	if s.rounds < 1 || s.scale.Entries < least || s.scale.ColdEntries < least || s.scale.ValueBytes < 1 || s.scale.ValueBytes > 1<<20 {
		return nil, fmt.Errorf("at least 1 round, %d entries, and values of 1 byte to 1 MiB", least)
	}
	r := &runner{rounds: s.rounds, scale: s.scale}
	var err error
	if r.profileDir, err = prepareProfiles(s.profileDir); err != nil {
		return nil, err
	}
	for _, k := range engine.All() {
		if len(s.engines) == 0 || slices.Contains(s.engines, k.Name) {
			r.engines = append(r.engines, k)
		}
	}
	for _, section := range workload.Sections() {
		chosen := slices.Contains(s.sections, section.Name)
		if chosen || len(s.sections) == 0 && (s.withFullOnly || !section.FullOnly) {
			r.sections = append(r.sections, section)
		}
	}
	for _, name := range s.engines {
		if _, err := engine.Find(name); err != nil {
			return nil, err
		}
	}
	for _, name := range s.sections {
		if _, err := workload.Find(name); err != nil {
			return nil, err
		}
	}
	r.progress = newProgress(os.Stderr, len(r.engines)*len(r.sections)*s.rounds)
	return r, nil
}

func writeEngines(out io.Writer, kinds []engine.Kind) {
	common := workload.EngineOptions(workload.Act{}, workload.Scale{}, "")
	fmt.Fprintf(out, "all: memtable %d MiB, cache %d MiB, filters %d bits per key, Snappy, log on\n",
		common.MemtableBytes>>20, common.CacheBytes>>20, common.FilterBits)
	for _, info := range report.Engines(kinds, common) {
		fmt.Fprintf(out, "%s %s: %s\n", info.Name, info.Version, strings.Join(info.Settings, "; "))
	}
}

func writeSections(out io.Writer) {
	for _, section := range workload.Sections() {
		fmt.Fprintf(out, "\nsection %s\n", section.Name)
		for _, act := range section.Acts {
			for _, step := range act.Steps {
				if step.About != "" {
					fmt.Fprintf(out, "  %-15s %s\n", step.Name, step.About)
				}
			}
		}
	}
}
