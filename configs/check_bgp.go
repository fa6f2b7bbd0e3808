package configs

import (
	"net/netip"
	"slices"
	"time"
)

func (t tenantDoc) checkBGP() {
	if t.BGP == nil {
		return
	}
	p := at("bgp")
	t.checkIdentifier(t.BGP.Identifier, p.key("identifier"))
	t.checkIdentifier(t.BGP.ClusterID, p.key("clusterId"))
	t.checkASN(t.BGP.ASN, p.key("asn"))
	var names claims[string]
	var addresses claims[netip.Addr]
	policies := t.checkBGPPolicies(p.key("policies"))
	for i := range t.BGP.Peers {
		peer, p := &t.BGP.Peers[i], p.key("peers").item(i)
		t.checkBGPName(&names, peer.Name, p.key("name"))
		t.checkASN(peer.ASN, p.key("asn"))
		if peer.Address.IsValid() {
			if taken, ok := addresses.take(peer.Address, t.doc, p.key("address")); !ok {
				t.bad(p.key("address"), "%s is the peer %s already; keep one", peer.Address, taken)
			}
		}
		t.checkPeerEnds(peer, p)
		t.checkSession(peer, p)
		t.checkInternalOnly(peer, p)
		t.checkFamilies(peer, p)
		for _, list := range []struct {
			key   string
			names []string
		}{{"import", peer.Import}, {"export", peer.Export}} {
			t.checkPolicyNames(list.names, policies, p.key(list.key))
			t.checkNextHopsOf(peer, list.names, p.key(list.key))
		}
	}
	t.checkCustomRoutes(p.key("customRoutes"))
}

// checkIdentifier refuses what is no number of a router or cluster (RFC 4271, 4.2; RFC 4456, 7).
func (t tenantDoc) checkIdentifier(id netip.Addr, p *path) {
	if id.IsValid() && !id.Is4() {
		t.bad(p, "%s is not of IPv4 form (RFC 4271, 4.2); want one such as 10.0.254.2", id)
	}
}

// checkBGPName refuses what cannot stand in a statement, and a name that another one has.
func (t tenantDoc) checkBGPName(names *claims[string], name string, p *path) {
	if name == "" {
		return
	}
	if err := checkName(name, maxPeerName); err != nil {
		t.bad(p, "%v", err)
	} else if taken, ok := names.take(name, t.doc, p); !ok {
		t.bad(p, "the name is that of %s; want one of its own", taken)
	}
}

// checkASN refuses numbers that no router may have (RFC 6793, RFC 7300).
func (t tenantDoc) checkASN(asn uint32, p *path) {
	if asn == 23456 || asn == 65535 {
		t.bad(p, "%d is reserved; want the router's own number", asn)
	}
}

// checkPeerEnds holds a session's ends to being the compartment's, and a place elsewhere that something leads to.
func (t tenantDoc) checkPeerEnds(peer *BGPPeer, p *path) {
	local, remote := peer.LocalAddress, peer.Address
	own := t.ownAddresses()
	if slices.ContainsFunc(own, func(o netip.Prefix) bool { return !o.IsValid() }) {
		return
	}
	isOwn := func(a netip.Addr) bool {
		return slices.ContainsFunc(own, func(o netip.Prefix) bool { return o.Addr() == a })
	}
	if local.IsValid() && !isOwn(local) {
		t.bad(p.key("localAddress"), "%s is no address of the compartment; want one of its internal or forwarding interfaces",
			local)
	}
	p = p.key("address")
	s, virtual := t.SubnetOf(remote)
	switch {
	case !remote.IsValid():
	case isOwn(remote):
		t.bad(p, "%s is the compartment's own; want the peer's", remote)
	case local.IsValid() && local.Is4() != remote.Is4():
		t.bad(p, "%s is not of the address family of localAddress; want both IPv4 or both IPv6", remote)
	case remote.IsLinkLocalUnicast():
		t.bad(p, "%s is of one link only, and does not say of which; want the peer's address in a subnet", remote)
	case virtual && s.DefaultGateway() == remote:
		t.bad(p, "%s is the default gateway of the virtual subnet %s, which no router of the tenant has; want a VM's", remote,
			s.Prefix)
	default:
		reachable := append(append(own, t.SitePrefixes()...), t.VirtualPrefixes()...)
		if !inAny(remote, reachable) && !slices.Contains(reachable, netip.Prefix{}) {
			t.bad(p, "%s is nowhere reachable; want it in the subnets of a tunnel, such as %s:100, or of an interface", remote,
				host(remote))
		}
	}
}

// maxMD5Key is the length of the longest password that Linux takes (TCP_MD5SIG_MAXKEYLEN), in bytes.
const maxMD5Key = 80

// checkSession holds what is declared of the session alone together.
func (t tenantDoc) checkSession(peer *BGPPeer, p *path) {
	if n := len(peer.Password.Reveal()); n > maxMD5Key {
		t.bad(p.key("password"), "has %d bytes; want at most %d (RFC 2385 as Linux has it)", n, maxMD5Key)
	}
	if third := peer.HoldTime / 3; peer.HoldTime > 0 && peer.KeepaliveInterval > third {
		t.bad(p.key("keepaliveInterval"), "%s is longer than a third of the hold time %s (RFC 4271, 4.4); want at most %s",
			peer.KeepaliveInterval, peer.HoldTime, third.Truncate(time.Second))
	}
	if t.doc.has(p.key("ttlSecurity")) && t.doc.has(p.key("multihop")) {
		t.bad(p.key("multihop"), "contradicts ttlSecurity, with which packets are sent with TTL 255; want one of them")
	}
}

// checkInternalOnly refuses for an external peer what only an internal one can be.
func (t tenantDoc) checkInternalOnly(peer *BGPPeer, p *path) {
	if peer.ASN == 0 || t.BGP.ASN == 0 || t.BGP.Internal(peer) {
		return
	}
	if peer.RouteReflectorClient {
		t.bad(p.key("routeReflectorClient"), "is for internal peers, and this one is of AS %d; want the tenant's own asn, or "+
			"transitRouting to tell external peers of each other's routes", peer.ASN)
	}
	if peer.NextHopSelf {
		t.bad(p.key("nextHopSelf"), "is for internal peers, and this one is of AS %d, which is told the gateway as next hop "+
			"anyway; leave it out", peer.ASN)
	}
}

// checkFamilies wants an address of each family of routes for the gateway to be the next hop.
func (t tenantDoc) checkFamilies(peer *BGPPeer, p *path) {
	p = p.key("addressFamilies")
	var seen claims[AddressFamily]
	for i, f := range peer.AddressFamilies {
		if f == "" || !t.doc.has(p.item(i)) {
			continue
		}
		if taken, ok := seen.take(f, t.doc, p.item(i)); !ok {
			t.bad(p.item(i), "%s stands in %s already; keep one", f, taken)
		}
		like := netip.IPv4Unspecified()
		if f == FamilyIPv6 {
			like = netip.IPv6Unspecified()
		}
		if peer.LocalAddress.IsValid() && familyOf(peer.LocalAddress) != f && !t.InternalAddress(like).IsValid() && !t.undecided() {
			t.bad(p.item(i), "%s needs an internal interface with an address of that family, to be the next hop of what is "+
				"advertised; want one, or only %s", f, familyOf(peer.LocalAddress))
		}
	}
}

func (t tenantDoc) checkCustomRoutes(p *path) {
	var links claims[string]
	var prefixes claims[netip.Prefix]
	for i, r := range t.BGP.CustomRoutes {
		p := p.item(i)
		byName, byPrefix := t.doc.has(p.key("interface")), t.doc.has(p.key("prefix"))
		if byName == byPrefix {
			t.bad(p, "wants exactly one of interface and prefix")
		}
		t.checkInterface(r.Interface, p.key("interface"), t.interfaces())
		if r.Interface != "" {
			if taken, ok := links.take(r.Interface, t.doc, p); !ok {
				t.bad(p, "the same as %s; keep one", taken)
			}
		}
		if !r.Prefix.IsValid() {
			continue
		}
		if taken, ok := prefixes.take(r.Prefix, t.doc, p); !ok {
			t.bad(p, "the same as %s; keep one", taken)
		}
		if a := r.Prefix.Addr(); a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() {
			t.bad(p.key("prefix"), "%s is not for machines on other networks; want unicast addresses", r.Prefix)
		}
	}
}
