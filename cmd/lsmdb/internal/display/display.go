// Package display draws what a command shows to people: lines that are redrawn while
// it works, bars, tables, and pictures of the pipeline and the tree.
package display

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sync/errgroup"

	"lsmdb/cmd/lsmdb/internal/units"
)

// Display shows on standard error what a long command is doing. On a terminal it
// redraws a few lines in place; elsewhere, in a log for instance, it writes a
// plain line now and then, also among the events of --verbose. With --json it is
// silent.
//
// A display is used by one goroutine at a time; During hands it to its own.
type Display struct {
	Ink      Ink
	Terminal bool

	to     io.Writer
	silent bool
	size   func() (columns, rows int)
	every  time.Duration // least time between two pictures
	last   time.Time
	drawn  int // lines of the picture on the screen
}

// New returns a display. A terminal, whose size in columns and rows is asked for with
// each picture, gets its first one at once; a log when the work has taken a while.
func New(to io.Writer, ink Ink, terminal, silent bool, size func() (columns, rows int)) *Display {
	d := &Display{Ink: ink, Terminal: terminal, to: to, silent: silent, size: size, every: logEvery, last: time.Now()}
	if terminal {
		d.every, d.last = RedrawEvery, time.Time{}
	}
	return d
}

// The least times between two pictures: on a terminal, and elsewhere.
const (
	RedrawEvery = 100 * time.Millisecond
	logEvery    = 5 * time.Second
)

// Picture is what a display shows: lines for a terminal, the first of which says
// everything that a log needs.
type Picture func() (lines []string)

// Update draws the picture if enough time has passed since the last one. It is
// cheap enough to be called for every entry of a bulk operation.
func (d *Display) Update(paint Picture) {
	if d.silent {
		return
	}
	if now := time.Now(); now.Sub(d.last) >= d.every {
		d.last = now
		d.draw(paint())
	}
}

// draw replaces the lines on the terminal. Everything goes out in one write, so
// that nothing flickers.
func (d *Display) draw(lines []string) {
	if !d.Terminal {
		fmt.Fprintf(d.to, "%s\n", strings.TrimSpace(lines[0]))
		return
	}
	columns, rows := d.size()
	if len(lines) > rows-1 {
		lines = lines[:max(rows-1, 1)]
	}
	var b strings.Builder
	if d.drawn > 0 {
		b.WriteString(text.CursorUp.Sprintn(d.drawn))
	}
	for _, line := range lines {
		b.WriteString(text.Trim(line, columns-1))
		b.WriteString(text.EraseLine.Sprint() + "\n")
	}
	b.WriteString(eraseBelow)
	io.WriteString(d.to, b.String())
	d.drawn = len(lines)
}

// eraseBelow clears from the cursor to the end of the screen.
const eraseBelow = "\x1b[J"

// Clear takes the picture off the terminal, before lasting lines are printed and
// at the end. The next picture comes at once.
func (d *Display) Clear() {
	if d.drawn > 0 {
		io.WriteString(d.to, text.CursorUp.Sprintn(d.drawn)+eraseBelow)
		d.drawn, d.last = 0, time.Time{}
	}
}

// During runs work and keeps the picture up to date meanwhile. It is for calls
// that do not come back for a while; paint runs on another goroutine than work.
func (d *Display) During(ctx context.Context, paint Picture, work func(ctx context.Context) error) error {
	done := make(chan struct{}) // closed when work returned
	var group errgroup.Group
	group.Go(func() error {
		defer close(done)
		return work(ctx)
	})
	tick := time.NewTicker(RedrawEvery)
	defer tick.Stop()
	for {
		d.Update(paint)
		select {
		case <-done:
			d.Clear()
			return group.Wait()
		case <-tick.C:
		}
	}
}

// Progress is how far a command has come. total is 0 where nobody knows.
type Progress struct {
	Verb        string
	Done, Total int64
	Items       string // what is counted; "": bytes
	Detail      string
	Since       time.Time
}

// amounts is done of total in the progress's unit.
func (p Progress) amounts() string {
	if p.Items != "" {
		return units.Count(p.Done) + " of " + units.Count(p.Total) + " " + p.Items
	}
	return units.Size(p.Done) + " of " + units.Size(p.Total)
}

// ProgressLine is the usual first line: a bar, how much of what, how fast, how long.
func (d *Display) ProgressLine(p Progress) string {
	speed := "  " + units.Rate(p.Done, time.Since(p.Since))
	if p.Items != "" {
		speed = ""
	}
	if p.Detail != "" {
		speed = "  " + p.Detail + speed
	}
	if p.Total <= 0 {
		return fmt.Sprintf("  %s  %s%s", d.Ink.Bold(p.Verb), units.Size(p.Done), speed)
	}
	line := fmt.Sprintf("%6s  %s%s%s", units.Percent(p.Done, p.Total), p.amounts(), speed, p.remaining())
	if !d.Terminal {
		return p.Verb + line
	}
	columns, _ := d.size()
	width := columns - len("    ") - len(p.Verb) - len(line) - 1 // what is left for the bar
	return fmt.Sprintf("  %s  %s%s", d.Ink.Bold(p.Verb), d.Ink.Bar(units.Fraction(p.Done, p.Total), min(max(width, 8), 30)), line)
}

// remaining guesses the time that is left, once there is something to go by.
func (p Progress) remaining() string {
	elapsed := time.Since(p.Since)
	if p.Done <= 0 || p.Done >= p.Total || elapsed < time.Second {
		return ""
	}
	left := time.Duration(float64(elapsed) * float64(p.Total-p.Done) / float64(p.Done))
	return fmt.Sprintf("  %.0f s left", left.Seconds())
}
