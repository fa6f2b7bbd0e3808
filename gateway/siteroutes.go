package gateway

import (
	"net/netip"
	"slices"

	"bulkhead/compartments"
	"bulkhead/vpn"
)

// SiteRoute is a route by a site-to-site interface. Whether it is in force depends on the state of tunnels.
type SiteRoute struct {
	compartments.Route
	// WhileConnected tells that it is in force only while the interface is connected (a post-connection subnet).
	WhileConnected bool
}

// siteRoutes are those routes that are in force with the tunnels in these states. A trigger route stands whatever the
// state, since a packet must be able to dial (law 4); but while its site is unreachable it gives way to another interface
// that has the prefix. Where all of them are unreachable all stand, as the next packet may find one of them well again.
func siteRoutes(all []SiteRoute, static []compartments.Route, state func(iface string) vpn.State) []compartments.Route {
	offered := map[netip.Prefix]bool{} // by something that is not known to be unreachable
	for _, r := range static {
		offered[r.Prefix] = offered[r.Prefix] || !r.Unreachable
	}
	for _, r := range all {
		offered[r.Prefix] = offered[r.Prefix] || offers(r, state(r.Link))
	}
	var routes []compartments.Route
	for _, r := range all {
		now := state(r.Link)
		if offers(r, now) || !r.WhileConnected && !offered[r.Prefix] {
			routes = append(routes, r.Route)
		}
	}
	return routes
}

// offers tells whether packets by the route have a prospect of reaching the site.
func offers(r SiteRoute, state vpn.State) bool {
	if r.WhileConnected {
		return state == vpn.Connected
	}
	return state != vpn.Unreachable
}

// remembered is what the kernel knows of tunnels from an earlier daemon: an interface with a post-connection route was
// connected, and so was one that has a trigger route although it dials nobody; one that dials and whose trigger route is
// missing, although it is up and another one has the prefix, was unreachable.
func remembered(all []SiteRoute, dials map[string]bool, standing compartments.State) map[string]vpn.State {
	states := map[string]vpn.State{}
	for _, r := range all {
		up := slices.ContainsFunc(standing.Links, func(l compartments.LinkState) bool { return l.Name == r.Link && l.Up })
		links := hops(standing, r.Prefix)
		switch has := slices.Contains(links, r.Link); {
		case !up:
		case has && (r.WhileConnected || !dials[r.Link]):
			states[r.Link] = vpn.Connected
		case dials[r.Link] && !r.WhileConnected && !has && len(links) > 0:
			states[r.Link] = vpn.Unreachable
		}
	}
	return states
}

// hops are the links that lead to a prefix.
func hops(standing compartments.State, prefix netip.Prefix) (links []string) {
	for _, r := range standing.Routes {
		if r.Prefix != prefix || r.Unreachable {
			continue
		}
		for _, h := range r.NextHops {
			links = append(links, h.Link)
		}
	}
	return links
}
