package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"lsmdb/bench/workload"
)

// progress shows how far the run is: one line that is redrawn on a terminal, one
// line per finished turn otherwise. It belongs to the runner's goroutine.
type progress struct {
	out      io.Writer
	columns  int // 0: not a terminal
	turns    int // of all engines, rounds and sections
	finished int
	began    time.Time
	title    string
	turn     time.Time // when the present turn began
	current  string    // step of the child
}

func newProgress(out *os.File, turns int) *progress {
	p := &progress{out: out, turns: turns, began: time.Now()}
	if columns, _, err := term.GetSize(int(out.Fd())); err == nil {
		p.columns = columns
	}
	return p
}

func (p *progress) begin(engine, section string, round int) {
	p.title = fmt.Sprintf("%s, round %d, %s", section, round, engine)
	p.turn = time.Now()
	p.step("", workload.Progress{})
}

// step redraws the line.
func (p *progress) step(name string, at workload.Progress) {
	p.current = name
	if p.columns == 0 {
		return
	}
	line := fmt.Sprintf("%s %3d %%  %s: %s", bar(p.finished, p.turns), 100*p.finished/p.turns, p.title, name)
	switch {
	case at.Total > 0:
		line += fmt.Sprintf(" %d %%", min(100, 100*at.Done/at.Total))
	case at.Done > 0:
		line += fmt.Sprintf(" %d", at.Done)
	}
	fmt.Fprint(p.out, "\r", text.Trim(line+p.remaining(), p.columns-1), "\x1b[K")
}

func bar(done, total int) string {
	const cells = 20
	filled := cells * done / total
	return strings.Repeat("█", filled) + strings.Repeat("·", cells-filled)
}

// remaining guesses from the turns that are over.
func (p *progress) remaining() string {
	if p.finished == 0 {
		return ""
	}
	elapsed := time.Since(p.began)
	left := elapsed / time.Duration(p.finished) * time.Duration(p.turns-p.finished)
	return fmt.Sprintf("  about %v left", left.Round(time.Second))
}

func (p *progress) end() {
	p.finished++
	if p.columns == 0 {
		fmt.Fprintf(p.out, "%3d %%  %s: %.1f s\n", 100*p.finished/p.turns, p.title, time.Since(p.turn).Seconds())
	}
}

// clear removes the line.
func (p *progress) clear() {
	if p.columns > 0 {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
