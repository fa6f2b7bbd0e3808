package speaker

import (
	"net/netip"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

func TestEquallyGoodPathsAreUsedTogether(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	config.MaximumPaths = 2
	sites[1].asn, config.Peers[1].ASN = sites[0].asn, sites[0].asn
	s := speaking(t, config)
	first, second := sites[0].connect(), sites[1].connect()
	sites[0].tells(first, "10.3.0.0/24")
	sites[1].tells(second, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1,IfWe2")
	for i, route := range routesOf(t, s, bgp.RouteQuery{}) {
		if !route.Used || route.Best != (i == 0) || i == 1 && route.Why != "as good as the best" {
			t.Errorf("path %d is shown as %+v", i, route)
		}
	}
	must(t, first.Send(rawpeer.Update(parsed([]string{"10.3.0.0/24"}), nil)))
	goes(t, "10.3.0.0/24", "IfWe2")
	second.Close()
	goes(t, "10.3.0.0/24", "")
}

func TestAReflectorTellsInternalPeersOfEachOther(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	for i := range sites {
		sites[i].asn, config.Peers[i].ASN, config.Peers[i].ReflectorClient = 65412, 65412, i == 0
	}
	config.ClusterID = netip.MustParseAddr("9.9.9.9")
	speaking(t, config)
	client, other := sites[0].connect(), sites[1].connect()
	must(t, client.Send(updateInternal(sites[0], "10.3.0.0/24")))
	must(t, other.Send(updateInternal(sites[1], "10.4.0.0/24")))
	goes(t, "10.3.0.0/24", "IfWe1")
	goes(t, "10.4.0.0/24", "IfWe2")
	attributes := toldOnly(t, client, "10.4.0.0/24")["10.4.0.0/24"]
	if next := nextHopOf(attributes); next != sfo {
		t.Errorf("the next hop is %s, want the other peer's own", next)
	}
	reflected := false
	for _, attribute := range attributes {
		if list, ok := attribute.(*gobgp.PathAttributeClusterList); ok {
			reflected = len(list.Value) == 1 && list.Value[0] == config.ClusterID
		}
	}
	if !reflected {
		t.Error("the cluster is not in the list (RFC 4456)")
	}
	toldOnly(t, other, "10.3.0.0/24")
}

// updateInternal is an update of a route of an internal peer's own.
func updateInternal(s *site, prefix string) []byte {
	preference := rawpeer.Attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_LOCAL_PREF, []byte{0, 0, 0, 100})
	return rawpeer.Update(nil, append(rawpeer.Path(s.addr), preference), netip.MustParsePrefix(prefix))
}

func TestIPv6RoutesOverASessionOfIPv4(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.Sources = []netip.Addr{ours, ours6}
	config.Networks = parsed([]string{"fd00:254::/64", "10.0.0.0/24"})
	config.Peers[0].IPv6 = true
	remove := static(t, "fd01::1/128", "IfWe1")
	defer remove()
	speaking(t, config)
	peer := sites[0].connect(func(o *rawpeer.Options) { o.Families = append(o.Families, gobgp.RF_IPv6_UC) })
	must(t, peer.Send(rawpeer.Update(nil, [][]byte{rawpeer.Origin(0), rawpeer.ASPath(sites[0].asn),
		rawpeer.Reach(gobgp.RF_IPv6_UC, netip.MustParseAddr("fd01::1"), netip.MustParsePrefix("fd03::/48"))})))
	goes(t, "fd03::/48", "IfWe1")
	all := toldOnly(t, peer, "10.0.0.0/24", "fd00:254::/64")
	if next := nextHopOf(all["fd00:254::/64"]); next != ours6 {
		t.Errorf("the next hop of IPv6 is %s, want %s", next, ours6)
	}
	if next := nextHopOf(all["10.0.0.0/24"]); next != ours {
		t.Errorf("the next hop of IPv4 is %s, want %s", next, ours)
	}
}

func TestAPeerWithAnotherNumberIsTurnedAwayAndThatIsShown(t *testing.T) {
	sites := compartment(t, ny)
	s := speaking(t, configOf(sites...))
	options := sites[0].options()
	options.ASN = 64999
	testenv.Eventually(t, "the session is refused", func() bool {
		peer, err := rawpeer.Dial(t.Context(), options)
		if err != nil {
			return false
		}
		defer peer.Close()
		return rawpeer.NotifiedOf(peer.Establish(), gobgp.BGP_ERROR_OPEN_MESSAGE_ERROR, gobgp.BGP_ERROR_SUB_BAD_PEER_AS)
	})
	testenv.Eventually(t, "the reason is shown", func() bool {
		return stateOf(t, s, "NY").LastError == "the peer has another AS number than declared"
	})
}
