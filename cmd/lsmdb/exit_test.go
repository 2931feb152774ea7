package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"lsmdb/db"
)

func TestExplain(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("lsmdb: writing: %w", err) }
	for _, c := range []struct {
		err  error
		code int
		word string
		hint string
	}{
		{errors.New("lsmdb: something"), exitFailure, "something", ""},
		{usagef("wrong"), exitUsage, "wrong", "--help"},
		{wrap(usagef("wrong")), exitUsage, "wrong", "--help"},
		{wrap(context.Canceled), exitInterrupted, "interrupted", ""},
		{wrap(db.ErrLocked), exitInUse, "in use", ""},
		{wrap(db.ErrIncompatible), exitNewer, "newer version of lsmdb", ""},
		{wrap(db.ErrCorrupt), exitFailure, "damaged", ""},
		{wrap(&db.CorruptionError{File: "f", Offset: 7, Detail: "broken"}), exitFailure, "f at offset 7: broken", "lsmdb verify"},
		{wrap(&db.CorruptionError{File: "f", Offset: -1, Detail: "broken"}), exitFailure, "f: broken", "lsmdb verify"},
		{wrap(db.ErrDiskFull), exitFailure, "the disk is full", ""},
		{wrap(db.ErrNotFound), exitNotFound, "no such key", ""},
		{wrap(&fs.PathError{Op: "open", Path: "dir/LOCK", Err: fs.ErrPermission}), exitFailure, "open dir/LOCK: permission denied", "check the owner"},
	} {
		f := explain(c.err)
		if f.code != c.code || !strings.Contains(f.sentence, c.word) || !strings.Contains(f.hint, c.hint) || strings.Contains(f.sentence, "lsmdb: ") {
			t.Errorf("%v: got %d, %q, %q; want %d, %q, %q", c.err, f.code, f.sentence, f.hint, c.code, c.word, c.hint)
		}
	}
}

// Each code has words; a help text lists the codes it was given.
func TestExitHelp(t *testing.T) {
	codes := []int{exitOK, exitFailure, exitUsage, exitNotFound, exitNoDatabase, exitInUse, exitNewer, exitInterrupted}
	help := exitHelp(codes...)
	for _, code := range codes {
		meaning := exitMeanings[code]
		if meaning.name == "" || meaning.help == "" || !strings.Contains(help, fmt.Sprintf("%-4d %s", code, meaning.help)) {
			t.Errorf("code %d: %+v", code, meaning)
		}
	}
	if len(exitMeanings) != len(codes) {
		t.Errorf("%d meanings for %d codes", len(exitMeanings), len(codes))
	}
}
