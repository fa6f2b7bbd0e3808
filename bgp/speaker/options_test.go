package speaker

import (
	"net/netip"
	"slices"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

func TestAnotherIdentifierStartsBGPAgainWithAllThatWasDeclared(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.Networks = parsed([]string{"10.0.0.0/24"})
	s := speaking(t, config)
	peer := sites[0].connect()
	sites[0].tells(peer, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	other := *config
	other.Identifier, other.MaximumPaths = netip.MustParseAddr("1.2.3.4"), 4
	must(t, s.Set(t.Context(), &other))
	<-peer.Ended()
	goes(t, "10.3.0.0/24", "")
	peer = sites[0].connect()
	toldOnly(t, peer, "10.0.0.0/24")
	sites[0].tells(peer, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	if state := stateOf(t, s, "NY"); state.Flaps != 1 {
		t.Errorf("shown as %+v", state)
	}
}

func TestAPeerMayAdvertiseADefaultRouteOrOurNumberWhereThatIsDeclared(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	config.Peers[0].AcceptDefault, config.Peers[0].AllowOwnASN = true, 1
	s := speaking(t, config)
	for _, site := range sites {
		peer := site.connect()
		must(t, peer.Send(updateOf(site, []uint32{site.asn, 65412}, "10.3.0.0/24")))
		must(t, peer.Send(updateOf(site, []uint32{site.asn, 65412, 65412}, "10.4.0.0/24")))
		site.tells(peer, "0.0.0.0/0", "10.5.0.0/24")
	}
	goes(t, "10.5.0.0/24", "IfWe1")
	goes(t, "0.0.0.0/0", "IfWe1")
	goes(t, "10.3.0.0/24", "IfWe1")
	goes(t, "10.4.0.0/24", "")
	for _, route := range routesOf(t, s, bgp.RouteQuery{Peer: "SFO"}) {
		if route.Refused != (route.Prefix.String() != "10.5.0.0/24") {
			t.Errorf("shown as %+v", route)
		}
	}
}

func TestWellKnownCommunitiesKeepRoutesFromOtherPeers(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	config.Transit = true
	speaking(t, config)
	from, to := sites[0].connect(), sites[1].connect()
	for prefix, community := range map[string]uint32{
		"10.3.0.0/24": uint32(gobgp.COMMUNITY_NO_EXPORT), "10.4.0.0/24": uint32(gobgp.COMMUNITY_NO_ADVERTISE),
		"10.5.0.0/24": 65413<<16 | 1,
	} {
		attributes := append(rawpeer.Path(ny, sites[0].asn), rawpeer.Communities(community))
		must(t, from.Send(rawpeer.Update(nil, attributes, netip.MustParsePrefix(prefix))))
	}
	for _, prefix := range []string{"10.3.0.0/24", "10.4.0.0/24", "10.5.0.0/24"} {
		goes(t, prefix, "IfWe1")
	}
	toldOnly(t, to, "10.5.0.0/24")
}

func TestAnInternalPeerIsToldOfOurselvesAsNextHopWhereThatIsDeclared(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	config.Transit = true
	sites[1].asn, config.Peers[1].ASN = 65412, 65412
	s := speaking(t, config)
	from, internal := sites[0].connect(), sites[1].connect()
	sites[0].tells(from, "10.3.0.0/24")
	next := func() netip.Addr { return nextHopOf(toldOnly(t, internal, "10.3.0.0/24")["10.3.0.0/24"]) }
	if next() != ny {
		t.Errorf("next hop is %s, want the site's", next())
	}
	self := *config
	self.Peers = slices.Clone(config.Peers)
	self.Peers[1].NextHopSelf = true
	must(t, s.Set(t.Context(), &self))
	testenv.Eventually(t, "the next hop is ourselves", func() bool { return next() == ours })
}

func TestIPv4RoutesOverASessionOfIPv6(t *testing.T) {
	sites := compartment(t, netip.MustParseAddr("fd01::1"))
	config := configOf(sites...)
	config.Sources = []netip.Addr{ours, ours6}
	config.Networks = parsed([]string{"fd00:254::/64", "10.0.0.0/24"})
	config.Peers[0].IPv6, config.Peers[0].LocalAddress = true, ours6
	speaking(t, config)
	peer := sites[0].connect(func(o *rawpeer.Options) {
		o.Remote, o.Identifier, o.Families = ours6, ny, append(o.Families, gobgp.RF_IPv6_UC)
	})
	must(t, peer.Send(rawpeer.Update(nil, [][]byte{rawpeer.Origin(0), rawpeer.ASPath(sites[0].asn),
		rawpeer.Reach(gobgp.RF_IPv6_UC, sites[0].addr, netip.MustParsePrefix("fd03::/48"))})))
	goes(t, "fd03::/48", "IfWe1")
	all := toldOnly(t, peer, "10.0.0.0/24", "fd00:254::/64")
	if next := nextHopOf(all["10.0.0.0/24"]); next != ours {
		t.Errorf("the next hop of IPv4 is %s, want %s", next, ours)
	}
	if next := nextHopOf(all["fd00:254::/64"]); next != ours6 {
		t.Errorf("the next hop of IPv6 is %s, want %s", next, ours6)
	}
}
