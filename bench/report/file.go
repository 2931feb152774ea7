package report

import (
	"encoding/json"
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
