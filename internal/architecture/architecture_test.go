// Package architecture holds the house rules to the sources: imports point down
// the floors, every goroutine of the engine starts in stages, nothing grows past
// the limits that keep the code readable, and every exported name is explained.
package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// floors lists the packages of the engine, lowest first. A package imports only
// packages of lower floors.
var floors = [][]string{
	{"lsmdb/internal/base"},
	{"lsmdb/internal/vfs", "lsmdb/internal/ranges", "lsmdb/internal/budget"},
	{"lsmdb/wal", "lsmdb/memtable", "lsmdb/sstable"},
	{"lsmdb/internal/merge"},
	{"lsmdb/manifest"},
	{"lsmdb/internal/output", "lsmdb/internal/view"},
	{"lsmdb/internal/changes"},
	{"lsmdb/flusher", "lsmdb/compactor"},
	{"lsmdb/internal/recovery"},
	{"lsmdb/internal/checkpoint"},
	{"lsmdb/stages"},
	{door, inside},
	{"lsmdb/db"},
	{"lsmdb/db/debug"},
	{"lsmdb/internal/salvage", "lsmdb/internal/beside"}, // above db, as no program that embeds db links them
	{"lsmdb/db/attach"},
	{"lsmdb/cmd/lsmdb/internal/exit", "lsmdb/cmd/lsmdb/internal/units"},
	{"lsmdb/cmd/lsmdb/internal/text", "lsmdb/cmd/lsmdb/internal/display"},
	{"lsmdb/cmd/lsmdb/internal/console"},
	{"lsmdb/cmd/lsmdb/internal/access"},
	{"lsmdb/cmd/lsmdb/internal/serve"},
	{"lsmdb/cmd/lsmdb/internal/insight", "lsmdb/cmd/lsmdb/internal/inspect", "lsmdb/cmd/lsmdb/internal/shell", "lsmdb/cmd/lsmdb/internal/top", "lsmdb/cmd/lsmdb/internal/tour"},
	{"lsmdb/cmd/lsmdb/internal/command"},
	{"lsmdb/cmd/lsmdb"},
}

// door leads tests behind the public API, and attach to the moment when a database is
// closed. Besides them, only db knows it.
const door = "lsmdb/internal/door"

// inside has what those who show a database to others need besides the public API. Besides
// them, only db knows it.
const inside = "lsmdb/internal/inside"

// testSupport are packages that only tests may import. They are no part of the engine
// and stand on no floor.
var testSupport = map[string]bool{
	"lsmdb/db/dbtest":                          true, // for the tests of programs that import db
	"lsmdb/internal/vfstest":                   true,
	"lsmdb/cmd/lsmdb/internal/commandtest":     true,
	"lsmdb/internal/tests/fixture":             true,
	"lsmdb/internal/tests/metamorphic":         true,
	"lsmdb/internal/tests/metamorphic/subject": true,
}

// mayStartGoroutines says whose code may start goroutines: the stages, programs, and what
// serves other programs, who come and go as they like.
func mayStartGoroutines(pkg string) bool {
	return pkg == "lsmdb/stages" || strings.HasPrefix(pkg, "lsmdb/cmd/") || servesOthers[pkg]
}

// servesOthers are packages that a program needs only if it lets others look at its database.
var servesOthers = map[string]bool{
	"lsmdb/db/debug":  true,
	"lsmdb/db/attach": true,
}

// source is one file of the module that is not a test.
type source struct {
	pkg  string // import path
	path string // from the root of the module
	file *ast.File
	set  *token.FileSet
}

func (s source) at(p token.Pos) string {
	return fmt.Sprintf("%s:%d", s.path, s.set.Position(p).Line)
}

// sources parses the module. Modules nested in it are programs of their own.
func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var list []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bench" || name == "ext") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		pkg := "lsmdb/" + filepath.ToSlash(filepath.Dir(relative))
		list = append(list, source{pkg: pkg, path: filepath.ToSlash(relative), file: file, set: set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 50 {
		t.Fatalf("found only %d source files", len(list))
	}
	return list
}

func floorOf(pkg string) int {
	for i, floor := range floors {
		for _, p := range floor {
			if p == pkg {
				return i
			}
		}
	}
	return -1
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		own := floorOf(s.pkg)
		if testSupport[s.pkg] {
			own = len(floors) // it may use all of the engine
		}
		if own < 0 {
			t.Errorf("%s: package %s stands on no floor", s.path, s.pkg)
			continue
		}
		for _, spec := range s.file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if testSupport[imported] && !testSupport[s.pkg] {
				t.Errorf("%s: %s imports %s, which is for tests only", s.at(spec.Pos()), s.pkg, imported)
			}
			if imported == door && s.pkg != "lsmdb/db" && s.pkg != "lsmdb/db/attach" && !testSupport[s.pkg] {
				t.Errorf("%s: %s imports %s, which is for tests, db and db/attach only", s.at(spec.Pos()), s.pkg, imported)
			}
			if imported == inside && s.pkg != "lsmdb/db" && s.pkg != "lsmdb/db/debug" && s.pkg != "lsmdb/internal/beside" {
				t.Errorf("%s: %s imports %s, which is for db, db/debug and internal/beside only", s.at(spec.Pos()), s.pkg, imported)
			}
			if strings.HasPrefix(imported, "lsmdb/") && floorOf(imported) >= own {
				t.Errorf("%s: %s imports %s, which is not below it", s.at(spec.Pos()), s.pkg, imported)
			}
		}
	}
}

func TestGoroutinesStartInStages(t *testing.T) {
	for _, s := range sources(t) {
		if mayStartGoroutines(s.pkg) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a go statement outside stages", s.at(n.Pos()))
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "Go" || f.Sel.Name == "AfterFunc") {
					t.Errorf("%s: %s starts a goroutine outside stages", s.at(n.Pos()), f.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	packages := make(map[string]bool) // with a package comment
	for _, s := range sources(t) {
		packages[s.pkg] = packages[s.pkg] || s.file.Doc != nil
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && receiverIsExported(d) && !implementsWellKnown(d) {
					t.Errorf("%s: %s has no comment", s.at(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				undocumentedSpecs(t, s, d)
			}
		}
	}
	for pkg, documented := range packages {
		if !documented {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

// undocumentedSpecs reports exported types, constants and variables without a
// comment of their own, beside them, or on their group.
func undocumentedSpecs(t *testing.T, s source, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
				t.Errorf("%s: type %s has no comment", s.at(spec.Pos()), spec.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
					t.Errorf("%s: %s has no comment", s.at(name.Pos()), name.Name)
				}
			}
		}
	}
}

// receiverIsExported is false for methods that no other package can name.
func receiverIsExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	expr := d.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return true
		}
	}
}

// implementsWellKnown excuses methods whose meaning every Go programmer knows.
func implementsWellKnown(d *ast.FuncDecl) bool {
	switch d.Name.Name {
	case "String", "Error", "Unwrap":
		return d.Recv != nil
	}
	return false
}
