package compartments_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"bulkhead/compartments"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// gateway is a Default compartment of the test's own, with a manager.
type gateway struct {
	*compartments.Manager
	def *netns.Namespace
	dir string
}

func newGateway(t *testing.T) gateway {
	t.Helper()
	g := gateway{def: testenv.Namespace(t), dir: filepath.Join(t.TempDir(), "netns")}
	g.Manager = g.restart(t)
	t.Cleanup(func() {
		names, err := g.Names()
		if err != nil {
			t.Error(err)
		}
		for _, name := range names {
			if err := netns.Remove(filepath.Join(g.dir, name)); err != nil {
				t.Error(err)
			}
		}
	})
	return g
}

// restart returns another manager of the same compartments, as a restarted daemon has one.
func (g gateway) restart(t *testing.T) *compartments.Manager {
	t.Helper()
	var m *compartments.Manager
	if err := g.def.Do(func() (err error) {
		m, err = compartments.New(g.dir)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func (g gateway) ensure(t *testing.T, name string) *netns.Namespace {
	t.Helper()
	ns, err := g.Ensure(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func (g gateway) set(t *testing.T, ns *netns.Namespace, want compartments.Config) {
	t.Helper()
	if err := g.Set(t.Context(), ns, want); err != nil {
		t.Fatal(err)
	}
}

func (g gateway) state(t *testing.T, ns *netns.Namespace) compartments.State {
	t.Helper()
	s, err := g.State(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// link finds a link of a state by name, or returns nil.
func link(s compartments.State, name string) *compartments.LinkState {
	i := slices.IndexFunc(s.Links, func(l compartments.LinkState) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Links[i]
}

func handle(t *testing.T, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEnsureMakesACompartmentOnceAndRemoveTakesItDown(t *testing.T) {
	g := newGateway(t)
	if _, err := g.Open("Contoso"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open before Ensure: %v, want it to match os.ErrNotExist", err)
	}
	contoso := g.ensure(t, "Contoso")
	if again := g.ensure(t, "Contoso"); !again.Equal(contoso) {
		t.Error("a second Ensure made another namespace")
	}
	g.ensure(t, "Woodgrove")
	// After a reboot onto kept files a pin is a plain file.
	if err := os.WriteFile(filepath.Join(g.dir, "Adatum"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	names, err := g.Names()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Contoso", "Woodgrove"}, names); diff != "" {
		t.Error(diff)
	}
	if adatum := g.ensure(t, "Adatum"); adatum.Equal(contoso) || adatum.Equal(g.def) {
		t.Error("the lost pin leads to another namespace")
	}
	for range 2 {
		if err := g.Remove(t.Context(), "Contoso"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(g.dir, "Contoso")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin is still there: %v", err)
	}
}

func TestNamesThatLeaveTheFolderAreRefused(t *testing.T) {
	g := newGateway(t)
	for _, name := range []string{"", ".", "..", "../Contoso", "a/b", ".hidden", "a\x00b"} {
		if _, err := g.Ensure(name); err == nil {
			t.Errorf("Ensure(%q) succeeded", name)
		}
		if _, err := g.Open(name); err == nil {
			t.Errorf("Open(%q) succeeded", name)
		}
		if err := g.Remove(t.Context(), name); err == nil {
			t.Errorf("Remove(%q) succeeded", name)
		}
	}
}

func TestRemoveFreesTheDoorEndsEvenIfSomebodyHoldsTheNamespace(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso") // This handle stays open.
	g.set(t, ns, contoso(t))
	if err := g.Remove(t.Context(), "Contoso"); err != nil {
		t.Fatal(err)
	}
	if _, err := handle(t, g.def).LinkByName("bhi6001"); err == nil {
		t.Error("bhi6001 is still in the Default compartment")
	}
	g.set(t, g.ensure(t, "Contoso"), contoso(t))
}
