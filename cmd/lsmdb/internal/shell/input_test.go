package shell

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/db"
)

func TestShellCompletion(t *testing.T) {
	database, err := db.Open("", &db.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	for _, key := range []string{"fruit/apple", "fruit/plum", "tree", "two words"} {
		if err := database.Put([]byte(key), nil); err != nil {
			t.Fatal(err)
		}
	}
	s := &shell{console: &console.Console{}, database: database}
	for _, c := range []struct {
		line string
		want []string
	}{
		{"s", []string{"set ", "size ", "scan ", "stats "}},
		{"sca", []string{"scan "}},
		{"x", nil},
		{"get fruit/", []string{"get fruit/apple", "get fruit/plum"}},
		{"rm t", []string{"rm tree", `rm "two words"`}},
		{"size t", []string{"size tree", `size "two words"`}},
		{"outside g", []string{"outside get "}},
		{"outside get tr", []string{"outside get tree"}},
		{"be", []string{"begin "}},
		{"stats t", nil},
		{"frob t", nil},
		{`get "t`, nil},
	} {
		if got := s.complete(c.line); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.line, got, c.want)
		}
	}
}

func TestHistoryFile(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", filepath.Join("some", "state"))
	if got := historyFile(); got != filepath.Join("some", "state", "lsmdb", "shell-history") {
		t.Errorf("got %q", got)
	}
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "")
	t.Setenv("AppData", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	if got := historyFile(); got != "" {
		t.Errorf("without any directory: %q", got)
	}
}

// What a terminal shows of a long value is its start.
func TestLongValuesOnTerminal(t *testing.T) {
	value := bytes.Repeat([]byte("v"), 5000)
	onTerminal := &shell{console: &console.Console{OutTerminal: true}}
	if got := onTerminal.shown(value); len(got) > 3000 || !strings.Contains(got, "5,000 bytes in all") {
		t.Errorf("got %d bytes", len(got))
	}
	if got := (&shell{console: &console.Console{}}).shown(value); got != string(value) {
		t.Errorf("elsewhere: %d bytes", len(got))
	}
}
