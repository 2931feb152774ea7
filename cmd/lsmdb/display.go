package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sync/errgroup"
)

// display shows on standard error what a long command is doing. On a terminal it
// redraws a few lines in place; elsewhere, in a log for instance, it writes a
// plain line now and then, also among the events of --verbose. With --json it is
// silent.
//
// A display is used by one goroutine at a time; during hands it to its own.
type display struct {
	to       io.Writer
	ink      ink
	terminal bool
	silent   bool
	size     func() (columns, rows int)
	every    time.Duration // least time between two pictures
	last     time.Time
	drawn    int // lines of the picture on the screen
}

const (
	redrawEvery = 100 * time.Millisecond
	logEvery    = 5 * time.Second
)

func (c *console) newDisplay() *display {
	d := &display{to: c.err, ink: c.errInk(), terminal: c.errTerminal && !c.verbose, silent: c.json, size: c.terminalSize, every: logEvery}
	if d.terminal {
		d.every = redrawEvery
	}
	d.last = time.Now()
	if d.terminal {
		d.last = time.Time{} // a terminal gets its first picture at once
	}
	return d
}

// picture is what a display shows: lines for a terminal, the first of which says
// everything that a log needs.
type picture func() (lines []string)

// update draws the picture if enough time has passed since the last one. It is
// cheap enough to be called for every entry of a bulk operation.
func (d *display) update(paint picture) {
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
func (d *display) draw(lines []string) {
	if !d.terminal {
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

// clear takes the picture off the terminal, before lasting lines are printed and
// at the end. The next picture comes at once.
func (d *display) clear() {
	if d.drawn > 0 {
		io.WriteString(d.to, text.CursorUp.Sprintn(d.drawn)+eraseBelow)
		d.drawn, d.last = 0, time.Time{}
	}
}

// during runs work and keeps the picture up to date meanwhile. It is for calls
// that do not come back for a while; paint runs on another goroutine than work.
func (d *display) during(ctx context.Context, paint picture, work func(ctx context.Context) error) error {
	done := make(chan struct{}) // closed when work returned
	var group errgroup.Group
	group.Go(func() error {
		defer close(done)
		return work(ctx)
	})
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		d.update(paint)
		select {
		case <-done:
			d.clear()
			return group.Wait()
		case <-tick.C:
		}
	}
}

// bar draws a fraction as a bar of a width in columns.
func (i ink) bar(fraction float64, width int) string {
	eighths := int(fraction*float64(width)*8 + 0.5)
	eighths = min(max(eighths, 0), width*8)
	full, part := eighths/8, eighths%8
	s := strings.Repeat("█", full)
	rest := width - full
	if part > 0 {
		s += string([]rune("▏▎▍▌▋▊▉")[part-1])
		rest--
	}
	return i.accent(s) + i.faint(strings.Repeat("·", rest))
}

// progress is how far a command has come. total is 0 where nobody knows.
type progress struct {
	verb        string
	done, total int64
	items       string // what is counted; "": bytes
	detail      string
	since       time.Time
}

// amounts is done of total in the progress's unit.
func (p progress) amounts() string {
	if p.items != "" {
		return count(p.done) + " of " + count(p.total) + " " + p.items
	}
	return size(p.done) + " of " + size(p.total)
}

// progressLine is the usual first line: a bar, how much of what, how fast, how long.
func (d *display) progressLine(p progress) string {
	speed := "  " + rate(p.done, time.Since(p.since))
	if p.items != "" {
		speed = ""
	}
	if p.detail != "" {
		speed = "  " + p.detail + speed
	}
	if p.total <= 0 {
		return fmt.Sprintf("  %s  %s%s", d.ink.bold(p.verb), size(p.done), speed)
	}
	line := fmt.Sprintf("%6s  %s%s%s", percent(p.done, p.total), p.amounts(), speed, p.remaining())
	if !d.terminal {
		return p.verb + line
	}
	columns, _ := d.size()
	width := columns - len("    ") - len(p.verb) - len(line) - 1 // what is left for the bar
	return fmt.Sprintf("  %s  %s%s", d.ink.bold(p.verb), d.ink.bar(fraction(p.done, p.total), min(max(width, 8), 30)), line)
}

// remaining guesses the time that is left, once there is something to go by.
func (p progress) remaining() string {
	elapsed := time.Since(p.since)
	if p.done <= 0 || p.done >= p.total || elapsed < time.Second {
		return ""
	}
	left := time.Duration(float64(elapsed) * float64(p.total-p.done) / float64(p.done))
	return fmt.Sprintf("  %.0f s left", left.Seconds())
}
