package display

import (
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Ink colours text where the output is a terminal and leaves it alone otherwise.
type Ink struct{ On bool }

// NewInk returns the ink for an output. It follows https://no-color.org, and terminals
// that say they have no colours.
func NewInk(terminal bool) Ink {
	return Ink{On: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && text.ANSICodesSupported}
}

func (i Ink) paint(s string, colours ...text.Color) string {
	if !i.On || s == "" {
		return s
	}
	return text.Escape(s, text.Colors(colours).EscapeSeq())
}

// Bold is for names and titles.
func (i Ink) Bold(s string) string { return i.paint(s, text.Bold) }

// Faint is for what one may overlook.
func (i Ink) Faint(s string) string { return i.paint(s, text.Faint) }

// Good is for success.
func (i Ink) Good(s string) string { return i.paint(s, text.FgGreen) }

// Bad is for errors and damage.
func (i Ink) Bad(s string) string { return i.paint(s, text.FgRed, text.Bold) }

// Warm is for what deserves attention.
func (i Ink) Warm(s string) string { return i.paint(s, text.FgYellow) }

// Accent is for keys and bars.
func (i Ink) Accent(s string) string { return i.paint(s, text.FgCyan) }

// Bar draws a fraction as a bar of a width in columns.
func (i Ink) Bar(fraction float64, width int) string {
	eighths := int(fraction*float64(width)*8 + 0.5)
	eighths = min(max(eighths, 0), width*8)
	full, part := eighths/8, eighths%8
	s := strings.Repeat("█", full)
	rest := width - full
	if part > 0 {
		s += string([]rune("▏▎▍▌▋▊▉")[part-1])
		rest--
	}
	return i.Accent(s) + i.Faint(strings.Repeat("·", rest))
}
