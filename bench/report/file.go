package report

import (
	"encoding/json"
	"fmt"
	"os"

	"lsmdb/bench/engine"
	"lsmdb/bench/workload"
)

// EngineInfo says what was measured.
type EngineInfo struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Settings []string `json:"settings"`
}

// File is the JSON form of a run.
type File struct {
	Origin
	Rounds  int               `json:"rounds"`
	Scale   workload.Scale    `json:"scale"`
	Sizes   string            `json:"sizes"`  // the scale in words
	Common  string            `json:"common"` // settings of all engines
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

// Write stores the file at path.
func (f *File) Write(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Read loads what Write stored.
func Read(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := new(File)
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("%s holds no run of this program: %w", path, err)
	}
	if len(f.Rows) == 0 {
		return nil, fmt.Errorf("%s holds no figures of this program", path)
	}
	return f, nil
}
