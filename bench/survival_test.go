package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"lsmdb/bench/engine"
	"lsmdb/bench/workload"
)

// killedName is the command of a process that writes and is killed.
const killedName = "killed"

// victim is what such a process is told.
type victim struct {
	Engine  string
	Options engine.Options
}

// survivalPuts are few enough for any buffer of a log.
const survivalPuts = 50

// putAndDie puts some entries, is answered, and kills its own process.
func putAndDie(in io.Reader, _ io.Writer) error {
	var v victim
	if err := json.NewDecoder(in).Decode(&v); err != nil {
		return err
	}
	kind, err := engine.Find(v.Engine)
	if err != nil {
		return err
	}
	opened, err := kind.Open(v.Options)
	if err != nil {
		return err
	}
	for i := range survivalPuts {
		if err := opened.Put(fmt.Append(nil, "key ", i), []byte("value")); err != nil {
			return err
		}
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// TestAcknowledgedWritesSurviveAKillAsTheTablesSay kills a process of every engine and
// level. What a power failure would leave is beyond this test.
func TestAcknowledgedWritesSurviveAKillAsTheTablesSay(t *testing.T) {
	for _, kind := range engine.All() {
		for name, act := range map[string]workload.Act{"not synced": {}, "queued": {Queued: true}, "synced": {Sync: true}} {
			t.Run(kind.Name+"/"+name, func(t *testing.T) {
				o := workload.EngineOptions(act, workload.Scale{}, t.TempDir())
				left := leftAfterKill(t, kind, o)
				if kind.Survives(o) != engine.Nothing && left != survivalPuts {
					t.Errorf("%d of %d entries are left", left, survivalPuts)
				}
				if kind.Buffered && !o.Sync && left == survivalPuts {
					t.Error("nothing was lost: what the tables say of this engine is no longer true")
				}
			})
		}
	}
}

// leftAfterKill returns how many of the first entries are there; behind a missing one there
// must be none.
func leftAfterKill(t *testing.T, kind engine.Kind, o engine.Options) (left int) {
	t.Helper()
	request, err := json.Marshal(victim{kind.Name, o})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), os.Args[0], killedName)
	command.Stdin = bytes.NewReader(request)
	output, err := command.CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child: %v\n%s", err, output)
	}
	opened, err := kind.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	missing := false
	for i := range survivalPuts {
		switch _, err := opened.Get(nil, fmt.Append(nil, "key ", i)); {
		case err == nil && missing:
			t.Errorf("entry %d is there, but not one before it", i)
		case err == nil:
			left++
		case errors.Is(err, engine.ErrNotFound):
			missing = true
		default:
			t.Fatal(err)
		}
	}
	return left
}
