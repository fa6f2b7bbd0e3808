package speaker

import (
	"context"
	"errors"
	"slices"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/fib"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestATunnelThatGoesDownMovesRoutesToTheOtherSite(t *testing.T) {
	sites := compartment(t, ny, sfo)
	s := speaking(t, configOf(sites...))
	for _, site := range sites {
		peer := site.connect()
		if site.addr == ny {
			site.tells(peer, "10.1.0.0/24")
		} else {
			must(t, peer.Send(updateOf(site, []uint32{site.asn, 65413}, "10.1.0.0/24")))
		}
	}
	goes(t, "10.1.0.0/24", "IfWe1")
	testenv.Eventually(t, "both paths are known", func() bool { return len(routesOf(t, s, bgp.RouteQuery{})) == 2 })
	s.SetTunnels([]string{"IfWe1"})
	goes(t, "10.1.0.0/24", "IfWe2")
	state := stateOf(t, s, "NY")
	if state.State == bgp.Established || state.LastError != "tunnel down: IfWe1" {
		t.Errorf("NY is shown as %+v", state)
	}
	up(t, s, "SFO")
	if state := stateOf(t, s, "SFO"); state.Flaps != 0 {
		t.Errorf("SFO is shown as %+v", state)
	}
	s.SetTunnels(nil)
	back := sites[0].connect()
	sites[0].tells(back, "10.1.0.0/24")
	goes(t, "10.1.0.0/24", "IfWe1")
}

func TestASessionByALinkSaysThatItsTunnelIsThere(t *testing.T) {
	sites := compartment(t, ny)
	s := speaking(t, configOf(sites...))
	s.SetTunnels([]string{"IfWe1"})
	peer := sites[0].connect()
	sites[0].tells(peer, "10.1.0.0/24")
	goes(t, "10.1.0.0/24", "IfWe1")
}

// Links go when that has returned, and with them all routes that still lead there (law 1).
func TestNoRouteLeadsByATunnelThatIsDownOnceThatIsSaid(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.Guard = true
	ns, err := netns.Current()
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(fib.Sweep(context.Background(), ns), ns.Close())) })
	s := speaking(t, config)
	sites[0].tells(sites[0].connect(), "203.0.113.0/24")
	goes(t, "203.0.113.0/24", "IfWe1")
	s.SetTunnels([]string{"IfWe1"})
	link, err := netlink.LinkByName("IfWe1")
	must(t, err)
	routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: unix.RTPROT_BGP}, netlink.RT_FILTER_PROTOCOL)
	must(t, err)
	if len(routes) == 0 || slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.LinkIndex == link.Attrs().Index }) {
		t.Errorf("there are %v", routes)
	}
}
