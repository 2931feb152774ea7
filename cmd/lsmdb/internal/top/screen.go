package top

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"lsmdb/cmd/lsmdb/internal/console"
)

// controlC is what a terminal sends for that key when it makes no signal of it.
const controlC = 3

// screen is a terminal that shows nothing else meanwhile.
type screen struct {
	in     *os.File
	out    *os.File
	before *term.State
}

// What terminals obey: another screen without a cursor, and back; the place from which a
// picture is drawn over the one before.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	toTop       = "\x1b[H"
	eraseBelow  = "\x1b[J"
)

// openScreen takes over the terminal of a console that has one.
func openScreen(c *console.Console) (*screen, error) {
	s := &screen{in: c.In.(*os.File), out: c.Out.(*os.File)}
	var err error
	if s.before, err = term.MakeRaw(int(s.in.Fd())); err != nil {
		return nil, err
	}
	if _, err = io.WriteString(s.out, enterScreen); err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

// close gives the terminal back as it was.
func (s *screen) close() error {
	_, err := io.WriteString(s.out, leaveScreen)
	if restored := term.Restore(int(s.in.Fd()), s.before); err == nil {
		err = restored
	}
	return err
}

// show replaces the picture. What does not fit the terminal as it is now is left out.
// Everything goes out in one write, so that nothing flickers.
func (s *screen) show(lines []string) error {
	columns, rows, err := term.GetSize(int(s.out.Fd()))
	if err != nil || columns <= 0 || rows <= 0 {
		columns, rows = 80, 24
	}
	lines = lines[:min(len(lines), rows)]
	var b strings.Builder
	b.WriteString(toTop)
	for n, line := range lines {
		if n > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(text.Trim(line, columns-1) + text.EraseLine.Sprint())
	}
	b.WriteString(eraseBelow)
	_, err = io.WriteString(s.out, b.String())
	return err
}

// keys returns a channel with what is typed. It is closed when nothing can come any more;
// its reader gives up when ctx ends.
func (s *screen) keys(ctx context.Context) <-chan byte {
	keys := make(chan byte)
	typed := console.NewReader(ctx, s.in)
	go func() {
		defer close(keys)
		var key [1]byte
		for {
			if _, err := io.ReadFull(typed, key[:]); err != nil {
				return
			}
			select {
			case keys <- key[0]:
			case <-ctx.Done():
				return
			}
		}
	}()
	return keys
}
