package speaker

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stateOf is a peer as the speaker shows it.
func stateOf(t testing.TB, s *Speaker, name string) bgp.PeerState {
	t.Helper()
	peers, err := s.Peers(context.Background())
	must(t, err)
	i := slices.IndexFunc(peers, func(p bgp.PeerState) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no peer %s among %+v", name, peers)
	}
	return peers[i]
}

// routesOf are the speaker's routes that a query chooses.
func routesOf(t testing.TB, s *Speaker, query bgp.RouteQuery) []bgp.Route {
	t.Helper()
	var routes []bgp.Route
	must(t, s.Routes(context.Background(), query, func(r bgp.Route) bool {
		routes = append(routes, r)
		return true
	}))
	return routes
}

// kernelRoute is the links of BGP's route for exactly a prefix in the kernel's table; "" where there is none.
func kernelRoute(t testing.TB, prefix string) string {
	t.Helper()
	dst := netip.MustParsePrefix(prefix)
	family := unix.AF_INET
	if dst.Addr().Is6() {
		family = unix.AF_INET6
	}
	routes, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: unix.RTPROT_BGP}, netlink.RT_FILTER_PROTOCOL)
	must(t, err)
	for _, route := range routes {
		if route.Dst == nil || route.Dst.String() != dst.String() {
			continue
		}
		indexes := []int{route.LinkIndex}
		for i, hop := range route.MultiPath {
			indexes = append(indexes[:i], hop.LinkIndex)
		}
		var links []string
		for _, index := range indexes {
			l, err := netlink.LinkByIndex(index)
			must(t, err)
			links = append(links, l.Attrs().Name)
		}
		slices.Sort(links)
		return strings.Join(links, ",")
	}
	return ""
}

// goes waits until the kernel has a route for prefix by link; "" for none.
func goes(t testing.TB, prefix, link string) {
	t.Helper()
	testenv.Eventually(t, prefix+" goes by "+link+".", func() bool {
		return kernelRoute(t, prefix) == link
	})
}

// static adds a declared route by a link, and returns what takes it away.
func static(t testing.TB, prefix, link string) (remove func()) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	must(t, err)
	dst := netip.MustParsePrefix(prefix)
	route := &netlink.Route{LinkIndex: l.Attrs().Index, Scope: unix.RT_SCOPE_LINK, Protocol: unix.RTPROT_STATIC,
		Dst: &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())}}
	must(t, netlink.RouteAdd(route))
	return func() { must(t, netlink.RouteDel(route)) }
}

// up waits until a peer is shown as established.
func up(t testing.TB, s *Speaker, name string) {
	t.Helper()
	testenv.Eventually(t, name+" is shown as established", func() bool { return stateOf(t, s, name).State == bgp.Established })
}

// heard is what a peer was told last of each prefix: nil where it was withdrawn.
func heard(peer *rawpeer.Peer) map[string][]gobgp.PathAttributeInterface {
	told := map[string][]gobgp.PathAttributeInterface{}
	for _, message := range peer.Heard() {
		update, ok := message.Body.(*gobgp.BGPUpdate)
		if !ok {
			continue
		}
		for _, route := range update.WithdrawnRoutes {
			told[route.NLRI.String()] = nil
		}
		for _, route := range update.NLRI {
			told[route.NLRI.String()] = update.PathAttributes
		}
		for _, attribute := range update.PathAttributes {
			switch a := attribute.(type) {
			case *gobgp.PathAttributeMpReachNLRI:
				for _, route := range a.Value {
					told[route.NLRI.String()] = update.PathAttributes
				}
			case *gobgp.PathAttributeMpUnreachNLRI:
				for _, route := range a.Value {
					told[route.NLRI.String()] = nil
				}
			}
		}
	}
	return told
}

// toldOnly waits until a peer was told exactly of the prefixes.
func toldOnly(t testing.TB, peer *rawpeer.Peer, prefixes ...string) map[string][]gobgp.PathAttributeInterface {
	t.Helper()
	slices.Sort(prefixes)
	var all map[string][]gobgp.PathAttributeInterface
	testenv.Eventually(t, "the peer is told of "+strings.Join(prefixes, ", ")+" only", func() bool {
		all = heard(peer)
		var now []string
		for prefix, attributes := range all {
			if attributes != nil {
				now = append(now, prefix)
			}
		}
		slices.Sort(now)
		return slices.Equal(now, prefixes)
	})
	return all
}
