package configs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzLoad holds the decoder to giving a configuration or problems that have a line, whatever the file holds.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"fabrikam/*.yaml", "testdata/bad/*.yaml", "testdata/everything/*.y*ml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds in %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	gateway, err := os.ReadFile("testdata/gateway.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(gateway, "---\nkind: Tenant\n...\n--- |\n a\n"...))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, sources := range [][]source{{{"fuzz.yaml", text}}, {{"gateway.yaml", gateway}, {"fuzz.yaml", text}}} {
			c, err := new(loader).load("here", sources)
			var problems Problems
			if err == nil {
				if c == nil || c.Gateway == nil {
					t.Error("neither a configuration nor problems")
				}
				c.Pending()
				c.Warnings()
				continue
			}
			if c != nil || !errors.As(err, &problems) || len(problems) == 0 {
				t.Errorf("got %v and the error %v", c, err)
			}
			for _, p := range problems {
				if p.Message == "" || (p.Line < 1 || p.Column < 1) && p.File != "here" {
					t.Errorf("%+v lacks its place or message", p)
				}
			}
		}
	})
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
