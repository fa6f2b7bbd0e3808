package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// copyFile copies a declaration into dir, changed by edit where one is given.
func copyFile(t *testing.T, path, dir string, edit func(string) string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		text = []byte(edit(string(text)))
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace replaces the one occurrence of old.
func replace(t *testing.T, text, old, replacement string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is in the text %d times, want once", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, replacement, 1)
}
