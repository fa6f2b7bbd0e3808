package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// idleBGP tells of what is declared of the tenant's router and comes to nothing, or to something else than meant.
func (t *Tenant) idleBGP() (out []string) {
	if t.BGP == nil {
		return nil
	}
	tell := func(format string, args ...any) {
		out = append(out, fmt.Sprintf("%s/%s: ", kindTenant, t.Name)+fmt.Sprintf(format, args...))
	}
	for i := range t.BGP.Peers {
		peer := &t.BGP.Peers[i]
		if links := t.offering(peer.Address); len(links) > 1 {
			tell("the way to the BGP peer %s is behind %s alike, so that its session moves from one to the other; want its host "+
				"route, such as %s:100, in the subnets of one", peer.Name, strings.Join(links, " and "), host(peer.Address))
		}
		if f, link := t.withoutNextHop(peer); f != "" {
			tell("the BGP peer %s exchanges %s routes, and no subnets of %s hold a next hop of that family; want the peer's "+
				"address of it in them", peer.Name, f, link)
		}
		if idle, link := t.idleOf(peer); idle > 0 && idle <= peer.KeepaliveInterval {
			tell("%s is disconnected when idle for %s, and the BGP peer %s behind it hears from us every %s only: the session would end "+
				"and come back over and over; want a longer idleDisconnect or a shorter keepaliveInterval", link, idle, peer.Name,
				peer.KeepaliveInterval)
		}
		if !t.BGP.Internal(peer) {
			for _, name := range peer.Export {
				if t.BGP.setsPreference(name) {
					tell("policy %s sets localPreference, which external peers such as %s are not told (RFC 4271, 5.1.5); want med "+
						"or prepend there", name, peer.Name)
				}
			}
		}
	}
	for _, p := range t.BGP.Policies {
		if !slices.ContainsFunc(t.BGP.Peers, func(peer BGPPeer) bool {
			return slices.Contains(peer.Import, p.Name) || slices.Contains(peer.Export, p.Name)
		}) {
			tell("policy %s is in no peer's import or export", p.Name)
		}
	}
	for _, r := range t.BGP.CustomRoutes {
		switch {
		case r.Interface != "" && !t.hasRoutes(r.Interface):
			tell("bgp.customRoutes advertises the routes on %s, which has none", r.Interface)
		case r.Prefix.IsValid() && !t.holds(r.Prefix):
			tell("bgp.customRoutes advertises %s, and nothing that is declared is in it", r.Prefix)
		}
	}
	return out
}

// offering lists the S2S interfaces with the longest prefix that holds an address, if that is not in a virtual subnet.
func (t *Tenant) offering(a netip.Addr) (links []string) {
	if _, inside := t.SubnetOf(a); inside {
		return nil
	}
	bits := -1
	for _, s := range t.SiteToSite {
		for _, p := range s.allPrefixes() {
			switch {
			case !p.Prefix.Contains(a) || p.Prefix.Bits() < bits:
			case p.Prefix.Bits() > bits:
				bits, links = p.Prefix.Bits(), []string{s.Name}
			default:
				links = append(links, s.Name)
			}
		}
	}
	return links
}

// idleOf is after how long without packets the tunnel to a peer is taken down; 0: never.
func (t *Tenant) idleOf(peer *BGPPeer) (idle time.Duration, link string) {
	link = t.linkTo(peer.Address)
	for _, s := range t.SiteToSite {
		if s.Name == link && peer.BFD == nil {
			return s.IdleDisconnect, link
		}
	}
	return 0, ""
}

// withoutNextHop finds a family of routes that a site's router tells of and whose next hops nothing resolves: by a default
// route no next hop does.
func (t *Tenant) withoutNextHop(peer *BGPPeer) (f AddressFamily, link string) {
	link = t.linkTo(peer.Address)
	for _, s := range t.SiteToSite {
		if s.Name != link {
			continue
		}
		for _, f := range peer.AddressFamilies {
			if !slices.ContainsFunc(s.allPrefixes(), func(p SitePrefix) bool {
				return p.Prefix.Bits() > 0 && familyOf(p.Prefix.Addr()) == f
			}) {
				return f, link
			}
		}
	}
	return "", ""
}

// setsPreference tells whether a policy sets the local preference.
func (b *BGP) setsPreference(name string) bool {
	for _, p := range b.Policies {
		if p.Name == name && slices.ContainsFunc(p.Statements, func(s BGPStatement) bool { return s.Set.LocalPreference != nil }) {
			return true
		}
	}
	return false
}

// hasRoutes tells whether a route is declared that leaves by an interface.
func (t *Tenant) hasRoutes(link string) bool {
	for _, s := range t.SiteToSite {
		if s.Name == link {
			return len(s.allPrefixes()) > 0 || slices.ContainsFunc(t.Routes, func(r Route) bool { return r.Interface == link })
		}
	}
	return true // others have those of their own addresses
}

// holds tells whether something that is declared is in a prefix, or the other way round.
func (t *Tenant) holds(p netip.Prefix) bool {
	all := append(t.VirtualPrefixes(), t.SitePrefixes()...)
	for _, r := range t.Routes {
		all = append(all, r.Prefix)
	}
	for _, f := range t.ForwardingInterfaces {
		all = append(all, f.Addresses...)
	}
	if ra := t.RemoteAccess; ra != nil {
		all = append(append(all, ra.IPv6Prefix), ra.AddressRange.Prefixes()...)
	}
	return slices.ContainsFunc(all, p.Overlaps)
}
