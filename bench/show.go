package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lsmdb/bench/engine"
	"lsmdb/bench/report"
)

func showCommand() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use: "show FILE", Short: "Show what a run stored as JSON, as tables, a file of results or pictures", Args: cobra.ExactArgs(1),
		Example: "  go run . show bench.json\n" +
			"  go run -tags rocksdb . show full.json --results full --pictures pictures",
		RunE: func(c *cobra.Command, args []string) error { return show(c, args[0], s) },
	}
	addResultsFlag(c.Flags(), &s.results)
	c.Flags().StringVar(&s.pictureDir, "pictures", "", "directory for SVG pictures")
	return c
}

// show prints the tables of a stored run, and writes the files that were asked for.
func show(c *cobra.Command, path string, s settings) error {
	if err := prepareOutput(s); err != nil {
		return err
	}
	file, err := report.Read(path)
	if err != nil {
		return err
	}
	var kinds []engine.Kind
	for _, info := range file.Engines {
		k, err := engine.Find(info.Name)
		if err != nil {
			return err
		}
		kinds = append(kinds, k)
	}
	report.WriteTables(c.OutOrStdout(), file.Rows, kinds, term.IsTerminal(int(os.Stdout.Fd())))
	fmt.Fprintf(c.OutOrStdout(), "%s; commit %s\n", file.Sizes, file.Commit)
	return writeFiles(file, s, kinds)
}
