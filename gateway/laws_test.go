package gateway

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A document that names tests is worth something only as long as they exist.
func TestEveryTestThatTheLawsNameExists(t *testing.T) {
	text, err := os.ReadFile("../docs/laws.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, pattern := range []string{"../*/*_test.go", "../*/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(source)
		}
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 10 {
		t.Fatalf("docs/laws.md names %d tests only", len(named))
	}
	for _, match := range named {
		if !strings.Contains(sources.String(), "func "+match[1]+"(") {
			t.Errorf("docs/laws.md names %s, which does not exist", match[1])
		}
	}
}
