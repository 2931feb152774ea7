package commandtest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is both ends of one: what a person has, and what a program has.
type Terminal struct {
	Person, Program *os.File
	unread          string
}

// NewTerminal makes one that lasts until the test ends.
func NewTerminal(t *testing.T) *Terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	person := os.NewFile(uintptr(fd), "/dev/ptmx") // not blocking: reads have a deadline
	t.Cleanup(func() { person.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	return &Terminal{Person: person, Program: program}
}

// WaitFor waits until that text was shown, behind what was waited for before.
func (term *Terminal) WaitFor(t *testing.T, text string) {
	t.Helper()
	term.Until(t, text)
}

// Until is WaitFor and returns what was shown before the text.
func (term *Terminal) Until(t *testing.T, text string) (before string) {
	t.Helper()
	term.Person.SetReadDeadline(time.Now().Add(20 * time.Second))
	buffer := make([]byte, 4096)
	for !strings.Contains(term.unread, text) {
		n, err := term.Person.Read(buffer)
		term.unread += string(buffer[:n])
		if err != nil {
			t.Fatalf("%v; shown: %q", err, term.unread)
		}
	}
	before, term.unread, _ = strings.Cut(term.unread, text)
	return before
}

// Enter types a line.
func (term *Terminal) Enter(t *testing.T, line string) {
	t.Helper()
	if _, err := term.Person.WriteString(line + "\r"); err != nil {
		t.Fatal(err)
	}
}

// Mode tells how the terminal is set.
func (term *Terminal) Mode(t *testing.T) unix.Termios {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(term.Program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *mode
}
