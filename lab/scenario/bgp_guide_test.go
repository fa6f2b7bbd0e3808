package scenario

import (
	"os"
	"path/filepath"
	"testing"

	"bulkhead/configs"
	"bulkhead/lab"
)

// What the page about dynamic routing declares is found to be wrong here already.
func TestWhatThePageAboutDynamicRoutingDeclaresLoads(t *testing.T) {
	w := &World{ConfigDir: filepath.Join(t.TempDir(), "config")}
	if err := lab.ConfigDir(w.ConfigDir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/bgp.md")
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	for _, block := range guideBlock.FindAllStringSubmatch(string(text), -1) {
		if block[1] != "yaml" {
			continue
		}
		if err := w.declareRouting(block[2], block[3]); err != nil {
			t.Error(err)
		}
		if _, err := configs.Load(w.ConfigDir); err != nil {
			t.Error(err)
		}
		declared++
	}
	if declared < 3 {
		t.Errorf("the page has %d pieces of YAML", declared)
	}
}
