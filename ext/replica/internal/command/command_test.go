package command

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// commandVariable makes the test binary the command.
const commandVariable = "LSMDB_NODE_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandVariable) != "" {
		os.Exit(Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestUsage(t *testing.T) {
	for line, want := range map[string]struct {
		code int
		says string
	}{
		"--help":                              {0, "lsmdb-node demo"},
		"":                                    {0, "lsmdb-node demo"},
		"serve --help":                        {0, "--member"},
		"demo --help":                         {0, "checkpoint"},
		"dmeo":                                {2, "dmeo"},
		"serve":                               {2, "--id and --dir"},
		"serve --id a --dir d x":              {2, "no arguments"},
		"serve --id a --dir d --member a":     {2, "a=127.0.0.1:7401"},
		"serve --id a --dir d --nonsense":     {2, "nonsense"},
		"serve --id a --dir d --http here":    {2, "127.0.0.1:7400"},
		"serve --id a --dir d --http :80":     {2, "--tls-cert"},
		"serve --id a --dir d --tls-cert x":   {2, "go together"},
		"demo --files 3":                      {2, "at least 30"},
		"demo --data /nonexistent":            {1, "/nonexistent"},
		"serve --id a --dir d --listen 0:1":   {2, "read and write everything"},
		"serve --id a --dir d --listen [::]:": {2, "read and write everything"},
	} {
		var out, errs bytes.Buffer
		code := Run(t.Context(), strings.Fields(line), &out, &errs)
		if code != want.code || !strings.Contains(out.String()+errs.String(), want.says) {
			t.Errorf("%q: %d\n%s%s", line, code, out.String(), errs.String())
		}
	}
}

// TestServe runs a node as a process, writes, kills it, and reads in its next life.
func TestServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	serve := func() (*exec.Cmd, string) {
		cmd := exec.Command(os.Args[0], "serve", "--id", "a", "--dir", dir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--member", "a=127.0.0.1:1")
		cmd.Env = append(os.Environ(), commandVariable+"=1")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		line := make([]byte, 1000)
		n, _ := out.Read(line)
		address := regexp.MustCompile(`http://\S+`).FindString(string(line[:n]))
		if address == "" {
			t.Fatalf("it says %q", line[:n])
		}
		return cmd, address
	}
	ask := func(method, url, body string) (int, string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			request, err := http.NewRequest(method, url, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusServiceUnavailable || time.Now().After(deadline) {
				return response.StatusCode, string(text)
			}
			_ = err
		}
	}
	cmd, address := serve()
	if code, text := ask(http.MethodPut, address+"/kv/k", "v"); code != http.StatusNoContent {
		t.Fatalf("put: %d %s", code, text)
	}
	var errs bytes.Buffer
	if code := Run(t.Context(), []string{"serve", "--id", "b", "--dir", dir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}, io.Discard, &errs); code != exitInUse {
		t.Errorf("a second node in the same directory: %d %s", code, errs.String())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	cmd, address = serve()
	if code, text := ask(http.MethodGet, address+"/kv/k", ""); code != http.StatusOK || text != "v" {
		t.Errorf("after a kill: %d %s", code, text)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("an interrupted node: %v", err)
	}
}

// TestDemo runs the demo on few files.
func TestDemo(t *testing.T) {
	cmd := exec.Command(os.Args[0], "demo", "--files", "300")
	cmd.Env = append(os.Environ(), commandVariable+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"is killed without warning", "leads; writes waited", "from a checkpoint", "node c  ", "Nothing that was acknowledged is lost: 300 files"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q", want)
		}
	}
}
