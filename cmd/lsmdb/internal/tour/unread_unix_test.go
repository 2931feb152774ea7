//go:build unix

package tour_test

import (
	"os"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
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
