package bgp_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// patience is for what is not to take time.
const patience = time.Minute

func config(tenant string) *bgp.Config {
	return &bgp.Config{
		Tenant: tenant, Identifier: netip.MustParseAddr("10.0.254.2"), ASN: 65412,
		Peers: []bgp.Peer{{
			Name: "NY", Address: netip.MustParseAddr("10.1.0.1"), LocalAddress: netip.MustParseAddr("10.0.254.2"), ASN: 65413,
			IPv4: true,
		}},
	}
}

// world is a folder of speakers, and what the test must end.
type world struct {
	*testing.T
	dir string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testenv.Root(t)
	w := &world{T: t, dir: filepath.Join(t.TempDir(), "bgp")}
	t.Cleanup(func() {
		m := w.open(bgp.Pace{})
		names, err := m.Names()
		w.check(err)
		for _, name := range names {
			w.check(m.Set(context.Background(), nil, name, nil))
		}
		w.check(m.Close())
	})
	return w
}

func (w *world) open(pace bgp.Pace) *bgp.Manager {
	return bgp.NewManagerAt(bgp.Options{Dir: w.dir, Log: slog.New(slog.NewTextHandler(w.Output(), nil))}, pace)
}

// manager makes a manager of the world's folder. Speakers end with the test, after it.
func (w *world) manager(pace ...bgp.Pace) *bgp.Manager {
	w.Helper()
	m := w.open(append(pace, bgp.Pace{})[0])
	w.Cleanup(func() { w.check(m.Close()) })
	return m
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Error(err)
	}
}

func (w *world) set(m *bgp.Manager, ns *netns.Namespace, tenant string, want *bgp.Config) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	if err := m.Set(ctx, ns, tenant, want); err != nil {
		w.Fatal(err)
	}
}

// pid is the process of the tenant's speaker.
func (w *world) pid(m *bgp.Manager, tenant string) int {
	w.Helper()
	status, err := m.Status(w.Context(), tenant)
	if err != nil {
		w.Fatal(err)
	}
	return status.PID
}

func (w *world) kill(pid int, signal syscall.Signal) {
	w.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		w.Fatal(err)
	}
}

// peer is what the speaker's first peer is said to be.
func (w *world) peer(m *bgp.Manager, tenant string) bgp.PeerState {
	w.Helper()
	peers, err := m.Peers(w.Context(), tenant)
	if err != nil || len(peers) == 0 {
		w.Fatalf("peers: %v, %v", peers, err)
	}
	return peers[0]
}

func TestASpeakerOutlivesItsManagerAndIsTakenUpAsItIs(t *testing.T) {
	w := newWorld(t)
	ns := testenv.Namespace(t)
	first := w.manager()
	w.set(first, ns, "Contoso", config("Contoso"))
	pid := w.pid(first, "Contoso")
	w.check(first.Close())

	second := w.manager()
	if names, err := second.Names(); err != nil || !slices.Equal(names, []string{"Contoso"}) {
		t.Errorf("names are %v, %v", names, err)
	}
	second.SetTunnels("Contoso", []string{"IfCe1"})
	testenv.Eventually(t, "the speaker knows the tunnel, before it is set too", func() bool {
		return slices.Equal(w.peer(second, "Contoso").Capabilities, []string{"IfCe1"})
	})
	w.set(second, ns, "Contoso", config("Contoso"))
	if now := w.pid(second, "Contoso"); now != pid {
		t.Errorf("process %d was exchanged for %d", pid, now)
	}
	if err := first.Set(t.Context(), ns, "Contoso", config("Contoso")); err == nil {
		t.Error("a closed manager set a speaker")
	}
}

func TestASpeakerThatIsKilledIsStartedAgainAndNoOtherIsTouched(t *testing.T) {
	w := newWorld(t)
	m := w.manager(bgp.Hurried)
	contoso, woodgrove := testenv.Namespace(t), testenv.Namespace(t)
	w.set(m, contoso, "Contoso", config("Contoso"))
	w.set(m, woodgrove, "Woodgrove", config("Woodgrove"))
	m.SetTunnels("Contoso", []string{"IfCe1", "IfCe2"})
	other := w.pid(m, "Woodgrove")
	for range 3 {
		before := w.pid(m, "Contoso")
		w.kill(before, syscall.SIGKILL)
		testenv.Eventually(t, "another speaker is there, and knows all", func() bool {
			status, err := m.Status(t.Context(), "Contoso")
			if err != nil || status.PID == before {
				return false
			}
			peers, err := m.Peers(t.Context(), "Contoso")
			return err == nil && len(peers) == 1 && slices.Equal(peers[0].Capabilities, []string{"IfCe1", "IfCe2"})
		})
	}
	testenv.Eventually(t, "three restarts are counted", func() bool { return m.Restarts("Contoso") == 3 })
	if now := w.pid(m, "Woodgrove"); now != other || m.Restarts("Woodgrove") != 0 {
		t.Errorf("the other tenant's process %d was exchanged for %d", other, now)
	}
	if sets := w.peer(m, "Woodgrove").Flaps; sets != 1 {
		t.Errorf("the other tenant's speaker was configured %d times", sets)
	}
}

func TestASpeakerThatEndsWhenItIsConfiguredIsTriedUntilItStays(t *testing.T) {
	w := newWorld(t)
	m := w.manager(bgp.Hurried)
	contoso, woodgrove := testenv.Namespace(t), testenv.Namespace(t)
	w.set(m, contoso, "Contoso", config("Contoso"))
	w.set(m, woodgrove, "Woodgrove", config("Woodgrove"))
	before, other := w.pid(m, "Contoso"), w.pid(m, "Woodgrove")
	w.check(os.WriteFile(filepath.Join(w.dir, "Contoso.ill"), []byte("eight..."), 0o600))
	w.kill(before, syscall.SIGKILL)
	testenv.Eventually(t, "it is told that it ends", func() bool {
		_, err := m.Status(t.Context(), "Contoso")
		return errors.Is(err, bgp.ErrNoSpeaker) && strings.Contains(err.Error(), "ended by itself") &&
			strings.Contains(err.Error(), "exit status 1")
	})
	testenv.Eventually(t, "one stays", func() bool {
		peers, err := m.Peers(t.Context(), "Contoso")
		return err == nil && len(peers) == 1 && m.Restarts("Contoso") > 0
	})
	if now := w.pid(m, "Woodgrove"); now != other {
		t.Errorf("the other tenant's process %d was exchanged for %d", other, now)
	}
}

func TestTwoManagersNeverStartTwoSpeakers(t *testing.T) {
	w := newWorld(t)
	ns := testenv.Namespace(t)
	var managers []*bgp.Manager
	for range 4 {
		managers = append(managers, w.manager())
	}
	var all sync.WaitGroup
	for _, m := range managers {
		all.Go(func() { w.check(m.Set(t.Context(), ns, "Contoso", config("Contoso"))) })
	}
	all.Wait()
	var alive []string
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if line, err := os.ReadFile(p); err == nil && strings.Contains(string(line), w.dir) {
			alive = append(alive, p)
		}
	}
	if len(alive) != 1 {
		t.Errorf("there are %d speakers: %v", len(alive), alive)
	}
}

func TestWhatPredecessorsLeftKeepsNoSpeakerAway(t *testing.T) {
	w := newWorld(t)
	w.check(os.MkdirAll(w.dir, 0o755))
	for _, name := range []string{"Contoso.sock", "Contoso.lock"} {
		w.check(os.WriteFile(filepath.Join(w.dir, name), []byte("4242"), 0o644))
	}
	m := w.manager()
	w.set(m, testenv.Namespace(t), "Contoso", config("Contoso"))
	for name, want := range map[string]os.FileMode{"": 0o700, "Contoso.sock": 0o600} {
		info, err := os.Stat(filepath.Join(w.dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v (%v)", filepath.Join(w.dir, name), info.Mode(), want, err)
		}
	}
}

func TestARunFolderMayHaveALongerNameThanASocket(t *testing.T) {
	w := newWorld(t)
	w.dir = filepath.Join(w.dir, strings.Repeat("d", 120), strings.Repeat("e", 120))
	m := w.manager()
	tenant := strings.Repeat("T", 63)
	w.set(m, testenv.Namespace(t), tenant, config(tenant))
	w.pid(m, tenant)
}

func TestASpeakerThatHangsHoldsUpNoOtherTenantAndIsExchanged(t *testing.T) {
	w := newWorld(t)
	m := w.manager(bgp.Patient)
	contoso, woodgrove := testenv.Namespace(t), testenv.Namespace(t)
	w.set(m, contoso, "Contoso", config("Contoso"))
	w.set(m, woodgrove, "Woodgrove", config("Woodgrove"))
	hung := w.pid(m, "Contoso")
	testenv.Suspend(t, hung)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Set(ctx, contoso, "Contoso", config("Contoso")) }()
	m.SetTunnels("Contoso", []string{"IfCe1"}) // returns at once
	w.set(m, woodgrove, "Woodgrove", config("Woodgrove"))
	if len(done) > 0 {
		t.Error("the one that hangs was not waited for, so this shows nothing")
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a stopped process took its configuration up")
	}
	w.check(m.Close())

	next := w.manager(bgp.Strict)
	if err := next.Set(t.Context(), contoso, "Contoso", config("Contoso")); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("of a process that hangs it is said: %v", err)
	}
	testenv.Eventually(t, "the one that hangs is exchanged", func() bool {
		status, err := next.Status(t.Context(), "Contoso")
		return err == nil && status.PID != hung && next.Restarts("Contoso") > 0
	})
}

func TestASpeakerOfAnotherKindOrInAnotherNamespaceIsExchanged(t *testing.T) {
	w := newWorld(t)
	w.check(os.MkdirAll(w.dir, 0o700))
	ns, other := testenv.Namespace(t), testenv.Namespace(t)
	old := w.start(ns, "foreign-speaker", filepath.Join(w.dir, "Contoso.sock"))
	m := w.manager()
	w.set(m, ns, "Contoso", config("Contoso"))
	if err := old.Wait(); err != nil {
		t.Errorf("the old one ended by %v", err)
	}
	pid := w.pid(m, "Contoso")
	w.set(m, other, "Contoso", config("Contoso"))
	now := w.pid(m, "Contoso")
	if now == pid {
		t.Error("the process stayed in the namespace that it was in")
	}
	there, err := netns.Open("/proc/" + itoa(now) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if !there.Equal(other) {
		t.Error("the new process is in another namespace")
	}
}

func TestAConfigurationThatIsRefusedIsToldAndLeavesTheSpeakerRunning(t *testing.T) {
	w := newWorld(t)
	m := w.manager()
	ns := testenv.Namespace(t)
	w.set(m, ns, "Contoso", config("Contoso"))
	pid := w.pid(m, "Contoso")
	bad := config("Contoso")
	bad.ASN = 0
	err := m.Set(t.Context(), ns, "Contoso", bad)
	if err == nil || !strings.HasPrefix(err.Error(), "BGP: ") || !strings.Contains(err.Error(), "RFC 7607") {
		t.Errorf("the error is %v", err)
	}
	w.set(m, ns, "Contoso", config("Contoso"))
	if now := w.pid(m, "Contoso"); now != pid {
		t.Errorf("process %d was exchanged for %d", pid, now)
	}
	err = m.Set(t.Context(), ns, "broken", config("broken"))
	if err == nil || !strings.Contains(err.Error(), "no table to write to") {
		t.Errorf("of a speaker that does not start it is said: %v", err)
	}
	if _, err := m.Status(t.Context(), "broken"); !errors.Is(err, bgp.ErrNoSpeaker) {
		t.Errorf("of a speaker that is not there it is said: %v", err)
	}
}

func TestASpeakerHasLeftLinksBeforeTheyGo(t *testing.T) {
	w := newWorld(t)
	m := w.manager()
	w.check(m.Leave(t.Context(), "Contoso", []string{"IfCe1"})) // nobody is there
	w.set(m, testenv.Namespace(t), "Contoso", config("Contoso"))
	m.SetTunnels("Contoso", []string{"IfCe2"})
	w.check(m.Leave(t.Context(), "Contoso", []string{"IfCe1"}))
	if down := w.peer(m, "Contoso").Capabilities; !slices.Equal(down, []string{"IfCe1", "IfCe2"}) {
		t.Errorf("the speaker was told that %v are down", down)
	}
	m.SetTunnels("Contoso", []string{"IfCe2"}) // as before: the link is there again
	testenv.Eventually(t, "the speaker is told anew", func() bool {
		return slices.Equal(w.peer(m, "Contoso").Capabilities, []string{"IfCe2"})
	})
}

func TestRestartExchangesTheProcess(t *testing.T) {
	w := newWorld(t)
	m := w.manager()
	w.set(m, testenv.Namespace(t), "Contoso", config("Contoso"))
	m.SetTunnels("Contoso", []string{"IfCe1"})
	before := w.pid(m, "Contoso")
	w.check(m.Restart(t.Context(), "Contoso"))
	if now := w.pid(m, "Contoso"); now == before {
		t.Error("it is the same process")
	}
	if down := w.peer(m, "Contoso").Capabilities; !slices.Equal(down, []string{"IfCe1"}) {
		t.Errorf("the new process was told that %v is down", down)
	}
	if m.Restarts("Contoso") != 0 {
		t.Error("it was taken for an accident")
	}
	if err := m.Restart(t.Context(), "Fabrikam"); !errors.Is(err, bgp.ErrNoSpeaker) {
		t.Errorf("of a tenant without a speaker it is said: %v", err)
	}
}
