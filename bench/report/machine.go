package report

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine says where a run took place, without naming the machine.
type Machine struct {
	System      string `json:"system"`
	Kernel      string `json:"kernel"`
	Processors  int    `json:"processors"`
	Processor   string `json:"processor"`
	MemoryBytes uint64 `json:"memory_bytes"`
	FileSystem  string `json:"file_system"`
	GoVersion   string `json:"go_version"`
}

// ThisMachine describes the machine, and the file system that dir lies in.
func ThisMachine(dir string) Machine {
	m := Machine{
		System: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.NumCPU(), GoVersion: runtime.Version(),
		Processor: field("/proc/cpuinfo", "model name"), FileSystem: fileSystem(dir),
	}
	kilobytes, _ := strconv.ParseUint(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	m.MemoryBytes = kilobytes << 10
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return m
}

// field returns the value of the first line "name: value" of a file of /proc.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystem returns the type of the mount that dir is in: the longest mount point
// that is a prefix of it.
func fileSystem(dir string) string {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return ""
	}
	longest, kind := -1, ""
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line) // device, mount point, type
		if len(fields) < 3 {
			continue
		}
		point := strings.TrimSuffix(fields[1], "/")
		if strings.HasPrefix(absolute+"/", point+"/") && len(point) >= longest {
			longest, kind = len(point), fields[2]
		}
	}
	return kind
}

// Commit names the checkout that was measured: what the build recorded, else what
// git says here; empty when neither is available.
func Commit(ctx context.Context) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		recorded := map[string]string{}
		for _, s := range info.Settings {
			recorded[s.Key] = s.Value
		}
		if revision := recorded["vcs.revision"]; revision != "" {
			const shown = 12
			revision = revision[:min(shown, len(revision))]
			if recorded["vcs.modified"] == "true" {
				revision += "-dirty"
			}
			return revision
		}
	}
	text, err := exec.CommandContext(context.WithoutCancel(ctx), "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
