package report

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Origin says when, where and with which command figures were measured.
type Origin struct {
	Time    time.Time `json:"time"`
	Command string    `json:"command"`
	Commit  string    `json:"commit,omitempty"`
	Machine Machine   `json:"machine"`
}

// NewOrigin describes a run of this program that began at a time, with databases in dir.
func NewOrigin(ctx context.Context, began time.Time, arguments []string, dir string) Origin {
	return Origin{Time: began.UTC(), Command: CommandLine(buildTags(), arguments), Commit: Commit(ctx), Machine: ThisMachine(dir)}
}

// line is a name and a value of the description.
type line struct{ name, value string }

// Describe writes the beginning of a file of results.
func (o Origin) Describe(out io.Writer, path string, more ...line) {
	fmt.Fprintf(out, "# Results: %s\n\n", strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	fmt.Fprintf(out, "The benchmark wrote this file ([how](../README.md)). Run the command again instead of editing it.\n\n")
	m := o.Machine
	t := table.NewWriter()
	t.AppendHeader(table.Row{"", ""})
	for _, l := range append([]line{
		{"command, in `bench/`", "`" + o.Command + "`"},
		{"commit", o.Commit},
		{"date", o.Time.Format("2006-01-02")},
		{"processor", fmt.Sprintf("%s, %d cores", orUnknown(m.Processor), m.Processors)},
		{"memory", fmt.Sprintf("%.1f GiB", float64(m.MemoryBytes)/(1<<30))},
		{"system", strings.TrimSpace(m.System + ", kernel " + orUnknown(m.Kernel))},
		{"file system", m.FileSystem},
		{"Go", m.GoVersion},
	}, more...) {
		if l.value != "" {
			t.AppendRow(table.Row{l.name, l.value})
		}
	}
	fmt.Fprintf(out, "%s\n\n", t.RenderMarkdown())
}

// buildTags returns those that this program was built with.
func buildTags() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-tags" {
				return s.Value
			}
		}
	}
	return ""
}

// CommandLine writes the command as it can be repeated elsewhere: without the flags
// that say where files go.
func CommandLine(tags string, arguments []string) string {
	line := []string{"go", "run"}
	if tags != "" {
		line = append(line, "-tags", tags)
	}
	line = append(line, ".")
	for at := 0; at < len(arguments); at++ {
		name, _, joined := strings.Cut(arguments[at], "=")
		switch strings.TrimLeft(name, "-") {
		case "json", "results", "pictures", "profile":
			if strings.HasPrefix(name, "--") {
				if !joined {
					at++
				}
				continue
			}
		}
		line = append(line, quoted(arguments[at]))
	}
	return strings.Join(line, " ")
}

// quoted protects an argument from a shell where it is empty or contains a space.
func quoted(argument string) string {
	if argument == "" || strings.Contains(argument, " ") {
		return "'" + argument + "'"
	}
	return argument
}
