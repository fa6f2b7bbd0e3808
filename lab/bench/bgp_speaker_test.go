package bench_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"bulkhead/bgp"
	"bulkhead/internal/netns"
)

// program builds the program as it is in the checkout, once: what is measured is its own process.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "bulkhead-bench")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bulkhead")
	out, err := exec.Command("go", "build", "-trimpath", "-o", path, "bulkhead/cmd/bulkhead").CombinedOutput()
	if err != nil {
		err = &exec.Error{Name: "go build: " + string(out), Err: err}
	}
	return path, err
})

// newManager is the daemon's side of speakers. They log nothing that is read.
func newManager(t testing.TB) *bgp.Manager {
	t.Helper()
	path, err := program()
	must(t, "build bulkhead", err)
	m := bgp.NewManager(bgp.Options{Dir: filepath.Join(t.TempDir(), "bgp"), Binary: path, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { must(t, "close the manager", m.Close()) })
	return m
}

// speaker is ours.
type speaker struct {
	t       testing.TB
	manager *bgp.Manager
	ns      *netns.Namespace
	tenant  string
	pid     int
}

func startSpeaker(t testing.TB, w *bgpWorld) router {
	t.Helper()
	return bringSpeaker(t, newManager(t), w)
}

// bringSpeaker has the manager start the world's speaker.
func bringSpeaker(t testing.TB, m *bgp.Manager, w *bgpWorld) *speaker {
	t.Helper()
	s := &speaker{t: t, manager: m, ns: w.compartment.Namespace, tenant: w.config.Tenant}
	t.Cleanup(s.stop)
	must(t, "start a speaker", m.Set(context.Background(), s.ns, s.tenant, &w.config))
	status, err := m.Status(context.Background(), s.tenant)
	must(t, "ask the speaker", err)
	s.pid = status.PID
	return s
}

func (s *speaker) processes() []int { return []int{s.pid} }

func (s *speaker) stop() {
	must(s.t, "stop the speaker", s.manager.Set(context.Background(), s.ns, s.tenant, nil))
}
