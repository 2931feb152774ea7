// Package exit turns errors into what a command ends with: a sentence for people, an
// object for machines, and a documented exit code.
package exit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strconv"
	"strings"

	"lsmdb/db"
)

// Exit codes. They are part of the command's interface and documented in the
// help of each subcommand.
const (
	OK          = 0
	Failed      = 1
	Usage       = 2
	NotFound    = 3
	NoDatabase  = 4
	InUse       = 5
	Newer       = 6
	Interrupted = 130
)

// exitMeanings are the words for the codes, in help texts and in JSON.
var exitMeanings = map[int]struct{ name, help string }{
	OK:          {"ok", "done"},
	Failed:      {"failure", "failed: damage, mismatch, malformed input, full disk or another error"},
	Usage:       {"usage", "the command line is wrong"},
	NotFound:    {"not-found", "the key is not there"},
	NoDatabase:  {"no-database", "no such directory, or it holds something else"},
	InUse:       {"in-use", "another process has the database open"},
	Newer:       {"newer", "the database was written by a newer version of lsmdb"},
	Interrupted: {"interrupted", "interrupted; what was acknowledged is kept"},
}

// Help renders the codes that a subcommand can end with.
func Help(codes ...int) string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, code := range codes {
		fmt.Fprintf(&b, "  %-4d %s\n", code, exitMeanings[code].help)
	}
	return strings.TrimRight(b.String(), "\n")
}

// Error is an error whose sentence and exit code are settled.
type Error struct {
	Code     int
	Sentence string
	Hint     string         // what to do about it, for people; may be empty
	Cause    error          // may be nil
	Shown    bool           // the command has already told everything itself
	Details  map[string]any // more for --json
}

func (f *Error) Error() string { return f.Sentence }
func (f *Error) Unwrap() error { return f.Cause }

// Failf is an error with an exit code.
func Failf(code int, format string, args ...any) error {
	return &Error{Code: code, Sentence: fmt.Sprintf(format, args...)}
}

// Usagef is the error for a wrong command line.
func Usagef(format string, args ...any) error {
	return &Error{Code: Usage, Sentence: fmt.Sprintf(format, args...), Hint: "--help, after the subcommand, explains"}
}

// ErrShown ends a command with exit code 1 after it printed what is wrong.
var ErrShown = &Error{Code: Failed, Sentence: "failed", Shown: true}

// Explain turns any error of a command into a sentence for people and an exit
// code for scripts.
func Explain(err error) *Error {
	var settled *Error
	var corrupt *db.CorruptionError
	var conflict *db.ConflictError
	told := func(code int, sentence string) *Error { return &Error{Code: code, Sentence: sentence, Cause: err} }
	switch {
	case errors.As(err, &settled):
		return settled
	case errors.Is(err, context.Canceled):
		return told(Interrupted, "interrupted")
	case errors.As(err, &conflict):
		f := told(Failed, fmt.Sprintf("conflict: %s, which the transaction has read, was changed after it began (by write %d); nothing of it was stored", quoted(conflict.Key), conflict.Seq))
		f.Hint = "begin again, read again, write again"
		f.Details = map[string]any{"conflict": quoted(conflict.Key), "sequence": conflict.Seq}
		return f
	case errors.Is(err, db.ErrLocked):
		return told(InUse, Plain(err))
	case errors.Is(err, db.ErrIncompatible):
		return told(Newer, "a newer version of lsmdb wrote it; "+Plain(err))
	case errors.As(err, &corrupt):
		f := told(Failed, "the database is damaged: "+Place(corrupt.File, corrupt.Offset)+": "+corrupt.Detail)
		f.Hint = "\"lsmdb verify DIR\" lists all damage, \"lsmdb inspect\" shows what a file still holds, \"lsmdb salvage DIR NEW\" rescues it"
		return f
	case errors.Is(err, db.ErrCorrupt):
		return told(Failed, "the database is damaged: "+Plain(err))
	case errors.Is(err, db.ErrDiskFull):
		return told(Failed, "the disk is full: "+Plain(err))
	case errors.Is(err, db.ErrNotFound):
		return told(NotFound, "no such key")
	case errors.Is(err, db.ErrNoMerger):
		f := told(Failed, "the database merges by an operator that this command does not have: "+Plain(err))
		f.Hint = "the command knows sum, max and append; such keys are read by the program that wrote them"
		return f
	case errors.Is(err, fs.ErrPermission):
		f := told(Failed, Plain(err))
		f.Hint = "check the owner and the mode of the directory and of the files in it"
		return f
	}
	return told(Failed, Plain(err))
}

// quoted is a key as one word of printable characters.
func quoted(key []byte) string {
	if word := strconv.Quote(string(key)); len(word) != len(key)+2 || strings.ContainsAny(word, " ") || len(key) == 0 {
		return word
	}
	return string(key)
}

// Place names a place in a file; an offset below zero is no single place.
func Place(file string, offset int64) string {
	if offset < 0 {
		return file
	}
	return fmt.Sprintf("%s at offset %d", file, offset)
}

// Plain is the message without the package prefixes of the library's errors:
// the command puts its own name in front.
func Plain(err error) string { return strings.ReplaceAll(err.Error(), "lsmdb: ", "") }

// JSON is the form of a failure for machines.
func (f *Error) JSON() []byte {
	object := map[string]any{"error": f.Sentence, "kind": exitMeanings[f.Code].name, "exit": f.Code}
	maps.Copy(object, f.Details)
	encoded, err := json.Marshal(object)
	if err != nil {
		panic("invariant: error details are plain values: " + err.Error())
	}
	return encoded
}
