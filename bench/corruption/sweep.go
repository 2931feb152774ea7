package corruption

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// patience is how long one mutant may take before it counts as a hang. All engines open
// their undamaged victim in some milliseconds.
const patience = 20 * time.Second

var errHang = fmt.Errorf("no answer within %v", patience)

// Sweep judges all mutants of one victim. It starts the program that it runs in with
// the argument childName again and again, which must call Child.
type Sweep struct {
	Engine    string
	Killed    bool
	Root      string // existing directory for its own
	Amounts   Amounts
	ChildName string
	Progress  func(done, total int) // called from Run's goroutine

	rows map[string]*Row
}

// Run returns a row for each kind of file.
func (s *Sweep) Run(ctx context.Context) ([]Row, error) {
	left := map[bool]string{false: "closed", true: "killed"}[s.Killed]
	q := Request{Engine: s.Engine, Killed: s.Killed, Dir: filepath.Join(s.Root, s.Engine+"-"+left), Build: true, Amounts: s.Amounts}
	if err := os.MkdirAll(q.Dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(q.Dir)
	if messages, err := s.child(ctx, q, nil); err != nil {
		return nil, fmt.Errorf("building a %s database of %s: %w\n%s", left, s.Engine, err, messages)
	}
	q.Build = false
	_, _, mutants, err := q.load()
	if err != nil {
		return nil, err
	}
	s.rows = make(map[string]*Row)
	for q.From < len(mutants) {
		if q.From, err = s.judge(ctx, q, mutants); err != nil {
			return nil, err
		}
	}
	s.Progress(len(mutants), len(mutants))
	var rows []Row
	for _, kind := range Kinds {
		if row := s.rows[kind]; row != nil {
			row.Engine, row.Left, row.File = s.Engine, left, kind
			rows = append(rows, *row)
		}
	}
	return rows, nil
}

// judge runs one child until it ends and returns the number of the mutant after the last
// one that was judged.
func (s *Sweep) judge(ctx context.Context, q Request, mutants []Mutant) (next int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begun := -1
	watch := time.AfterFunc(patience, func() { cancel(errHang) })
	next = q.From
	messages, childErr := s.child(ctx, q, func(e Event) {
		watch.Reset(patience)
		begun = e.Mutant
		if e.Finding != nil {
			s.add(mutants[e.Mutant], *e.Finding)
			begun, next = -1, e.Mutant+1
			s.Progress(e.Mutant, len(mutants))
		}
	})
	watch.Stop()
	switch {
	case begun >= 0 && context.Cause(ctx) == errHang:
		s.add(mutants[begun], Finding{Hang, errHang.Error()})
		return begun + 1, nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case begun >= 0 && childErr != nil:
		s.add(mutants[begun], Finding{Panic, "the process ended: " + string(messages)})
		return begun + 1, nil
	case childErr != nil && next == q.From:
		return 0, fmt.Errorf("judging %s: %w\n%s", s.Engine, childErr, messages)
	case next == q.From:
		return len(mutants), nil // what is left changes nothing
	}
	return next, nil
}

func (s *Sweep) add(m Mutant, f Finding) {
	kind := FileKind(m.File)
	if s.rows[kind] == nil {
		s.rows[kind] = &Row{}
	}
	s.rows[kind].Add(m, f)
}

// child runs one child process and passes its events on. It returns the beginning of
// what the child wrote to its standard error.
func (s *Sweep) child(ctx context.Context, q Request, take func(Event)) ([]byte, error) {
	request, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var messages bytes.Buffer
	command := exec.CommandContext(ctx, program, s.ChildName)
	command.Stdin, command.Stderr = bytes.NewReader(request), &messages
	events, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(events)
	for {
		var e Event
		if err := decoder.Decode(&e); err != nil {
			if !errors.Is(err, io.EOF) {
				_ = command.Process.Kill()
			}
			break
		}
		if take != nil {
			take(e)
		}
	}
	err = command.Wait()
	return messages.Bytes()[:min(600, messages.Len())], err
}
