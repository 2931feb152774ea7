package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lsmdb/bench/engine"
	"lsmdb/bench/report"
	"lsmdb/bench/workload"
)

// leastEntries is the smallest database that all workloads can use.
const leastEntries = 1000

func compare(c *cobra.Command, s settings) error {
	r, err := newComparison(s)
	if err != nil {
		return err
	}
	return r.runAndReport(c, s)
}

func newComparison(s settings) (*runner, error) {
	sections, err := chooseSections(workload.Sections(), s.sections, s.withFullOnly)
	if err != nil {
		return nil, err
	}
	if s.scale.Rate < 1 || slices.ContainsFunc(s.processors, func(n int) bool { return n < 1 }) {
		return nil, fmt.Errorf("--rate and --cpu must be at least 1")
	}
	var stations []station
	for _, section := range sections {
		if len(s.processors) == 0 {
			stations = append(stations, station{section: section, scale: s.scale, title: section.Name})
		}
		for _, n := range s.processors {
			stations = append(stations, station{section: section, scale: s.scale, processors: n, title: fmt.Sprintf("%s, cpu %d", section.Name, n)})
		}
	}
	return newRunner(s, stations)
}

// chooseSections returns those that are named, or all when none is.
func chooseSections(all []workload.Section, names []string, withFullOnly bool) ([]workload.Section, error) {
	var chosen []workload.Section
	var known []string
	for _, section := range all {
		known = append(known, section.Name)
		if slices.Contains(names, section.Name) || len(names) == 0 && (withFullOnly || !section.FullOnly) {
			chosen = append(chosen, section)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no section %q here, but %s", name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

func newRunner(s settings, stations []station) (*runner, error) {
	if s.rounds < 1 || s.scale.Entries < leastEntries || s.scale.ColdEntries < leastEntries ||
		s.scale.ValueBytes < 1 || s.scale.ValueBytes > 1<<20 || s.scale.Duration <= 0 || s.scale.Cap <= 0 {
		return nil, fmt.Errorf("there must be at least 1 round, %d entries, values of 1 byte to 1 MiB, and some time", leastEntries)
	}
	r := &runner{rounds: s.rounds, stations: stations}
	for _, name := range s.engines {
		if _, err := engine.Find(name); err != nil {
			return nil, err
		}
	}
	for _, k := range engine.All() {
		if len(s.engines) == 0 || slices.Contains(s.engines, k.Name) {
			r.engines = append(r.engines, k)
		}
	}
	var err error
	if r.profileDir, err = prepareProfiles(s.profileDir); err != nil {
		return nil, err
	}
	if r.turns() == 0 {
		return nil, fmt.Errorf("none of these engines can do any of these sections")
	}
	r.progress = newProgress(os.Stderr, r.turns())
	return r, prepareOutput(s)
}

// prepareOutput fails early where hours of measuring would end without a report.
func prepareOutput(s settings) error {
	if _, err := resultsPath(s.results); err != nil {
		return err
	}
	if s.jsonPath != "" {
		if info, err := os.Stat(filepath.Dir(s.jsonPath)); err != nil || !info.IsDir() {
			return fmt.Errorf("no directory for the file %s", s.jsonPath)
		}
	}
	if s.pictureDir == "" {
		return nil
	}
	return os.MkdirAll(s.pictureDir, 0o755)
}

// runAndReport measures everything, prints the tables and writes the files that were
// asked for. When measuring fails or is interrupted, what there is until then is
// reported as well.
func (r *runner) runAndReport(c *cobra.Command, s settings) error {
	out := c.OutOrStdout()
	writeEngines(out, r.engines)
	fmt.Fprintln(out, scaleLine(s))
	fmt.Fprintln(out)
	began := time.Now()
	err := r.run(c.Context())
	r.progress.clear()
	if len(r.results) == 0 {
		return err
	}
	rows := report.Rows(r.results, r.engines)
	report.WriteTables(out, rows, r.engines, term.IsTerminal(int(os.Stdout.Fd())))
	fmt.Fprintf(out, "medians of %d rounds, %v in all; * ended before all was done; ± half of the spread of rounds, where that is large\n%s\n",
		s.rounds, time.Since(began).Round(time.Second), report.MarksLine)
	file := report.File{
		Origin: report.NewOrigin(c.Context(), began, os.Args[1:], os.TempDir()), Rounds: s.rounds, Scale: s.scale, Sizes: scaleLine(s),
		Common: commonLine(), Engines: report.Engines(r.engines, engine.Options{}), Rows: rows, Results: r.results,
	}
	return errors.Join(err, writeFiles(&file, s, r.engines))
}

func writeFiles(file *report.File, s settings, kinds []engine.Kind) error {
	if s.pictureDir != "" {
		if err := report.WritePictures(s.pictureDir, file.Rows, kinds); err != nil {
			return err
		}
	}
	switch path, err := resultsPath(s.results); {
	case err != nil:
		return err
	case path != "":
		if err := file.WriteMarkdown(path, kinds); err != nil {
			return err
		}
	}
	if s.jsonPath == "" {
		return nil
	}
	return file.Write(s.jsonPath)
}

// scaleLine says how much work is done.
func scaleLine(s settings) string {
	line := fmt.Sprintf("entries %d (cold %d)", s.scale.Entries, s.scale.ColdEntries)
	if len(s.sizes)+len(s.clientCounts) > 0 {
		line = fmt.Sprintf("entries %s; clients %s with %d entries",
			strings.Join(s.sizes, ", "), strings.Join(s.clientCounts, ", "), s.scale.Entries)
	}
	return fmt.Sprintf("%s, values %d bytes, rounds %d, open-ended workloads %v, fills at most %v",
		line, s.scale.ValueBytes, s.rounds, s.scale.Duration, s.scale.Cap)
}

func commonLine() string {
	common := workload.EngineOptions(workload.Act{}, workload.Scale{}, "")
	return fmt.Sprintf("memtable %d MiB, cache %d MiB, filters %d bits per key, Snappy, log on",
		common.MemtableBytes>>20, common.CacheBytes>>20, common.FilterBits)
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Name the engines of this build and what is measured", Args: cobra.NoArgs,
		Example: "  go run . list",
		RunE: func(c *cobra.Command, _ []string) error {
			out := c.OutOrStdout()
			writeEngines(out, engine.All())
			fmt.Fprintln(out, "\nquick and full:")
			writeSections(out, workload.Sections())
			fmt.Fprintln(out, "\ngrowth:")
			writeSections(out, workload.GrowthSections())
			return nil
		},
	}
}

func writeEngines(out io.Writer, kinds []engine.Kind) {
	fmt.Fprintln(out, "all:", commonLine())
	for _, info := range report.Engines(kinds, engine.Options{}) {
		fmt.Fprintf(out, "%s %s: %s\n", info.Name, info.Version, strings.Join(info.Settings, "; "))
	}
}

func writeSections(out io.Writer, sections []workload.Section) {
	for _, section := range sections {
		fmt.Fprintf(out, "section %s\n", section.Name)
		for _, act := range section.Acts {
			for _, step := range act.Steps {
				if step.About != "" {
					fmt.Fprintf(out, "  %-16s %s\n", step.Name, step.About)
				}
			}
		}
	}
}
