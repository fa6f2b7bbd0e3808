//go:build vm

// These tests need xfrm interfaces, which not every kernel has; they run in the virtual machine.

package compartments_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"bulkhead/compartments"
	"bulkhead/internal/watch"
)

// tunnels is a compartment with an S2S interface for each if_id: IfCe1, IfCe2 and so on.
func tunnels(ids ...uint32) compartments.Config {
	var c compartments.Config
	for i, id := range ids {
		c.Links = append(c.Links, compartments.Link{
			Name: "IfCe" + string(rune('1'+i)), Kind: compartments.XFRM, IfID: id, MTU: 1422, Outside: true,
			Alias: "Contoso/IfCe",
		})
	}
	c.Routes = []compartments.Route{{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Link: "IfCe1", Metric: 100}}
	return c
}

func wantIfIDs(t *testing.T, g gateway, want map[string]map[string]uint32) {
	t.Helper()
	got, err := g.IfIDs()
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestS2SInterfacesOfTwoTenantsHaveTheSameNamesAndTheirOwnIfIDs(t *testing.T) {
	g := newGateway(t)
	first, second := g.ensure(t, "Contoso"), g.ensure(t, "Woodgrove")
	g.set(t, first, tunnels(101, 102))
	g.set(t, second, tunnels(201))
	wantIfIDs(t, g, map[string]map[string]uint32{
		"Contoso": {"IfCe1": 101, "IfCe2": 102}, "Woodgrove": {"IfCe1": 201},
	})
	l := link(g.state(t, first), "IfCe1")
	if l == nil || l.Kind != "xfrm" || !l.Up || l.MTU != 1422 || l.IfID != 101 || l.Alias != "Contoso/IfCe" {
		t.Errorf("IfCe1 is %+v", l)
	}
	wantRoutes(t, g.state(t, first), []string{"10.1.0.0/24 metric 100 dev IfCe1"})
	wantSysctl(t, first, "ipv4/conf/IfCe1/rp_filter", "0")
	wantSysctl(t, first, "ipv6/conf/IfCe1/accept_dad", "-1")
	if a := l.Addresses; len(a) != 0 {
		t.Errorf("the kernel gave it the addresses %v", a)
	}
}

func TestS2SInterfacesAreAdoptedByARestartedManager(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, tunnels(101))
	before := link(g.state(t, ns), "IfCe1").Index
	again := g.restart(t)
	watch.Quiet(t, func() { must(t, again.Set(t.Context(), ns, tunnels(101))) }, ns, g.def)
	if after := link(g.state(t, ns), "IfCe1").Index; after != before {
		t.Errorf("IfCe1 has index %d, had %d", after, before)
	}
}

func TestIfIDsCanChangeSwapAndMoveToAnotherName(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	for _, ids := range [][]uint32{{101, 102}, {103, 102}, {102, 103}} {
		g.set(t, ns, tunnels(ids...))
		wantIfIDs(t, g, map[string]map[string]uint32{"Contoso": {"IfCe1": ids[0], "IfCe2": ids[1]}})
		wantRoutes(t, g.state(t, ns), []string{"10.1.0.0/24 metric 100 dev IfCe1"})
	}
	renamed := tunnels(102)
	renamed.Links[0].Name, renamed.Routes = "IfCe9", nil
	g.set(t, ns, renamed)
	wantIfIDs(t, g, map[string]map[string]uint32{"Contoso": {"IfCe9": 102}})
	// A veth in place of the tunnel, and back.
	veth := tunnels()
	veth.Links, veth.Routes = []compartments.Link{{Name: "IfCe9", Kind: compartments.Pair, Peer: "bhi1"}}, nil
	g.set(t, ns, veth)
	g.set(t, ns, renamed)
	wantIfIDs(t, g, map[string]map[string]uint32{"Contoso": {"IfCe9": 102}})
}

func TestIfIDIsFreeAsSoonAsItsCompartmentIsRemoved(t *testing.T) {
	g := newGateway(t)
	for range 5 {
		ns := g.ensure(t, "Contoso") // Its handle stays open and keeps the namespace alive.
		g.set(t, ns, tunnels(101))
		must(t, g.Remove(t.Context(), "Contoso"))
		other := g.ensure(t, "Woodgrove")
		g.set(t, other, tunnels(101))
		must(t, g.Remove(t.Context(), "Woodgrove"))
	}
}

func TestIfIDOfAnotherCompartmentIsRefusedByName(t *testing.T) {
	g := newGateway(t)
	g.set(t, g.ensure(t, "Contoso"), tunnels(101))
	err := g.Set(t.Context(), g.ensure(t, "Woodgrove"), tunnels(101))
	if err == nil || !strings.Contains(err.Error(), "link IfCe1: if_id 0x65 is taken by another xfrm link") {
		t.Errorf("error is %v", err)
	}
	wantIfIDs(t, g, map[string]map[string]uint32{"Contoso": {"IfCe1": 101}, "Woodgrove": {}})
}

func TestXFRMLinksLeftOnTheirWayAreSwept(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	leave := func(id uint32, moved bool) {
		t.Helper()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "bht" + string(rune('a'+id%26))
		l := &netlink.Xfrmi{LinkAttrs: attrs, Ifid: id}
		must(t, handle(t, g.def).LinkAdd(l))
		if moved {
			must(t, handle(t, g.def).LinkSetNsFd(l, ns.Fd()))
		}
	}
	leave(101, true)  // crashed between moving and renaming
	leave(102, false) // crashed before moving
	g.setDefault(t, compartments.Default{})
	g.set(t, ns, tunnels(101, 102))
	wantIfIDs(t, g, map[string]map[string]uint32{"Contoso": {"IfCe1": 101, "IfCe2": 102}})
	links, err := handle(t, g.def).LinkList()
	must(t, err)
	for _, l := range links {
		if l.Type() == "xfrm" {
			t.Errorf("%s is left in the Default compartment", l.Attrs().Name)
		}
	}
}
