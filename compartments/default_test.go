package compartments_test

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"bulkhead/compartments"
	"bulkhead/internal/testenv"
	"bulkhead/internal/watch"
)

// withNICs gives the Default compartment of a test two NICs, whose cables end in a namespace of their own.
func withNICs(t *testing.T, g gateway) {
	t.Helper()
	wire := testenv.Namespace(t)
	h := handle(t, g.def)
	for _, name := range []string{"backend0", "If2"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		v := netlink.NewVeth(attrs)
		v.PeerName, v.PeerNamespace = name, netlink.NsFd(wire.Fd())
		must(t, h.LinkAdd(v))
		peer, err := handle(t, wire).LinkByName(name)
		must(t, err)
		must(t, handle(t, wire).LinkSetUp(peer))
	}
}

func fabrikam() compartments.Default {
	return compartments.Default{
		NICs: []compartments.NIC{
			{Name: "backend0", MTU: 1600, Addresses: []netip.Prefix{prefix("192.168.0.11/24")}},
			{Name: "If2", Addresses: []netip.Prefix{prefix("131.107.10.10/24"), prefix("2001:db8:10::10/64")}},
		},
		Routes: []compartments.Route{
			{Prefix: prefix("0.0.0.0/0"), NextHop: addr("131.107.10.1"), Link: "If2"},
			{Prefix: prefix("192.168.8.0/24"), NextHop: addr("192.168.0.1"), Link: "backend0"},
		},
	}
}

func (g gateway) setDefault(t *testing.T, want compartments.Default) {
	t.Helper()
	must(t, g.SetDefault(t.Context(), want))
}

func TestDefaultCompartmentHasWhatIsDeclaredAndForwardsNothing(t *testing.T) {
	g := newGateway(t)
	withNICs(t, g)
	g.setDefault(t, fabrikam())
	s := g.state(t, g.def)
	backend, external := link(s, "backend0"), link(s, "If2")
	if !backend.Up || backend.MTU != 1600 || !external.Up || external.MTU != 1500 {
		t.Errorf("NICs are %+v and %+v", backend, external)
	}
	wantAddresses(t, g, "backend0", "192.168.0.11/24")
	wantAddresses(t, g, "If2", "131.107.10.10/24", "2001:db8:10::10/64")
	wantRoutes(t, s, []string{
		"0.0.0.0/0 metric 0 via 131.107.10.1 dev If2",
		"192.168.8.0/24 metric 0 via 192.168.0.1 dev backend0",
	})
	wantSysctl(t, g.def, "ipv4/ip_forward", "0")
	wantSysctl(t, g.def, "ipv6/conf/all/forwarding", "0")
	wantSysctl(t, g.def, "ipv4/conf/If2/accept_redirects", "0")
	watch.Quiet(t, func() { g.setDefault(t, fabrikam()) }, g.def)
}

// wantAddresses compares what a NIC has, but for link-local addresses of the kernel.
func wantAddresses(t *testing.T, g gateway, nic string, want ...string) {
	t.Helper()
	var got []string
	for _, a := range link(g.state(t, g.def), nic).Addresses {
		if !a.Addr().IsLinkLocalUnicast() {
			got = append(got, a.String())
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s has %v, want %v", nic, got, want)
	}
}

func TestDefaultCompartmentLosesOnlyWhatTheGatewayPutThere(t *testing.T) {
	g := newGateway(t)
	withNICs(t, g)
	h := handle(t, g.def)
	for nic, list := range map[string][]string{
		"backend0": {"192.168.7.5/24"},
		// One address is somebody's already when it is declared; it stays theirs.
		"If2": {"131.107.10.200/24", "131.107.10.10/24", "2001:db8:99::1/64"},
	} {
		l, err := h.LinkByName(nic)
		must(t, err)
		must(t, h.LinkSetUp(l))
		for _, s := range list {
			a, err := netlink.ParseAddr(s)
			must(t, err)
			must(t, h.AddrAdd(l, a))
		}
	}
	g.setDefault(t, fabrikam())
	wantAddresses(t, g, "If2", "131.107.10.200/24", "131.107.10.10/24", "2001:db8:10::10/64", "2001:db8:99::1/64")
	// The declared address changes, and the NIC of the other one is declared no longer.
	changed := fabrikam()
	changed.NICs = changed.NICs[1:]
	changed.NICs[0].Addresses = []netip.Prefix{prefix("131.107.10.9/24")}
	changed.Routes = changed.Routes[:1]
	g.setDefault(t, changed)
	wantAddresses(t, g, "backend0", "192.168.7.5/24")
	wantAddresses(t, g, "If2", "131.107.10.200/24", "131.107.10.10/24", "131.107.10.9/24", "2001:db8:99::1/64")
	wantRoutes(t, g.state(t, g.def), []string{"0.0.0.0/0 metric 0 via 131.107.10.1 dev If2"})
	must(t, g.restart(t).SetDefault(t.Context(), compartments.Default{}))
	wantAddresses(t, g, "If2", "131.107.10.200/24", "131.107.10.10/24", "2001:db8:99::1/64")
	wantRoutes(t, g.state(t, g.def), nil)
}

func TestDefaultCompartmentLeavesOthersRoutesAlone(t *testing.T) {
	g := newGateway(t)
	withNICs(t, g)
	g.setDefault(t, compartments.Default{NICs: fabrikam().NICs})
	h := handle(t, g.def)
	l, err := h.LinkByName("If2")
	must(t, err)
	_, all, err := net.ParseCIDR("0.0.0.0/0")
	must(t, err)
	theirs := &netlink.Route{Dst: all, Gw: addr("131.107.10.1").AsSlice(), LinkIndex: l.Attrs().Index, Protocol: 4}
	must(t, h.RouteAdd(theirs))
	// The same route is declared: theirs serves, and stays when it is declared no longer.
	watch.Quiet(t, func() { g.setDefault(t, fabrikam()) }, g.def)
	g.setDefault(t, compartments.Default{NICs: fabrikam().NICs})
	if s := g.state(t, g.def); s.Routes[0].Prefix != prefix("0.0.0.0/0") || s.Routes[0].Protocol != "static" {
		t.Errorf("the default route is %+v", s.Routes[0])
	}
	// Another one is declared: that is for the operator to decide.
	other := fabrikam()
	other.Routes[0].NextHop = addr("131.107.10.2")
	err = g.SetDefault(t.Context(), other)
	if err == nil || !strings.Contains(err.Error(), "route 0.0.0.0/0 metric 0: another route") {
		t.Errorf("error is %v, want that another route stands", err)
	}
}

func TestMissingNICIsNamedAndNothingChanges(t *testing.T) {
	g := newGateway(t)
	withNICs(t, g)
	g.setDefault(t, fabrikam())
	d := fabrikam()
	d.NICs[1].Name, d.Routes = "nosuch", nil
	err := g.SetDefault(t.Context(), d)
	if err == nil || !strings.Contains(err.Error(), "NIC nosuch: the Default compartment has no interface") {
		t.Errorf("error is %v", err)
	}
	wantAddresses(t, g, "If2", "131.107.10.10/24", "2001:db8:10::10/64")
	state, err := g.State(t.Context(), g.def)
	must(t, err)
	if !slices.ContainsFunc(state.Routes, func(r compartments.RouteState) bool { return r.Prefix == prefix("0.0.0.0/0") }) {
		t.Error("the default route went")
	}
}

func TestLeftoversOfAPredecessorAreSwept(t *testing.T) {
	g := newGateway(t)
	withNICs(t, g)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	h := handle(t, g.def)
	gone := testenv.Namespace(t) // A compartment that lost its pin.
	for name, elsewhere := range map[string]bool{"bhi7777": true, "bhi7778": false, "bhx00000000000f": true, "bhother": true} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		v := netlink.NewVeth(attrs)
		v.PeerName = "peer" + name[3:6]
		if elsewhere {
			v.PeerNamespace = netlink.NsFd(gone.Fd())
		}
		must(t, h.LinkAdd(v))
	}
	g.setDefault(t, fabrikam())
	for name, stays := range map[string]bool{
		"bhi7777": false, "bhi7778": false, "bhx00000000000f": false, "bhother": true, // Not a name of ours.
		"bhi6001": true, "bhx0123456789ab": true, "If2": true,
	} {
		if _, err := h.LinkByName(name); (err == nil) != stays {
			t.Errorf("%s stays: %v, want %v", name, err == nil, stays)
		}
	}
	watch.Quiet(t, func() { g.set(t, ns, contoso(t)) }, ns)
}

func TestProviderAddressesOfIPv6AreThereAtOnceAndNoOthersAreTaken(t *testing.T) {
	g := newGateway(t)
	withNICs(t, g)
	must(t, g.def.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/backend0/disable_ipv6", []byte("1"), 0)
	}))
	d := fabrikam()
	d.NICs[0].Addresses = append(d.NICs[0].Addresses, prefix("2001:db8:168::11/64"))
	d.Routes = append(d.Routes, compartments.Route{
		Prefix: prefix("2001:db8:169::/64"), NextHop: addr("2001:db8:168::1"), Link: "backend0",
	})
	g.setDefault(t, d)
	wantAddresses(t, g, "backend0", "192.168.0.11/24", "2001:db8:168::11/64")
	wantRoutes(t, g.state(t, g.def), []string{
		"0.0.0.0/0 metric 0 via 131.107.10.1 dev If2",
		"192.168.8.0/24 metric 0 via 192.168.0.1 dev backend0",
		"2001:db8:169::/64 metric 1024 via 2001:db8:168::1 dev backend0",
	})
	for _, key := range []string{"accept_ra", "autoconf", "forwarding"} {
		wantSysctl(t, g.def, "ipv6/conf/backend0/"+key, "0")
	}
	// A socket can be bound to it from the first moment: duplicate address detection does not hold it back.
	must(t, g.def.Do(func() error {
		conn, err := net.ListenPacket("udp6", "[2001:db8:168::11]:0")
		if err != nil {
			return err
		}
		return conn.Close()
	}))
	watch.Quiet(t, func() { g.setDefault(t, d) }, g.def)
	// Without one, what the NIC takes from routers is the operator's affair.
	wantSysctl(t, g.def, "ipv6/conf/If2/accept_ra", "0")
	g2 := newGateway(t)
	withNICs(t, g2)
	g2.setDefault(t, fabrikam())
	wantSysctl(t, g2.def, "ipv6/conf/backend0/accept_ra", "1")
}
