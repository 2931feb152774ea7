package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"lsmdb/bench/engine"
	"lsmdb/bench/workload"
)

// runner does everything that was asked for, one child process at a time.
type runner struct {
	engines    []engine.Kind
	stations   []station
	rounds     int
	profileDir string
	progress   *progress
	results    []workload.Result
}

// station is a section at one scale.
type station struct {
	section    workload.Section
	scale      workload.Scale
	processors int // GOMAXPROCS; 0: as Go chooses
	title      string
}

// turns is how many turns there are in all.
func (r *runner) turns() (n int) {
	for _, s := range r.stations {
		for _, kind := range r.engines {
			if kind.Able(s.section.Needs) {
				n += r.rounds
			}
		}
	}
	return n
}

// run goes through the stations; at each, in every round, all engines take their turn
// that can do what it needs. Each round begins with another engine, so that none always
// has the same predecessor.
func (r *runner) run(ctx context.Context) error {
	root, err := os.MkdirTemp("", "lsmdb-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	for _, s := range r.stations {
		for round := range r.rounds {
			for turn := range r.engines {
				kind := r.engines[(turn+round)%len(r.engines)]
				if !kind.Able(s.section.Needs) {
					continue
				}
				if err := r.station(ctx, root, s, kind, round+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// station runs the acts of one section on one engine, in a directory that is
// removed afterwards.
func (r *runner) station(ctx context.Context, root string, s station, kind engine.Kind, round int) error {
	dir, err := os.MkdirTemp(root, "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r.progress.begin(kind.Name, s.title, round)
	for act := range s.section.Acts {
		q := workload.Request{
			Engine: kind.Name, Section: s.section.Name, Act: act, Round: round, Dir: dir, Scale: s.scale,
		}
		if kind.Name == "lsmdb" {
			q.ProfileDir = r.profileDir
		}
		if err := r.act(ctx, q, s.environment(act)...); err != nil {
			return fmt.Errorf("%s, %s, round %d: %w", kind.Name, s.title, round, err)
		}
	}
	r.progress.end()
	return nil
}

// environment returns the variables of a child process beyond those of this one.
func (s station) environment(act int) (variables []string) {
	if s.processors > 0 {
		variables = append(variables, fmt.Sprintf("GOMAXPROCS=%d", s.processors))
	}
	if limit := s.section.Acts[act].MemoryLimit; limit != "" {
		variables = append(variables, "GOMEMLIMIT="+limit)
	}
	return variables
}

// act runs a child process and takes in its events.
func (r *runner) act(ctx context.Context, q workload.Request, environment ...string) error {
	request, err := json.Marshal(q)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	var messages bytes.Buffer
	command := exec.CommandContext(ctx, program, childName)
	command.Env = append(os.Environ(), environment...)
	command.Stdin, command.Stderr = bytes.NewReader(request), &messages
	events, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start child: %w", err)
	}
	readErr := r.readEvents(events)
	if err := command.Wait(); err != nil {
		return fmt.Errorf("child failed: %w\n%s", err, messages.Bytes())
	}
	return readErr
}

// readEvents returns at the end of the stream. On an event that it does not
// understand it reads on, so that the child is not held up.
func (r *runner) readEvents(events io.Reader) error {
	decoder := json.NewDecoder(events)
	for {
		var e workload.Event
		switch err := decoder.Decode(&e); {
		case err == io.EOF:
			return nil
		case err != nil:
			_, _ = io.Copy(io.Discard, events)
			return fmt.Errorf("read event of child: %w", err)
		case e.Result != nil:
			r.results = append(r.results, *e.Result)
		case e.Progress != nil:
			r.progress.step(r.progress.current, *e.Progress)
		default:
			r.progress.step(e.Step, workload.Progress{})
		}
	}
}

// prepareProfiles makes the directory for profiles.
func prepareProfiles(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return absolute, os.MkdirAll(absolute, 0o755)
}
