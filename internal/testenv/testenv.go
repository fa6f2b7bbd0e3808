// Package testenv holds what tests of several packages need of the machine that they run on.
package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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

// Suspend stops a process, and returns when all of its threads have stopped (proc_pid_stat(5), state T).
func Suspend(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "all threads have stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return err == nil && len(threads) > 0 && !slices.ContainsFunc(threads, func(thread string) bool {
			stat, err := os.ReadFile(thread)
			_, state, _ := strings.Cut(string(stat), ") ")
			return err == nil && !strings.HasPrefix(state, "T")
		})
	})
}

// patience is how long a machine may take that has much else to do.
const patience = time.Minute

// Eventually waits until what ok looks at is so, and fails the test when it is not in a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("in %s it did not come about that %s", patience, what)
		}
	}
}
