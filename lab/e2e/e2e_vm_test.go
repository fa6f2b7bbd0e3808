//go:build vm

// Package e2e holds the whole of the gateway, from its declaration to packets, in the Fabrikam lab. It needs IPsec in the
// kernel and charon: it runs in the VM (lab/vm).
package e2e_test

import (
	"os"
	"testing"

	"bulkhead/internal/testenv"
	"bulkhead/lab/scenario"
)

// start builds a world of the test's own with the program that the Makefile built.
func start(t *testing.T) *scenario.World {
	t.Helper()
	testenv.Root(t)
	binary := os.Getenv("BULKHEAD_BINARY")
	if binary == "" {
		t.Fatal("BULKHEAD_BINARY must be the path of the program under test; make test-vm sets it")
	}
	w, err := scenario.Start(t.Context(), scenario.Options{Bulkhead: binary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the daemon's log:\n%s\nof charon's:\n%s\nof the routers':\n%s", w.DaemonLog(), w.Charon.LogTail(60),
				w.RouterLogs())
		}
		if err := w.Close(); err != nil {
			t.Errorf("the lab does not come down: %v", err)
		}
	})
	return w
}

// The demo's steps, in its order: later ones build on what earlier ones brought up.
func TestTheDemoIsTrue(t *testing.T) { check(t, append(scenario.Parts(), scenario.Mishaps())) }

// What site-to-site tunnels promise beyond the demo, and what the operator is told of them.
func TestSiteToSiteKeepsWhatItPromises(t *testing.T) {
	text, err := os.ReadFile("../../docs/site-to-site.md")
	if err != nil {
		t.Fatal(err)
	}
	check(t, append(scenario.SiteToSite(), scenario.Guide(string(text))))
}

// What BGP promises beyond the demo, against FRR and BIRD in Woodgrove's sites.
func TestDynamicRoutingKeepsWhatItPromises(t *testing.T) {
	text, err := os.ReadFile("../../docs/bgp.md")
	if err != nil {
		t.Fatal(err)
	}
	check(t, append(scenario.Routing(), scenario.RoutingGuide(string(text))))
}

// check takes the parts' steps in order, in a world of their own.
func check(t *testing.T, parts []scenario.Part) {
	t.Helper()
	w := start(t)
	for _, part := range parts {
		t.Run(part.Title, func(t *testing.T) {
			for _, step := range part.Steps {
				t.Run(step.Claim, func(t *testing.T) {
					seen, err := step.Check(t.Context(), w)
					for _, line := range seen {
						t.Log(line)
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}
