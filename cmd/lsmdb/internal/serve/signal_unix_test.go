//go:build unix

package serve_test

import (
	"bufio"
	"net/http"
	"os"
	"syscall"
	"testing"

	"lsmdb/cmd/lsmdb/internal/commandtest"
)

// As a process of its own, with --json and a signal.
func TestServeEndsBySignal(t *testing.T) {
	dir := commandtest.FilledDatabase(t, "k", "v")
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		process, errOut := commandtest.CommandProcess(t, "serve", dir, "--json")
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("%v: %s", err, errOut)
		}
		page, _ := commandtest.Object(t, line)["url"].(string)
		response, err := http.Get(page + "events")
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := process.Wait(); err != nil {
			t.Errorf("after %v: %v, %s", signal, err, errOut)
		}
		response.Body.Close()
	}
}
