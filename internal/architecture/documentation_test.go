package architecture

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	symbols = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestDocumentationLinks follows every link of the documentation that leads to a
// file or a heading of this repository.
func TestDocumentationLinks(t *testing.T) {
	root := filepath.Join("..", "..")
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "ext/*/*.md", "ext/*/*/*.md", "bench/*.md", "bench/results/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(found) == 0 {
			t.Fatalf("pages %s: %v, %v", pattern, found, err)
		}
		pages = append(pages, found...)
	}
	followed := 0
	for _, page := range pages {
		for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), filepath.FromSlash(target))
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: link to %s leads nowhere", page, match[1])
			} else if anchor != "" && !anchors(read(t, file))[anchor] {
				t.Errorf("%s: %s has no heading for #%s", page, file, anchor)
			}
			followed++
		}
	}
	if followed < 100 {
		t.Errorf("only %d links were found", followed)
	}
}

// TestReadmeBeginsWithTestedCode finds the first code of the README in an Example, which
// the tests of db run.
func TestReadmeBeginsWithTestedCode(t *testing.T) {
	root := filepath.Join("..", "..")
	_, rest, _ := strings.Cut(read(t, filepath.Join(root, "README.md")), "```go\n")
	code, _, closed := strings.Cut(rest, "```")
	if lines := strings.Count(code, "\n"); !closed || lines < 8 || lines > 12 {
		t.Fatalf("%d lines of code", lines)
	}
	body := "\t" + strings.ReplaceAll(strings.TrimSuffix(code, "\n"), "\n", "\n\t")
	if !strings.Contains(read(t, filepath.Join(root, "db", "example_test.go")), body) {
		t.Errorf("db/example_test.go does not hold:\n%s", code)
	}
}

// figure matches numbers that only a measurement has.
var figure = regexp.MustCompile(`\d{1,3}(,\d{3})+`)

// TestPerformanceQuotesResults finds the figures of the page's tables among the results, and
// keeps the page short: tables that a program made lie there.
func TestPerformanceQuotesResults(t *testing.T) {
	root := filepath.Join("..", "..")
	page := read(t, filepath.Join(root, "docs", "performance.md"))
	results := read(t, filepath.Join(root, "bench", "results", "comparison.md"))
	results = strings.NewReplacer("†", " ", "‡", " ").Replace(results) // marks of what survives
	quoted := 0
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		for _, number := range figure.FindAllString(line, -1) {
			quoted++
			if !strings.Contains(results, " "+number+" ") {
				t.Errorf("%s was not measured", number)
			}
		}
	}
	if quoted < 5 {
		t.Errorf("only %d figures were found", quoted)
	}
	const limit = 150
	if lines := strings.Count(page, "\n"); lines > limit {
		t.Errorf("%d lines", lines)
	}
}

// anchors returns the anchors that a page's headings get where it is rendered.
func anchors(page string) map[string]bool {
	list := make(map[string]bool)
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		text := symbols.ReplaceAllString(strings.ToLower(match[1]), "")
		list[strings.ReplaceAll(text, " ", "-")] = true
	}
	return list
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
