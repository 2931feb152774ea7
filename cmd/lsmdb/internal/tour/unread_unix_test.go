//go:build unix

package tour_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"lsmdb/cmd/lsmdb/internal/command"
	"lsmdb/cmd/lsmdb/internal/commandtest"
	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/tour"
)

// A tour whose output nobody reads any more removes its directory all the same.
func TestTourUnread(t *testing.T) {
	root, _ := tour.SmallTree(t)
	temporary := temporaries(t)
	command, errOut := commandtest.CommandProcess(t, "tour", "--source", root)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	command.Stdout = writer
	command.Run()
	writer.Close()
	if code := command.ProcessState.ExitCode(); code != exit.Interrupted {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	wantEmpty(t, temporary)
}

// So does a live tour.
func TestTourServeUnread(t *testing.T) {
	root, _ := tour.SmallTree(t)
	temporary := temporaries(t)
	command, errOut := commandtest.CommandProcess(t, "tour", "--serve", "--source", root)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	command.Stdout = writer
	command.Run()
	writer.Close()
	if code := command.ProcessState.ExitCode(); code != exit.Failed {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	wantEmpty(t, temporary)
}

// A live tour goes on when the connection of a viewer breaks, of which the system tells like
// of output that nobody reads.
func TestTourServeOutlivesViewers(t *testing.T) {
	root, _ := tour.SmallTree(t)
	temporary := temporaries(t)
	*tour.Minute = time.Second
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- command.Run(ctx, []string{"tour", "--serve", "--source", root}, &console.Console{In: strings.NewReader(""), Out: writer, Err: io.Discard})
		writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	for n := 0; lines.Scan(); n++ {
		if n == 1 { // an act has begun
			if err := syscall.Kill(os.Getpid(), syscall.SIGPIPE); err != nil {
				t.Fatal(err)
			}
		}
		if n == 6 {
			cancel()
		}
	}
	if got := <-code; got != exit.OK || ctx.Err() == nil {
		t.Errorf("exit code %d, interrupted: %v", got, ctx.Err())
	}
	wantEmpty(t, temporary)
}
