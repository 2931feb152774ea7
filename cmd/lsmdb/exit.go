package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"lsmdb/db"
)

// Exit codes. They are part of the command's interface and documented in the
// help of each subcommand.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitNoDatabase  = 4
	exitInUse       = 5
	exitNewer       = 6
	exitInterrupted = 130
)

// exitMeanings are the words for the codes, in help texts and in JSON.
var exitMeanings = map[int]struct{ name, help string }{
	exitOK:          {"ok", "done"},
	exitFailure:     {"failure", "failed: damage, mismatch, malformed input, full disk or another error"},
	exitUsage:       {"usage", "the command line is wrong"},
	exitNotFound:    {"not-found", "the key is not there"},
	exitNoDatabase:  {"no-database", "no such directory, or it holds something else"},
	exitInUse:       {"in-use", "another process has the database open"},
	exitNewer:       {"newer", "the database was written by a newer version of lsmdb"},
	exitInterrupted: {"interrupted", "interrupted; what was acknowledged is kept"},
}

// exitHelp renders the codes that a subcommand can end with.
func exitHelp(codes ...int) string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, code := range codes {
		fmt.Fprintf(&b, "  %-4d %s\n", code, exitMeanings[code].help)
	}
	return strings.TrimRight(b.String(), "\n")
}

// failure is an error whose sentence and exit code are settled.
type failure struct {
	code     int
	sentence string
	hint     string         // what to do about it, for people; may be empty
	cause    error          // may be nil
	shown    bool           // the command has already told everything itself
	details  map[string]any // more for --json
}

func (f *failure) Error() string { return f.sentence }
func (f *failure) Unwrap() error { return f.cause }

func failf(code int, format string, args ...any) error {
	return &failure{code: code, sentence: fmt.Sprintf(format, args...)}
}

// usagef is the error for a wrong command line.
func usagef(format string, args ...any) error {
	return &failure{code: exitUsage, sentence: fmt.Sprintf(format, args...), hint: "--help, after the subcommand, explains"}
}

// errShown ends a command with exit code 1 after it printed what is wrong.
var errShown = &failure{code: exitFailure, sentence: "failed", shown: true}

// explain turns any error of a command into a sentence for people and an exit
// code for scripts.
func explain(err error) *failure {
	var settled *failure
	var corrupt *db.CorruptionError
	told := func(code int, sentence string) *failure { return &failure{code: code, sentence: sentence, cause: err} }
	switch {
	case errors.As(err, &settled):
		return settled
	case errors.Is(err, context.Canceled):
		return told(exitInterrupted, "interrupted")
	case errors.Is(err, db.ErrLocked):
		return told(exitInUse, plain(err))
	case errors.Is(err, db.ErrIncompatible):
		return told(exitNewer, "a newer version of lsmdb wrote it; "+plain(err))
	case errors.As(err, &corrupt):
		f := told(exitFailure, "the database is damaged: "+place(corrupt.File, corrupt.Offset)+": "+corrupt.Detail)
		f.hint = "\"lsmdb verify DIR\" lists all damage, \"lsmdb inspect\" shows what a file still holds"
		return f
	case errors.Is(err, db.ErrCorrupt):
		return told(exitFailure, "the database is damaged: "+plain(err))
	case errors.Is(err, db.ErrDiskFull):
		return told(exitFailure, "the disk is full: "+plain(err))
	case errors.Is(err, db.ErrNotFound):
		return told(exitNotFound, "no such key")
	case errors.Is(err, fs.ErrPermission):
		f := told(exitFailure, plain(err))
		f.hint = "check the owner and the mode of the directory and of the files in it"
		return f
	}
	return told(exitFailure, plain(err))
}

// place names a place in a file; an offset below zero is no single place.
func place(file string, offset int64) string {
	if offset < 0 {
		return file
	}
	return fmt.Sprintf("%s at offset %d", file, offset)
}

// plain is the message without the package prefixes of the library's errors:
// the command puts its own name in front.
func plain(err error) string { return strings.ReplaceAll(err.Error(), "lsmdb: ", "") }

// report writes err to the console's error output and returns the exit code.
func (c *console) report(err error) int {
	f := explain(err)
	switch {
	case f.shown:
	case c.json:
		fmt.Fprintf(c.err, "%s\n", f.json())
	default:
		fmt.Fprintf(c.err, "%s %s\n", c.errInk().bad("lsmdb:"), f.sentence)
		if f.hint != "" {
			fmt.Fprintf(c.err, "  %s\n", c.errInk().faint(f.hint))
		}
	}
	return f.code
}

// json is the form of a failure for machines.
func (f *failure) json() []byte {
	object := map[string]any{"error": f.sentence, "kind": exitMeanings[f.code].name, "exit": f.code}
	maps.Copy(object, f.details)
	encoded, err := json.Marshal(object)
	if err != nil {
		panic("invariant: error details are plain values: " + err.Error())
	}
	return encoded
}
