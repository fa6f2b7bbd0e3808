package scenario

import (
	"os"
	"path/filepath"
	"testing"

	"bulkhead/configs"
	"bulkhead/lab"
)

// The guide's declarations are found to be wrong here already. Its keys are those that it has others make.
func TestWhatTheGuideDeclaresLoads(t *testing.T) {
	w := &World{ConfigDir: filepath.Join(t.TempDir(), "config")}
	if err := lab.ConfigDir(w.ConfigDir); err != nil {
		t.Fatal(err)
	}
	c, err := newCredentials()
	if err == nil {
		err = c.write(w.ConfigDir)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"newyork.key", "branch.key"} {
		if err := os.WriteFile(filepath.Join(w.ConfigDir, name), []byte("a key\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("../../docs/site-to-site.md")
	if err != nil {
		t.Fatal(err)
	}
	g, declared := &guide{w: w}, 0
	for _, block := range guideBlock.FindAllStringSubmatch(string(text), -1) {
		if block[1] != "yaml" {
			continue
		}
		if err := g.declare(block[2], block[3]); err != nil {
			t.Error(err)
		}
		declared++
	}
	if _, err := configs.Load(w.ConfigDir); err != nil || declared < 6 {
		t.Errorf("%d pieces of YAML: %v", declared, err)
	}
}
