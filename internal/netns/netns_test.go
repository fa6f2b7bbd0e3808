package netns_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

func TestPinnedNamespaceOutlivesItsHandleAndIsFoundAgain(t *testing.T) {
	testenv.Root(t)
	path := filepath.Join(t.TempDir(), "pins", "Contoso")
	ns, err := netns.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Remove(path); err != nil {
			t.Error(err)
		}
	})
	if _, err := netns.Create(path); err == nil {
		t.Error("a second Create at the same path succeeded")
	}
	again, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !ns.Equal(again) {
		t.Error("Open found another namespace than Create made")
	}
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	third, err := netns.Open(path)
	if err != nil {
		t.Fatalf("the pin did not outlive the handle: %v", err)
	}
	third.Close()
}

func TestDoAndStartRunInsideAndLeaveTheCallerOutside(t *testing.T) {
	testenv.Root(t)
	outside, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if ns.Equal(outside) {
		t.Fatal("New returned the caller's namespace")
	}
	if err := ns.Do(func() error {
		inside, err := netns.Current()
		if err != nil {
			return err
		}
		defer inside.Close()
		if !inside.Equal(ns) {
			t.Error("Do did not enter the namespace")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	after, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if !after.Equal(outside) {
		t.Error("the caller was left inside")
	}
	var out strings.Builder
	cmd := exec.CommandContext(t.Context(), "cat", "/proc/net/dev")
	cmd.Stdout = &out
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "eth0") {
		t.Errorf("the process sees the host's links:\n%s", out.String())
	}
	if err := netns.Remove(filepath.Join(t.TempDir(), "absent")); err != nil {
		t.Errorf("removing an absent pin: %v", err)
	}
}

// The process's first thread cannot be discarded: were it moved, the namespace would live until the process ends.
func TestTheFirstThreadIsNeverMoved(t *testing.T) {
	testenv.Root(t)
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	in := func(thread string) string {
		t.Helper()
		name, err := os.Readlink("/proc/" + thread + "/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	for range 100 {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := ns.Do(func() error { return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if here, first := in("thread-self"), in("self"); first != here {
			t.Fatalf("the first thread is in %s, this one in %s", first, here)
		}
	}
}
