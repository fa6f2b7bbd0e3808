package compartments_test

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/compartments"
	"bulkhead/internal/netns"
	"bulkhead/internal/watch"
)

// contoso is a compartment with two links and every form of route.
func contoso(t *testing.T) compartments.Config {
	return compartments.Config{
		Links: []compartments.Link{
			{
				Name: "IfCi1", Kind: compartments.Pair, Peer: "bhi6001", MAC: mac(t, "60:01:60:01:03:01"), MTU: 1558,
				NoARP: true, Addresses: []netip.Prefix{prefix("10.0.254.2/24"), prefix("2001:db8:fe::2/64")},
				Alias: "Contoso/IfCi1",
			},
			{
				Name: "ext", Kind: compartments.Pair, Peer: "bhx0123456789ab", MTU: 1500, NoARP: true, Outside: true,
				Alias: "Contoso/ext",
			},
		},
		Routes: []compartments.Route{
			{Prefix: prefix("10.0.0.0/24"), Link: "IfCi1", Source: addr("10.0.254.2")},
			{Prefix: prefix("10.1.0.0/24"), Unreachable: true, Metric: 1 << 31},
			{Prefix: prefix("10.2.0.0/24"), Link: "IfCi1", NextHop: addr("10.9.9.9"), Metric: 7},
			{Prefix: prefix("10.3.0.0/24"), Link: "IfCi1", Source: addr("10.0.254.2"), Metric: 100},
			{Prefix: prefix("10.3.0.0/24"), Link: "ext", Source: addr("10.0.254.2"), Metric: 100},
			{Prefix: prefix("10.4.0.0/24"), NextHop: addr("10.0.254.9")},
			{Prefix: prefix("0.0.0.0/0"), Link: "ext", Metric: 1 << 30},
			{Prefix: prefix("2001:db8::/64"), Link: "IfCi1", Source: addr("2001:db8:fe::2")},
			{Prefix: prefix("2001:db8:3::/64"), Link: "IfCi1", NextHop: addr("2001:db8:fe::8"), Metric: 5},
			{Prefix: prefix("2001:db8:3::/64"), Link: "IfCi1", NextHop: addr("2001:db8:fe::9"), Metric: 5},
			{Prefix: prefix("2001:db8:1::/64"), Unreachable: true, Metric: 1 << 31},
			{Prefix: prefix("::/0"), Link: "ext", Metric: 1 << 30},
		},
		VirtualPrefixes: []netip.Prefix{prefix("10.0.0.0/24"), prefix("10.0.254.0/24"), prefix("2001:db8::/64")},
	}
}

func TestSetMakesWhatIsDeclaredForTwoTenantsAlike(t *testing.T) {
	g := newGateway(t)
	first, second := g.ensure(t, "Contoso"), g.ensure(t, "Woodgrove")
	g.set(t, first, contoso(t))
	twin := contoso(t)
	twin.Links[0].Peer, twin.Links[1].Peer = "bhi6002", "bhxba9876543210"
	g.set(t, second, twin)
	for ns, peers := range map[*netns.Namespace][2]string{
		first: {"bhi6001", "bhx0123456789ab"}, second: {"bhi6002", "bhxba9876543210"},
	} {
		wantLinks(t, g, ns, peers)
		wantRoutes(t, g.state(t, ns), []string{
			"0.0.0.0/0 metric 1073741824 dev ext",
			"10.0.0.0/24 metric 0 src 10.0.254.2 dev IfCi1",
			"10.1.0.0/24 metric 2147483648 unreachable",
			"10.2.0.0/24 metric 7 via 10.9.9.9 dev IfCi1",
			"10.3.0.0/24 metric 100 src 10.0.254.2 dev IfCi1 dev ext",
			"10.4.0.0/24 metric 0 via 10.0.254.9 dev IfCi1",
			"::/0 metric 1073741824 dev ext",
			"2001:db8::/64 metric 1024 src 2001:db8:fe::2 dev IfCi1",
			"2001:db8:1::/64 metric 2147483648 unreachable",
			"2001:db8:3::/64 metric 5 via 2001:db8:fe::8 dev IfCi1 via 2001:db8:fe::9 dev IfCi1",
		})
	}
}

func wantLinks(t *testing.T, g gateway, ns *netns.Namespace, peers [2]string) {
	t.Helper()
	want := []compartments.LinkState{
		{
			Name: "IfCi1", Kind: pairKind(t), Up: true, MTU: 1558, MAC: "60:01:60:01:03:01", Peer: peers[0],
			Addresses: []netip.Prefix{prefix("10.0.254.2/24"), prefix("2001:db8:fe::2/64")}, Alias: "Contoso/IfCi1",
		},
		{Name: "ext", Kind: pairKind(t), Up: true, MTU: 1500, Peer: peers[1], Alias: "Contoso/ext", Addresses: []netip.Prefix{}},
	}
	s := g.state(t, ns)
	got := []compartments.LinkState{*link(s, "IfCi1"), *link(s, "ext")}
	unknown := cmpopts.IgnoreFields(compartments.LinkState{},
		"Index", "RxPackets", "RxBytes", "TxPackets", "TxBytes")
	got[1].MAC = "" // The kernel's choice.
	if diff := cmp.Diff(want, got, unknown, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	h := handle(t, g.def)
	for i, name := range peers {
		peer, err := h.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		a := peer.Attrs()
		if a.Flags&net.FlagUp == 0 || a.MTU != want[i].MTU || a.Alias != want[i].Alias {
			t.Errorf("%s: up %v, MTU %d, alias %q; want true, %d, %q",
				name, a.Flags&net.FlagUp != 0, a.MTU, a.Alias, want[i].MTU, want[i].Alias)
		}
		if addrs, err := h.AddrList(peer, netlink.FAMILY_ALL); err != nil || len(addrs) != 0 {
			t.Errorf("%s has addresses %v, %v", name, addrs, err)
		}
	}
	if l, err := handle(t, ns).LinkByName("IfCi1"); err != nil || l.Attrs().RawFlags&unix.IFF_NOARP == 0 {
		t.Errorf("IfCi1 resolves neighbours: %v", err)
	}
}

func wantRoutes(t *testing.T, s compartments.State, want []string) {
	t.Helper()
	var got []string
	for _, r := range s.Routes {
		if r.Protocol == "bulkhead" {
			got = append(got, describe(r))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func describe(r compartments.RouteState) string {
	var b strings.Builder
	b.WriteString(r.Prefix.String() + " metric " + strconv.Itoa(int(r.Metric)))
	if r.Unreachable {
		b.WriteString(" unreachable")
	}
	if r.Source.IsValid() {
		b.WriteString(" src " + r.Source.String())
	}
	for _, n := range r.NextHops {
		if n.Via.IsValid() {
			b.WriteString(" via " + n.Via.String())
		}
		b.WriteString(" dev " + n.Link)
	}
	return b.String()
}

func TestSetTwiceWritesNothingNeitherDoesARestartedManager(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	index := link(g.state(t, ns), "IfCi1").Index
	watch.Quiet(t, func() { g.set(t, ns, contoso(t)) }, ns, g.def)
	again := g.restart(t)
	watch.Quiet(t, func() {
		if err := again.Set(t.Context(), ns, contoso(t)); err != nil {
			t.Fatal(err)
		}
	}, ns, g.def)
	if now := link(g.state(t, ns), "IfCi1").Index; now != index {
		t.Errorf("IfCi1 was made anew: index %d, was %d", now, index)
	}
}

func TestSetChangesOnlyWhatDiffers(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	before := g.state(t, ns)

	c := contoso(t)
	c.Links[0].MTU, c.Links[0].MAC, c.Links[0].Alias = 1450, mac(t, "60:01:60:01:03:02"), "renamed"
	c.Links[0].NoARP = false
	// The new address of the subnet is added as a secondary one and has to outlive the primary.
	c.Links[0].Addresses = []netip.Prefix{prefix("10.0.254.3/24"), prefix("2001:db8:fe::2/64")}
	c.Routes = []compartments.Route{
		{Prefix: prefix("10.0.0.0/24"), Link: "IfCi1", Source: addr("10.0.254.3")},
		{Prefix: prefix("10.1.0.0/24"), Link: "IfCi1", Metric: 1 << 31},
		{Prefix: prefix("10.2.0.0/24"), Unreachable: true, Metric: 7},
		{Prefix: prefix("10.3.0.0/24"), Link: "ext", Source: addr("10.0.254.3"), Metric: 100},
		{Prefix: prefix("2001:db8::/64"), Unreachable: true},
		{Prefix: prefix("2001:db8:3::/64"), Link: "IfCi1", NextHop: addr("2001:db8:fe::9"), Metric: 5},
		{Prefix: prefix("2001:db8:1::/64"), Link: "IfCi1", Metric: 1 << 31},
	}
	g.set(t, ns, c)
	after := g.state(t, ns)
	l := link(after, "IfCi1")
	if l.Index != link(before, "IfCi1").Index {
		t.Error("IfCi1 was made anew")
	}
	if l.MTU != 1450 || l.MAC != "60:01:60:01:03:02" || l.Alias != "renamed" {
		t.Errorf("IfCi1 is %+v", l)
	}
	if len(l.Addresses) != 2 || l.Addresses[0] != prefix("10.0.254.3/24") {
		t.Errorf("IfCi1 has the addresses %v", l.Addresses)
	}
	wantRoutes(t, after, []string{
		"10.0.0.0/24 metric 0 src 10.0.254.3 dev IfCi1",
		"10.1.0.0/24 metric 2147483648 dev IfCi1",
		"10.2.0.0/24 metric 7 unreachable",
		"10.3.0.0/24 metric 100 src 10.0.254.3 dev ext",
		"2001:db8::/64 metric 1024 unreachable",
		"2001:db8:1::/64 metric 2147483648 dev IfCi1",
		"2001:db8:3::/64 metric 5 via 2001:db8:fe::9 dev IfCi1",
	})
	watch.Quiet(t, func() { g.set(t, ns, c) }, ns, g.def)
}

func TestSetReplacesALinkWithAnotherPeerAndRemovesUndeclaredOnes(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	h := handle(t, ns)
	// A device of another kind belongs to another package, a route of another protocol to another daemon.
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "limiter"
	if err := h.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	_, dst, _ := net.ParseCIDR("10.77.0.0/16")
	foreign := &netlink.Route{Dst: dst, LinkIndex: lo.Attrs().Index, Protocol: unix.RTPROT_BGP, Scope: netlink.SCOPE_LINK}
	if err := h.RouteAdd(foreign); err != nil {
		t.Fatal(err)
	}
	c := contoso(t)
	c.Links = c.Links[:1]
	c.Links[0].Peer = "bhi7001"
	c.Routes = c.Routes[:1]
	g.set(t, ns, c)
	s := g.state(t, ns)
	if link(s, "ext") != nil || link(s, "limiter") == nil || link(s, "IfCi1").Peer != "bhi7001" {
		t.Errorf("links are %+v", s.Links)
	}
	wantRoutes(t, s, []string{"10.0.0.0/24 metric 0 src 10.0.254.2 dev IfCi1"})
	found := false
	for _, r := range s.Routes {
		found = found || (r.Protocol == "bgp" && r.Prefix == prefix("10.77.0.0/16"))
	}
	if !found {
		t.Error("the route of another protocol is gone")
	}
	for _, gone := range []string{"bhi6001", "bhx0123456789ab"} {
		if _, err := handle(t, g.def).LinkByName(gone); err == nil {
			t.Errorf("%s is still in the Default compartment", gone)
		}
	}
}

func TestSetCarriesOnPastWhatFailsAndNamesIt(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	c := contoso(t)
	c.Links = append([]compartments.Link{
		{Name: "IfBad", Kind: "bridge"},
		{Name: "IfWorse", Kind: compartments.Pair},
		{Name: "IfCe1", Kind: compartments.XFRM},
	}, c.Links...)
	c.Routes = append([]compartments.Route{
		{Prefix: prefix("10.50.0.0/24"), Link: "IfGone"},
		{Prefix: prefix("10.51.0.0/24"), Link: "IfCi1", Source: addr("10.99.0.1")},
		{Prefix: prefix("10.52.0.0/24")},
		{Prefix: prefix("10.53.0.0/24"), Link: "IfCi1", NextHop: addr("2001:db8::1")},
		{Link: "IfCi1"},
	}, c.Routes...)
	c.Routes = append(c.Routes, compartments.Route{Prefix: prefix("10.0.0.0/24"), Unreachable: true})
	err := g.Set(t.Context(), ns, c)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"link IfBad: kind \"bridge\"", "link IfWorse: a pair needs a peer", "link IfCe1: an xfrm link needs an if_id",
		"route 10.50.0.0/24 metric 0: there is no link IfGone", "route 10.51.0.0/24 metric 0: add",
		"route 10.52.0.0/24 metric 0: neither a link nor a next hop",
		"route 10.53.0.0/24 metric 0: 2001:db8::1 is of another", "the prefix is missing",
		"route 10.0.0.0/24 metric 0: declared twice",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	good := contoso(t)
	wantLinks(t, g, ns, [2]string{good.Links[0].Peer, good.Links[1].Peer})
	watch.Quiet(t, func() { g.set(t, ns, good) }, ns, g.def)
}

func TestSetPutsTheSettingsOfEveryInterface(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	for _, link := range []string{"all", "default", "lo", "IfCi1", "ext"} {
		wantSysctl(t, ns, "ipv4/conf/"+link+"/rp_filter", "0")
		wantSysctl(t, ns, "ipv4/conf/"+link+"/forwarding", "1")
		wantSysctl(t, ns, "ipv4/conf/"+link+"/accept_redirects", "0")
		wantSysctl(t, ns, "ipv4/conf/"+link+"/send_redirects", "0")
		wantSysctl(t, ns, "ipv6/conf/"+link+"/forwarding", "1")
		wantSysctl(t, ns, "ipv6/conf/"+link+"/accept_ra", "0")
		wantSysctl(t, ns, "ipv6/conf/"+link+"/accept_redirects", "0")
		wantSysctl(t, ns, "ipv6/conf/"+link+"/accept_dad", "-1")
	}
	wantSysctl(t, g.def, "ipv6/conf/bhi6001/disable_ipv6", "1")
	// Somebody's change is put right by the next Set.
	if err := ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/IfCi1/rp_filter", []byte("1"), 0)
	}); err != nil {
		t.Fatal(err)
	}
	g.set(t, ns, contoso(t))
	wantSysctl(t, ns, "ipv4/conf/IfCi1/rp_filter", "0")
}

func wantSysctl(t *testing.T, ns *netns.Namespace, path, want string) {
	t.Helper()
	var got []byte
	if err := ns.Do(func() (err error) {
		got, err = os.ReadFile("/proc/sys/net/" + path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if s := strings.TrimSpace(string(got)); s != want {
		t.Errorf("%s is %s, want %s", path, s, want)
	}
}
