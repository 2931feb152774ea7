package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// maxFileBytes bounds a file that is loaded: the demo is about many writes.
const maxFileBytes = 64 << 10

// file is what is loaded: the key is its path.
type file struct {
	key   string
	value []byte
}

// readFiles reads the files of a directory, in the order of their paths.
func readFiles(ctx context.Context, dir string, most int) ([]file, error) {
	if dir == "" {
		out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		root := strings.TrimSpace(string(out))
		if err != nil || root == "" {
			return nil, errors.New("no Go source tree found: \"go env GOROOT\" names none; give a directory with --data")
		}
		dir = filepath.Join(root, "src")
	}
	var files []file
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case len(files) == most:
			return fs.SkipAll
		case entry.IsDir() && entry.Name() == "testdata":
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if err != nil || info.Size() > maxFileBytes {
			return err
		}
		value, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		key, err := filepath.Rel(dir, path)
		files = append(files, file{filepath.ToSlash(key), value})
		return err
	})
	if err == nil && len(files) < 30 {
		err = fmt.Errorf("%s holds %d files, which is too little to see something: give another directory with --data", dir, len(files))
	}
	return files, err
}
