package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"lsmdb/bench/corruption"
	"lsmdb/bench/engine"
	"lsmdb/bench/report"
)

// corruptName is the hidden command that a child process of the corruption run is.
const corruptName = "corrupt"

// corruptionSettings is what the flags of the corruption run say.
type corruptionSettings struct {
	engines           []string
	amounts           corruption.Amounts
	jobs              int
	jsonPath, results string
}

func corruptionCommand() *cobra.Command {
	s := corruptionSettings{
		amounts: corruption.Amounts{Bits: 200, Cuts: 60, Blocks: 20}, jobs: runtime.NumCPU(), jsonPath: "corruption.json",
	}
	c := &cobra.Command{
		Use: "corruption", Short: "A few minutes: what becomes of data when a file is damaged", Args: cobra.NoArgs,
		Long: "Builds a small database of each engine with synced writes, closed properly and left by a process\n" +
			"that ended; changes one place of one file; opens it, reads everything, and tells whether the engine\n" +
			"noticed, nothing was harmed, or data was silently missing or wrong. Each mutant in a child process.",
		Example: "  go run . corruption\n" +
			"  go run . corruption --engines lsmdb,pebble --bits 1000\n" +
			"  go run . corruption --bits 0 --cuts 0 --blocks 0 --json all.json --results damage      # everything: hours",
		RunE: func(c *cobra.Command, _ []string) error { return corrupt(c.Context(), c.OutOrStdout(), s) },
	}
	f := c.Flags()
	f.StringSliceVar(&s.engines, "engines", nil, "engines to damage, all by default (see list)")
	f.IntVar(&s.amounts.Bits, "bits", s.amounts.Bits, "bits to turn over in each kind of file; 0: all")
	f.IntVar(&s.amounts.Cuts, "cuts", s.amounts.Cuts, "lengths to cut each kind of file to; 0: all")
	f.IntVar(&s.amounts.Blocks, "blocks", s.amounts.Blocks, "blocks of 512 bytes to zero, repeat and swap in each kind of file; 0: all")
	f.IntVar(&s.jobs, "jobs", s.jobs, "child processes at the same time")
	f.StringVar(&s.jsonPath, "json", s.jsonPath, "file for all figures, with an example of each verdict; empty: none")
	addResultsFlag(f, &s.results)
	return c
}

func corruptCommand() *cobra.Command {
	return &cobra.Command{
		Use: corruptName, Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return corruption.Child(c.InOrStdin(), c.OutOrStdout()) },
	}
}

func corrupt(ctx context.Context, out io.Writer, s corruptionSettings) error {
	if s.amounts.Bits < 0 || s.amounts.Cuts < 0 || s.amounts.Blocks < 0 || s.jobs < 1 {
		return fmt.Errorf("--bits, --cuts and --blocks must not be negative, --jobs must be at least 1")
	}
	var names []string
	for _, k := range engine.All() {
		if k.Go && (len(s.engines) == 0 || slices.Contains(s.engines, k.Name)) {
			names = append(names, k.Name)
		}
	}
	for _, name := range s.engines {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no engine %q here, but %s", name, strings.Join(engine.Names(), ", "))
		}
	}
	path, err := resultsPath(s.results)
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "lsmdb-corruption-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	result := &corruption.Report{
		Origin: report.NewOrigin(ctx, time.Now(), os.Args[1:], root), Amounts: s.amounts, Engines: corruption.Versions(),
	}
	if result.Rows, err = sweeps(ctx, root, names, s); err != nil {
		return err
	}
	fmt.Fprintln(out, result.Table().Render())
	if err := result.WriteJSON(s.jsonPath); err != nil {
		return err
	}
	return result.WriteMarkdown(path)
}

// sweeps damages each engine's two victims, some at the same time.
func sweeps(ctx context.Context, root string, names []string, s corruptionSettings) ([]corruption.Row, error) {
	rows := make([][]corruption.Row, 2*len(names))
	p := &corruptionProgress{shares: make([]float64, len(rows)), live: term.IsTerminal(int(os.Stderr.Fd())), began: time.Now()}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(s.jobs)
	for i := range rows {
		group.Go(func() (err error) {
			sweep := corruption.Sweep{
				Engine: names[i/2], Killed: i%2 == 1, Root: root, Amounts: s.amounts, ChildName: corruptName,
				Progress: func(done, total int) { p.step(i, names[i/2], done, total) },
			}
			rows[i], err = sweep.Run(ctx)
			return err
		})
	}
	err := group.Wait()
	p.clear()
	return slices.Concat(rows...), err
}

// corruptionProgress shows how far all sweeps are, on a line that is redrawn, or on one for
// each sweep that is over.
type corruptionProgress struct {
	mu     sync.Mutex // sweeps run at the same time
	shares []float64  // of each sweep that is done
	live   bool
	began  time.Time
	drawn  time.Time
}

func (p *corruptionProgress) step(sweep int, name string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shares[sweep] = float64(done) / float64(total)
	sum := 0.0
	for _, share := range p.shares {
		sum += share / float64(len(p.shares))
	}
	switch {
	case !p.live && done == total:
		fmt.Fprintf(os.Stderr, "%3.0f %%  %s: %d mutants, after %v\n", 100*sum, name, total, time.Since(p.began).Round(time.Second))
	case p.live && time.Since(p.drawn) > 100*time.Millisecond:
		p.drawn = time.Now()
		fmt.Fprintf(os.Stderr, "\r%s %3.0f %%  %s\x1b[K", bar(int(100*sum), 100), 100*sum, name)
	}
}

func (p *corruptionProgress) clear() {
	if p.live {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
