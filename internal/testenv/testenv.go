// Package testenv holds what tests of several packages need of the machine that they run on.
package testenv

import (
	"os"
	"testing"
	"time"

	"bulkhead/internal/netns"
)

// Root skips a test that needs root where the person running it has no root, and fails it under CI=true, where a
// skipped test would be a promise not kept.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this test needs root, and CI=true allows no skipping")
	}
	t.Skip("needs root")
}

// Namespace makes a nameless network namespace that goes with the test.
func Namespace(t testing.TB) *netns.Namespace {
	t.Helper()
	Root(t)
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// Eventually waits until what ok looks at is so, and fails the test when it is not in 20 s.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("in 20 s it did not come about that %s", what)
		}
	}
}
