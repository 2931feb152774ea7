package console

import (
	"bytes"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"

	"lsmdb/cmd/lsmdb/internal/display"
)

func TestColours(t *testing.T) {
	if got := (display.Ink{}).Bad("x"); got != "x" {
		t.Errorf("without colours: %q", got)
	}
	if got := (display.Ink{On: true}).Bad("x"); got == "x" || text.StripEscape(got) != "x" {
		t.Errorf("with colours: %q", got)
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	onTerminal := &Console{OutTerminal: true, ErrTerminal: true}
	if !onTerminal.OutInk().On || !onTerminal.ErrInk().On || (&Console{}).OutInk().On {
		t.Error("colours belong on a terminal, and only there")
	}
	t.Setenv("NO_COLOR", "1")
	if onTerminal.OutInk().On || onTerminal.ErrInk().On {
		t.Error("NO_COLOR is not heeded")
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if onTerminal.OutInk().On {
		t.Error("a dumb terminal has no colours")
	}
}

// A log gets no picture at once: short work leaves no trace in it. Machines get none
// at all.
func TestDisplayElsewhere(t *testing.T) {
	var log bytes.Buffer
	(&Console{Err: &log}).NewDisplay().Update(func() []string { t.Error("painted at once"); return nil })
	silent := &Console{Err: &log, ErrTerminal: true, JSON: true}
	silent.NewDisplay().Update(func() []string { t.Error("painted for a machine"); return nil })
	if log.Len() > 0 {
		t.Errorf("the log got %q", log.String())
	}
}
