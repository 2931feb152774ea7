package exit

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
		{errors.New("lsmdb: something"), Failed, "something", ""},
		{Usagef("wrong"), Usage, "wrong", "--help"},
		{wrap(Usagef("wrong")), Usage, "wrong", "--help"},
		{wrap(context.Canceled), Interrupted, "interrupted", ""},
		{wrap(db.ErrLocked), InUse, "in use", ""},
		{wrap(db.ErrIncompatible), Newer, "newer version of lsmdb", ""},
		{wrap(db.ErrCorrupt), Failed, "damaged", ""},
		{wrap(&db.CorruptionError{File: "f", Offset: 7, Detail: "broken"}), Failed, "f at offset 7: broken", "lsmdb verify"},
		{wrap(&db.CorruptionError{File: "f", Offset: -1, Detail: "broken"}), Failed, "f: broken", "lsmdb verify"},
		{wrap(db.ErrDiskFull), Failed, "the disk is full", ""},
		{wrap(db.ErrNotFound), NotFound, "no such key", ""},
		{wrap(&fs.PathError{Op: "open", Path: "dir/LOCK", Err: fs.ErrPermission}), Failed, "open dir/LOCK: permission denied", "check the owner"},
	} {
		f := Explain(c.err)
		if f.Code != c.code || !strings.Contains(f.Sentence, c.word) || !strings.Contains(f.Hint, c.hint) || strings.Contains(f.Sentence, "lsmdb: ") {
			t.Errorf("%v: got %d, %q, %q; want %d, %q, %q", c.err, f.Code, f.Sentence, f.Hint, c.code, c.word, c.hint)
		}
	}
}

// Each code has words; a help text lists the codes it was given.
func TestExitHelp(t *testing.T) {
	codes := []int{OK, Failed, Usage, NotFound, NoDatabase, InUse, Newer, Interrupted}
	help := Help(codes...)
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
