package report

import (
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"time"

	"lsmdb/bench/engine"
	"lsmdb/bench/workload"
)

// EngineInfo says what was measured.
type EngineInfo struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Settings []string `json:"settings"`
}

// Machine says where.
type Machine struct {
	System     string `json:"system"`
	Processors int    `json:"processors"`
	Processor  string `json:"processor"`
	GoVersion  string `json:"go_version"`
}

// File is the JSON form of a run.
type File struct {
	Time    time.Time         `json:"time"`
	Command string            `json:"command"`
	Machine Machine           `json:"machine"`
	Rounds  int               `json:"rounds"`
	Scale   workload.Scale    `json:"scale"`
	Engines []EngineInfo      `json:"engines"`
	Rows    []Row             `json:"rows"`
	Results []workload.Result `json:"results"` // every round
}

// Engines describes kinds with what they are opened with.
func Engines(kinds []engine.Kind, o engine.Options) []EngineInfo {
	var infos []EngineInfo
	for _, k := range kinds {
		infos = append(infos, EngineInfo{Name: k.Name, Version: k.Version(), Settings: k.Settings(o)})
	}
	return infos
}

// ThisMachine describes the machine.
func ThisMachine() Machine {
	m := Machine{System: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.NumCPU(), GoVersion: runtime.Version()}
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			m.Processor = strings.TrimSpace(value)
			break
		}
	}
	return m
}

// Write stores the file at path.
func (f *File) Write(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
