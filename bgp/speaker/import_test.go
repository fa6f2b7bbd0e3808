package speaker

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// updateOf is an update by a site with a path of its own.
func updateOf(s *site, path []uint32, prefixes ...string) []byte {
	return rawpeer.Update(nil, rawpeer.Path(s.addr, path...), parsed(prefixes)...)
}

func TestWhatNoPeerMayClaimIsRefusedAndShown(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	config.Inside = parsed([]string{"10.0.0.0/24"})
	defer static(t, "10.0.0.0/24", "IfWe2")() // so that machines are reachable
	s := speaking(t, config)
	peer := sites[0].connect()
	stranger := rawpeer.Path(netip.MustParseAddr("10.9.9.9"), sites[0].asn)
	for _, update := range [][]byte{
		updateOf(sites[0], []uint32{sites[0].asn}, "127.0.0.0/8", "10.0.0.0/24", "10.0.0.128/25", "0.0.0.0/0", "10.2.0.1/32"),
		updateOf(sites[0], []uint32{sites[0].asn, 65412}, "10.3.0.0/24"),
		updateOf(sites[0], []uint32{64999}, "10.4.0.0/24"),
		updateOf(sites[0], []uint32{sites[0].asn, 0}, "10.5.0.0/24"),
		rawpeer.Update(nil, [][]byte{rawpeer.Origin(0), setPath(sites[0].asn), rawpeer.NextHop(ny)}, parsed([]string{"10.5.1.0/24"})...),
		rawpeer.Update(nil, stranger, netip.MustParsePrefix("10.6.0.0/24")),
		rawpeer.Update(nil, rawpeer.Path(netip.MustParseAddr("10.0.0.9"), sites[0].asn), netip.MustParsePrefix("10.6.1.0/24")),
		updateOf(sites[0], []uint32{sites[0].asn}, "10.7.0.0/24"),
	} {
		must(t, peer.Send(update))
	}
	goes(t, "10.7.0.0/24", "IfWe1")
	why := map[string]string{}
	for _, route := range routesOf(t, s, bgp.RouteQuery{}) {
		why[route.Prefix.String()] = route.Why
		if link := kernelRoute(t, route.Prefix.String()); (link == "") != route.Refused {
			t.Errorf("%s: refused %t, and the kernel's route goes by %q", route.Prefix, route.Refused, link)
		}
	}
	for prefix, want := range map[string]string{
		"127.0.0.0/8": refusedMartian, "10.0.0.0/24": refusedInside, "10.0.0.128/25": refusedInside,
		"0.0.0.0/0": refusedDefault, "10.2.0.1/32": refusedPinned, "10.3.0.0/24": refusedLoop,
		"10.4.0.0/24": "the AS path does not begin with the peer's own number 65413", "10.5.0.0/24": refusedAS0,
		"10.5.1.0/24": refusedSet, "10.6.1.0/24": refusedMachine,
		"10.6.0.0/24": "next hop 10.9.9.9 is reachable by no route but BGP's", "10.7.0.0/24": "only path",
	} {
		if why[prefix] != want {
			t.Errorf("%s: shown %q, want %q", prefix, why[prefix], want)
		}
	}
}

func TestNoPeerLeadsTheSessionWithAnotherToItself(t *testing.T) {
	sites := compartment(t, ny, sfo)
	here, err := netlink.LinkByName("IfWe2")
	must(t, err)
	must(t, netlink.RouteDel(&netlink.Route{LinkIndex: here.Attrs().Index, Scope: unix.RT_SCOPE_LINK,
		Dst: netlink.NewIPNet(sfo.AsSlice())}))
	defer static(t, "10.2.0.0/24", "IfWe2")()
	s := speaking(t, configOf(sites...))
	peer := sites[0].connect()
	sites[0].tells(peer, "10.2.0.0/25", "10.2.0.0/23", "10.2.0.128/25")
	goes(t, "10.2.0.0/23", "IfWe1")
	goes(t, "10.2.0.128/25", "IfWe1")
	refused := routesOf(t, s, bgp.RouteQuery{Prefix: netip.MustParsePrefix("10.2.0.0/25")})
	if len(refused) != 1 || refused[0].Why != refusedPinned || kernelRoute(t, "10.2.0.0/25") != "" {
		t.Errorf("shown as %+v", refused)
	}
}

// A site may declare the default route, and have its peer behind that.
func TestNoPeerLeadsTheSessionWithAnotherBehindADefaultRouteToItself(t *testing.T) {
	sites := compartment(t, ny, sfo)
	here, err := netlink.LinkByName("IfWe2")
	must(t, err)
	must(t, netlink.RouteDel(&netlink.Route{LinkIndex: here.Attrs().Index, Scope: unix.RT_SCOPE_LINK,
		Dst: netlink.NewIPNet(sfo.AsSlice())}))
	defer static(t, "0.0.0.0/0", "IfWe2")()
	s := speaking(t, configOf(sites...))
	peer := sites[0].connect()
	sites[0].tells(peer, "10.0.0.0/8", "10.2.0.0/24", "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	for _, prefix := range []string{"10.0.0.0/8", "10.2.0.0/24"} {
		refused := routesOf(t, s, bgp.RouteQuery{Prefix: netip.MustParsePrefix(prefix)})
		if len(refused) != 1 || refused[0].Why != refusedPinned || kernelRoute(t, prefix) != "" {
			t.Errorf("%s is shown as %+v", prefix, refused)
		}
	}
}

func TestRefusedRoutesAreCountedByReason(t *testing.T) {
	sites := compartment(t, ny)
	s := speaking(t, configOf(sites...))
	peer := sites[0].connect()
	sites[0].tells(peer, "127.1.0.0/16", "127.2.0.0/16", "10.3.0.0/24", "0.0.0.0/0")
	testenv.Eventually(t, "three are refused", func() bool {
		state := stateOf(t, s, "NY")
		return maps.Equal(state.Refused, map[string]uint64{refusedMartian: 2, refusedDefault: 1}) &&
			state.Families[0].Received == 4 && state.Families[0].Accepted == 1
	})
}

func TestARouteThatBecomesALoopReplacesTheGoodOne(t *testing.T) {
	sites := compartment(t, ny)
	speaking(t, configOf(sites...))
	peer := sites[0].connect()
	sites[0].tells(peer, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	must(t, peer.Send(updateOf(sites[0], []uint32{sites[0].asn, 65412}, "10.3.0.0/24")))
	goes(t, "10.3.0.0/24", "")
}

func TestImportPoliciesDecideAndChangeWithoutEndingTheSession(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	preference := uint32(200)
	config.Policies = []bgp.Policy{{Name: "in", Statements: []bgp.Statement{
		{Prefixes: []bgp.PrefixRange{whole(netip.MustParsePrefix("10.8.0.0/16"))}, Action: bgp.Reject},
		{ASPath: []string{"_65999_"}, LocalPreference: &preference, AddCommunities: []string{"65412:7", "65412:1:2"}},
	}}}
	config.Peers[0].Import = []string{"in"}
	s := speaking(t, config)
	peer := sites[0].connect()
	sites[0].tells(peer, "10.8.1.0/24", "10.9.0.0/24")
	must(t, peer.Send(updateOf(sites[0], []uint32{sites[0].asn, 65999}, "10.10.0.0/24")))
	goes(t, "10.9.0.0/24", "IfWe1")
	goes(t, "10.10.0.0/24", "IfWe1")
	routes := routesOf(t, s, bgp.RouteQuery{Prefix: netip.MustParsePrefix("10.10.0.0/24")})
	if len(routes) != 1 || *routes[0].LocalPreference != 200 || !slices.Equal(routes[0].Communities, []string{"65412:7", "65412:1:2"}) {
		t.Errorf("the policy made %+v", routes)
	}
	if refused := routesOf(t, s, bgp.RouteQuery{Prefix: netip.MustParsePrefix("10.8.1.0/24")}); len(refused) != 1 || refused[0].Why != refusedPolicy {
		t.Errorf("what policy refused is shown as %+v", refused)
	}

	open := *config
	open.Peers = slices.Clone(config.Peers)
	open.Peers[0].Import = nil
	must(t, s.Set(t.Context(), &open))
	goes(t, "10.8.1.0/24", "IfWe1")
	must(t, s.Set(t.Context(), config))
	goes(t, "10.8.1.0/24", "")
	if state := stateOf(t, s, "NY"); state.State != bgp.Established || state.Flaps != 0 {
		t.Errorf("the session did not stay: %+v", state)
	}
}

func TestANextHopThatComesToResolveBringsItsRoutes(t *testing.T) {
	sites := compartment(t, ny)
	speaking(t, configOf(sites...))
	peer := sites[0].connect()
	must(t, peer.Send(rawpeer.Update(nil, rawpeer.Path(netip.MustParseAddr("10.9.9.9"), sites[0].asn), parsed([]string{"10.6.0.0/24"})...)))
	sites[0].tells(peer, "10.7.0.0/24")
	goes(t, "10.7.0.0/24", "IfWe1")
	route := static(t, "10.9.0.0/16", "IfWe1")
	goes(t, "10.6.0.0/24", "IfWe1")
	route()
	goes(t, "10.6.0.0/24", "")
}

// setPath is the attribute of an AS path that ends with a set.
func setPath(asn uint32) []byte {
	number := binary.BigEndian.AppendUint32(nil, asn)
	value := append([]byte{gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, 1}, number...)
	value = append(append(value, gobgp.BGP_ASPATH_ATTR_TYPE_SET, 1), number...)
	return rawpeer.Attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_AS_PATH, value)
}
