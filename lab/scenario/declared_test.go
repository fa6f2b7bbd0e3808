package scenario

import (
	"path/filepath"
	"testing"

	"bulkhead/configs"
	"bulkhead/lab"
)

// What the steps declare in the VM is found to be wrong here already.
func TestWhatTheStepsDeclareLoads(t *testing.T) {
	w := &World{ConfigDir: filepath.Join(t.TempDir(), "config")}
	if err := lab.ConfigDir(w.ConfigDir); err != nil {
		t.Fatal(err)
	}
	for name, changes := range map[string][][2]string{"contoso.yaml": contosoSpeaks, "woodgrove.yaml": speakSix} {
		for _, change := range changes {
			if _, err := w.edit(name, change[0], change[1]); err != nil {
				t.Error(err)
			}
		}
	}
	if err := w.declareLitware(litwareWays(), silent); err != nil {
		t.Fatal(err)
	}
	if err := w.declareIPv6(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.add("proseware.yaml", proseware); err != nil {
		t.Fatal(err)
	}
	x := twoWays()
	for i := range x {
		change := subnetsOf(x[i], x[1-i])
		if _, err := w.edit("litware.yaml", change[0], change[1]); err != nil {
			t.Error(err)
		}
	}
	if err := w.extend("litware.yaml", onlyTCP+noUDP); err != nil {
		t.Fatal(err)
	}
	if _, err := configs.Load(w.ConfigDir); err != nil {
		t.Error(err)
	}
}
