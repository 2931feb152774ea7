package tour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
	"lsmdb/internal/base"
)

// sourceFile is one file that the tour stores: its path below the source, with
// slashes, is the key, its content the value.
type sourceFile struct {
	path      string
	sizeBytes int64
}

// sourceTree is the tour's input. It stays as it is while the tour runs; where
// it changes all the same, the tour reports a mismatch.
type sourceTree struct {
	root       string
	files      []sourceFile // in the order of their keys, nearly: as the directories are walked
	totalBytes int64
	skipped    []string // regular files that cannot be read or are too large for a value
}

// changedMark stands in front of the content of files that the tour overwrites.
const changedMark = "changed by lsmdb tour\n"

// largestFileBytes leaves room for changedMark.
const largestFileBytes = base.MaxValueBytes - len(changedMark)

// findSource returns the directory of the tour's files: source, or the source of
// the Go toolchain.
func findSource(ctx context.Context, source string) (string, error) {
	if source != "" {
		info, err := os.Stat(source)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", exit.Failf(exit.Failed, "no such directory: %s", source)
		case err != nil:
			return "", err
		case !info.IsDir():
			return "", exit.Usagef("--source wants a directory; %s is a file", source)
		}
		return filepath.Abs(source)
	}
	root := os.Getenv("GOROOT")
	if output, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output(); err == nil {
		root = strings.TrimSpace(string(output))
	}
	if root != "" {
		tree := filepath.Join(root, "src")
		if info, err := os.Stat(tree); err == nil && info.IsDir() {
			return tree, nil
		}
	}
	return "", &exit.Error{Code: exit.Failed, Sentence: "no Go source tree found: \"go env GOROOT\" names none",
		Hint: "name a directory with files of your own: lsmdb tour --source DIR"}
}

// collect lists the regular files below root.
func collect(ctx context.Context, root string) (*sourceTree, error) {
	tree := &sourceTree{root: root}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && path == root:
			return err
		case err != nil:
			tree.skipped = append(tree.skipped, path)
			return nil
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if err != nil || info.Size() > int64(largestFileBytes) || !readable(path) {
			tree.skipped = append(tree.skipped, path)
			return nil
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		tree.files = append(tree.files, sourceFile{filepath.ToSlash(relative), info.Size()})
		tree.totalBytes += info.Size()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(tree.files) < 4 {
		return nil, exit.Failf(exit.Failed, "%s holds %s; the tour wants at least 4", root, units.Plural(len(tree.files), "file", "files"))
	}
	return tree, nil
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// content reads a file from disk.
func (t *sourceTree) content(index int) ([]byte, error) {
	return os.ReadFile(filepath.Join(t.root, filepath.FromSlash(t.files[index].path)))
}

func (t *sourceTree) key(index int) []byte { return []byte(t.files[index].path) }

// The tour overwrites some files and deletes others, by their position.
func isOverwritten(index int) bool { return index%5 == 0 }
func isDeleted(index int) bool     { return index%10 == 3 }

// changed is the content that overwrites a file.
func changed(content []byte) []byte { return append([]byte(changedMark), content...) }

// compare checks one file against the database; overwritten says which version.
func (t *tour) compare(index int, overwritten bool, wrong *differences) error {
	content, err := t.tree.content(index)
	if err != nil {
		return err
	}
	if overwritten {
		content = changed(content)
	}
	key := t.tree.key(index)
	difference, err := mismatch(t.database, key, content)
	if err != nil {
		return fmt.Errorf("key %s: %w", text.Quote(key), err)
	}
	if difference != "" {
		wrong.add(key, difference)
	}
	return nil
}

// mismatch says what differs for a key; "" when the database holds what is wanted.
func mismatch(database *db.DB, key, wanted []byte) (difference string, err error) {
	value, err := database.Get(key)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return "missing in the database", nil
	case err != nil:
		return "", err
	case bytes.Equal(value, wanted):
		return "", nil
	case len(value) != len(wanted):
		return fmt.Sprintf("the database holds %s bytes, the file %s", units.Count(len(value)), units.Count(len(wanted))), nil
	}
	at := 0
	for value[at] == wanted[at] {
		at++
	}
	return fmt.Sprintf("byte %d differs from the file", at), nil
}

// differences collects what does not match; the first one ends up in the error.
type differences struct {
	count int
	first string
}

func (d *differences) add(key []byte, what string) {
	if d.count++; d.count == 1 {
		d.first = fmt.Sprintf("key %s: %s", text.Quote(key), what)
	}
}

// Error is the error for the differences found; nil when there are none.
func (d *differences) failure() error {
	if d.count == 0 {
		return nil
	}
	return &exit.Error{Code: exit.Failed, Details: map[string]any{"mismatches": d.count},
		Sentence: fmt.Sprintf("MISMATCH: %s, the first: %s", units.Plural(d.count, "key", "keys"), d.first)}
}
