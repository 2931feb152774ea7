package architecture

import (
	"go/ast"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFileLines     = 500
	maxFunctionLines = 70
	maxPackageFiles  = 15
	maxPackageLines  = 3000
	maxTestFiles     = 2 // for each file of the package

	// maxEngineLines bounds what a program links that imports db: lines that hold code,
	// files for other platforms included. Who adds a line finds one that is not needed
	// any more; where less is left, lower the number.
	maxEngineLines = 19035
)

// moreFiles are packages with more files than the limit, and how many they may have.
var moreFiles = map[string]int{
	"lsmdb/cmd/lsmdb": 99, // three programs in one, which are to be parted
}

// TestSizes holds files and functions to their limits.
func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if lines := s.set.Position(s.file.FileEnd).Line; lines > maxFileLines {
			t.Errorf("%s has %d lines, the limit is %d", s.path, lines, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1
			if lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, the limit is %d", s.at(f.Pos()), f.Name.Name, lines, maxFunctionLines)
			}
		}
	}
}

// packageSize is how large a package is.
type packageSize struct{ files, lines, tests int }

// TestPackageSizes holds packages, their tests and the engine to their limits.
func TestPackageSizes(t *testing.T) {
	sizes := make(map[string]*packageSize)
	engine := 0
	for _, s := range sources(t) {
		p := sizes[s.pkg]
		if p == nil {
			p = &packageSize{}
			sizes[s.pkg] = p
			tests, err := filepath.Glob(filepath.Join("..", "..", filepath.Dir(s.path), "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			p.tests = len(tests)
		}
		lines := codeLines(t, filepath.Join("..", "..", s.path))
		p.files++
		p.lines += lines
		if floorOf(s.pkg) >= 0 && floorOf(s.pkg) <= floorOf("lsmdb/db") {
			engine += lines
		}
	}
	for pkg, p := range sizes {
		if most := max(maxPackageFiles, moreFiles[pkg]); p.files > most {
			t.Errorf("%s has %d files, the limit is %d", pkg, p.files, most)
		}
		if most := maxTestFiles * p.files; p.tests > most {
			t.Errorf("%s has %d files of tests, the limit is %d", pkg, p.tests, most)
		}
		if p.lines > maxPackageLines && !strings.HasPrefix(pkg, "lsmdb/cmd/") {
			t.Errorf("%s has %d lines of code, the limit is %d", pkg, p.lines, maxPackageLines)
		}
	}
	if engine > maxEngineLines {
		t.Errorf("the engine has %d lines of code, the limit is %d", engine, maxEngineLines)
	}
	t.Logf("the engine has %d lines of code", engine)
}

// codeLines counts the lines of a file that hold more than blanks and comments.
func codeLines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file := token.NewFileSet().AddFile(path, -1, len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	lines := make(map[int]bool)
	for {
		at, kind, literal := s.Scan()
		switch {
		case kind == token.EOF:
			return len(lines)
		case kind == token.SEMICOLON && literal == "\n": // which the scanner adds
			continue
		}
		for i := range strings.Count(literal, "\n") + 1 {
			lines[file.Line(at)+i] = true
		}
	}
}
