package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/pflag"
)

// resultsDir, below bench/, where the program is run, holds the tables that docs/ quotes.
const resultsDir = "results"

var resultsName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

func addResultsFlag(f *pflag.FlagSet, name *string) {
	f.StringVar(name, "results", "", "also write the tables to "+resultsDir+"/NAME.md, with commit, date, machine and command")
}

// resultsPath returns the file that a name stands for, and no file for none. It fails
// early where hours of measuring would end without a report.
func resultsPath(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if !resultsName.MatchString(name) {
		return "", fmt.Errorf("--results: %q is no name of small letters, digits and hyphens", name)
	}
	if info, err := os.Stat(resultsDir); err != nil || !info.IsDir() {
		return "", fmt.Errorf("--results: no directory %s here: run this in bench/", resultsDir)
	}
	return filepath.Join(resultsDir, name+".md"), nil
}
