package lab_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources are all files that match, joined.
func sources(t *testing.T, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}

// A document that names tests is worth something only as long as they exist.
func TestEveryTestAndStepThatTheDataplaneDocumentNamesExists(t *testing.T) {
	text, err := os.ReadFile("../docs/dataplane.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := sources(t, "../*/*_test.go", "../*/*/*_test.go")
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 40 {
		t.Fatalf("docs/dataplane.md names %d tests only", len(named))
	}
	for _, match := range named {
		if !strings.Contains(tests, "func "+match[1]+"(") {
			t.Errorf("docs/dataplane.md names %s, which does not exist", match[1])
		}
	}
	steps := sources(t, "scenario/*.go")
	for _, match := range regexp.MustCompile(`(?:step|part) "([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(steps, match[1]) {
			t.Errorf("docs/dataplane.md names the step %q, which does not exist", match[1])
		}
	}
}
