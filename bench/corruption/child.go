package corruption

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"lsmdb/bench/engine"
)

// Request asks a child process for its work on one victim.
type Request struct {
	Engine  string
	Killed  bool
	Dir     string // of this victim: image, older and scratch lie in it
	Build   bool   // make the victim; otherwise judge mutants
	Amounts Amounts
	From    int // number of the first mutant
}

func (q Request) image() string   { return filepath.Join(q.Dir, "image") }
func (q Request) older() string   { return filepath.Join(q.Dir, "older") }
func (q Request) scratch() string { return filepath.Join(q.Dir, "scratch") }

// Event is what a judging child says: that it begins with a mutant, or what it found.
type Event struct {
	Mutant  int
	Finding *Finding `json:",omitempty"`
}

// mostResident bounds the memory of a child, which needs some tens of MiB.
const mostResident = 2 << 30

// Child does what a request asks for, and ends the process by its return.
func Child(in io.Reader, out io.Writer) error {
	os.Stdout = os.Stderr // an engine may print; out is for events alone
	var q Request
	if err := json.NewDecoder(in).Decode(&q); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if q.Build {
		if err := os.MkdirAll(q.image(), 0o700); err != nil {
			return err
		}
		return Build(q.Engine, q.image(), q.Killed, func() error {
			image, err := ReadImage(q.image())
			if err != nil {
				return err
			}
			return image.Write(q.older())
		})
	}
	image, older, mutants, err := q.load()
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	var current atomic.Int64
	debug.SetGCPercent(50)
	go func() { // it must not wait for an engine that is busy allocating
		for range time.Tick(20 * time.Millisecond) {
			if resident() > mostResident {
				_ = encoder.Encode(Event{int(current.Load()), &Finding{Memory, "more than 2 GiB"}})
				os.Exit(1)
			}
		}
	}()
	for n := q.From; n < len(mutants); n++ {
		current.Store(int64(n))
		changed := mutants[n].Apply(image, older)
		if changed == nil {
			continue
		}
		if err := changed.Write(q.scratch()); err != nil {
			return err
		}
		if err := encoder.Encode(Event{Mutant: n}); err != nil {
			return err
		}
		finding := Judge(q.Engine, q.scratch(), mutants[n], q.Killed)
		if err := encoder.Encode(Event{n, &finding}); err != nil {
			return err
		}
		if finding.Verdict == Panic {
			return nil // what the engine left behind must not touch the next one
		}
	}
	return nil
}

// load reads the victim and lists its mutants.
func (q Request) load() (image, older *Image, mutants []Mutant, err error) {
	if image, err = ReadImage(q.image()); err != nil {
		return nil, nil, nil, err
	}
	if older, err = ReadImage(q.older()); err != nil {
		return nil, nil, nil, err
	}
	return image, older, Mutants(image, older, q.Amounts), nil
}

// resident is the memory of this process in bytes, 0 where the system does not tell.
func resident() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// Versions are those of the engines, for the report.
func Versions() map[string]string {
	versions := make(map[string]string)
	for _, k := range engine.All() {
		versions[k.Name] = k.Version()
	}
	return versions
}
