package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/bench/workload"
)

// growthSettings are those of the full run, in one round.
func growthSettings() settings {
	s := fullSettings()
	s.rounds, s.jsonPath = 1, "growth.json"
	s.scale.Duration, s.scale.Cap = 5*time.Second, 5*time.Minute
	s.sizes = []string{"1M", "3M", "10M", "20M"}
	s.clientCounts = []string{"1", "2", "4", "16", "64"}
	return s
}

func growthCommand() *cobra.Command {
	s := growthSettings()
	c := &cobra.Command{
		Use: "growth", Short: "Hours: how cost grows with the number of entries and of clients", Args: cobra.NoArgs,
		Example: "  go run . growth\n" +
			"  go run . growth --sizes 1M,3M --client-counts 1,4 --engines lsmdb,pebble\n" +
			"  go run . growth --client-counts '' --sizes 1M,3M,10M      # sizes only\n" +
			"  go run . growth --sections clients-sync --pictures pictures",
		RunE: func(c *cobra.Command, _ []string) error { return grow(c, s) },
	}
	addFlags(c, &s)
	f := c.Flags()
	f.Int64Var(&s.scale.Entries, "entries", s.scale.Entries, "entries of a database where the number of clients varies")
	f.StringSliceVar(&s.sizes, "sizes", s.sizes, "numbers of entries, such as 200k, 1000000, 3M; empty: none")
	f.StringSliceVar(&s.clientCounts, "client-counts", s.clientCounts, "numbers of clients; empty: none")
	return c
}

func grow(c *cobra.Command, s settings) error {
	r, err := newGrowthRunner(s)
	if err != nil {
		return err
	}
	return r.runAndReport(c, s)
}

func newGrowthRunner(s settings) (*runner, error) {
	sections, err := chooseSections(workload.GrowthSections(), s.sections, true)
	if err != nil {
		return nil, err
	}
	sizes, err := amounts("--sizes", s.sizes, leastEntries, 1_000_000_000)
	if err != nil {
		return nil, err
	}
	counts64, err := amounts("--client-counts", s.clientCounts, 1, 4096)
	if err != nil {
		return nil, err
	}
	counts := make([]int, len(counts64))
	for i, n := range counts64 {
		counts[i] = int(n)
	}
	var stations []station
	for _, section := range sections {
		for _, scale := range section.Scales(s.scale, sizes, counts) {
			stations = append(stations, station{section: section, scale: scale, title: growthTitle(section, scale)})
		}
	}
	if len(stations) == 0 {
		return nil, fmt.Errorf("nothing to run: neither sizes nor numbers of clients for these sections")
	}
	return newRunner(s, stations)
}

func growthTitle(section workload.Section, scale workload.Scale) string {
	if section.Axis == workload.ByEntries {
		return fmt.Sprintf("%s %d entries", section.Name, scale.Entries)
	}
	return fmt.Sprintf("%s %s clients", section.Name, strings.Trim(fmt.Sprint(scale.ClientCounts), "[]"))
}

// amounts reads numbers with the suffixes k and M, sorts them, and drops what is
// there twice.
func amounts(flag string, texts []string, least, most int64) ([]int64, error) {
	var numbers []int64
	for _, text := range texts {
		digits, factor := text, int64(1)
		switch {
		case strings.HasSuffix(text, "k"):
			digits, factor = strings.TrimSuffix(text, "k"), 1000
		case strings.HasSuffix(text, "M"):
			digits, factor = strings.TrimSuffix(text, "M"), 1_000_000
		}
		n, err := strconv.ParseInt(strings.ReplaceAll(digits, "_", ""), 10, 64)
		if err != nil || n > most/factor || n*factor < least {
			return nil, fmt.Errorf("%s: %q is no number from %d to %d (write 200000, 200k, 3M; several with commas)", flag, text, least, most)
		}
		numbers = append(numbers, n*factor)
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), nil
}
