package configs

import (
	"fmt"
	"net/netip"
)

// passedBy tells of filters that drop all but a list, of one address family only, on interfaces that have the other too.
func (t *Tenant) passedBy() (out []string) {
	for _, f := range t.Filters {
		if f.Action != FilterDeny || f.governs(true) && f.governs(false) {
			continue
		}
		four := f.governs(true)
		if !t.hasFamily(f.Interface, !four) {
			continue
		}
		governed, other, rule := "IPv4", "IPv6", "[::1/128]:[::1/128]:any"
		if !four {
			governed, other, rule = other, governed, "127.0.0.1:127.0.0.1:any"
		}
		out = append(out, fmt.Sprintf("%s/%s: the %s filter on %s names %s only, so that all of %s passes it; %q in its list "+
			"drops %s too", kindTenant, t.Name, f.Direction, f.Interface, governed, other, rule, other))
	}
	return out
}

// hasFamily tells whether packets of an address family are meant to go by an interface.
func (t *Tenant) hasFamily(link string, four bool) bool {
	prefixes := t.VirtualPrefixes()
	for _, s := range t.SiteToSite {
		if s.Name == link {
			for _, p := range s.allPrefixes() {
				prefixes = append(prefixes, p.Prefix)
			}
		}
	}
	for _, f := range t.ForwardingInterfaces {
		if f.Name == link {
			prefixes = append(prefixes, f.Addresses...)
		}
	}
	if ra := t.RemoteAccess; ra != nil && link == dialInInterface {
		prefixes = append(prefixes, ra.IPv6Prefix)
		prefixes = append(prefixes, ra.AddressRange.Prefixes()...)
	}
	for _, p := range prefixes {
		if p.IsValid() && p.Addr().Is4() == four {
			return true
		}
	}
	return false
}

// cutSessions tells of BGP sessions, and of their watches, that the tenant's own filters do not let come about.
func (t *Tenant) cutSessions() (out []string) {
	if t.BGP == nil {
		return nil
	}
	for i := range t.BGP.Peers {
		peer := &t.BGP.Peers[i]
		link := t.linkTo(peer.Address)
		if link == "" {
			continue
		}
		arriving, leaving := t.filterOn(link, true), t.filterOn(link, false)
		tell := func(what string, to, from FilterRule) {
			out = append(out, fmt.Sprintf("%s/%s: the filters on %s drop %s with the peer %s; want them to pass %q and, the other "+
				"way, %q", kindTenant, t.Name, link, what, peer.Name, to, from))
		}
		to := FilterRule{Source: host(peer.Address), Destination: host(peer.LocalAddress)}
		from := FilterRule{Source: to.Destination, Destination: to.Source}
		if !letsPass(peer, arriving, leaving) {
			to, from := to, from
			to.Protocol, to.DestinationPorts = ProtocolTCP, PortRange{bgpPort, bgpPort}
			from.Protocol, from.SourcePorts = ProtocolTCP, to.DestinationPorts
			tell("BGP", to, from)
		}
		if peer.BFD != nil && !letsWatch(peer, arriving, leaving) {
			to.Protocol, to.DestinationPorts = ProtocolUDP, PortRange{bfdPort, bfdPort}
			from.Protocol, from.DestinationPorts = ProtocolUDP, to.DestinationPorts
			tell("BFD", to, from)
		}
	}
	return out
}

// host is the prefix of one address.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

const (
	bgpPort = 179  // RFC 4271, 8.2.1
	bfdPort = 3784 // RFC 5881, 4
	// anyPort stands for the ports that dial: it is one of both Linux's and the IANA's range (RFC 6335, 6), which BFD's are of.
	anyPort = 50_000
)

// letsPass tells whether the peer or the gateway can dial the other, the answers included. The filters are those of what
// arrives from the peer and of what leaves to it; nil for none.
func letsPass(peer *BGPPeer, arriving, leaving *Filter) bool {
	there := packet{peer.Address, peer.LocalAddress, ProtocolTCP, anyPort, bgpPort}
	here := packet{peer.LocalAddress, peer.Address, ProtocolTCP, anyPort, bgpPort}
	if arriving.passes(there) && leaving.passesAnswer(there) {
		return true
	}
	return peer.OperationMode != OperationPassive && leaving.passes(here) && arriving.passesAnswer(here)
}

// letsWatch tells whether the watches of both ends reach the other: neither is an answer.
func letsWatch(peer *BGPPeer, arriving, leaving *Filter) bool {
	return arriving.passes(packet{peer.Address, peer.LocalAddress, ProtocolUDP, anyPort, bfdPort}) &&
		leaving.passes(packet{peer.LocalAddress, peer.Address, ProtocolUDP, anyPort, bfdPort})
}

// filterOn finds the filter of what arrives from an interface in the compartment, or of what leaves by it; nil if there is
// none. What enters the virtual network leaves by an internal interface, and arrives by any other.
func (t *Tenant) filterOn(link string, arriving bool) *Filter {
	for i := range t.Filters {
		f := &t.Filters[i]
		if f.Interface == link && (f.Direction == Inbound) == (arriving != t.isInternal(link)) {
			return f
		}
	}
	return nil
}

func (t *Tenant) isInternal(link string) bool {
	for _, in := range t.InternalInterfaces {
		if in.Name == link {
			return true
		}
	}
	return false
}

// linkTo is the interface that declared routes lead to an address by, the longest prefix first and the lowest metric then;
// empty if none does.
func (t *Tenant) linkTo(a netip.Addr) string {
	best, bits, metric := "", -1, uint32(0)
	try := func(link string, p netip.Prefix, m uint32) {
		if p.IsValid() && p.Contains(a) && (p.Bits() > bits || p.Bits() == bits && m < metric) {
			best, bits, metric = link, p.Bits(), m
		}
	}
	for _, in := range t.InternalInterfaces {
		if s, ok := t.Subnet(in.VSID); ok {
			try(in.Name, s.Prefix, 0)
		}
	}
	if len(t.InternalInterfaces) > 0 {
		for _, s := range t.VirtualSubnets {
			try(t.InternalInterfaces[0].Name, s.Prefix, 1)
		}
	}
	for _, f := range t.ForwardingInterfaces {
		for _, p := range f.Addresses {
			try(f.Name, p.Masked(), 0)
		}
	}
	for _, s := range t.SiteToSite {
		for _, p := range s.allPrefixes() {
			try(s.Name, p.Prefix, p.Metric)
		}
	}
	for _, r := range t.Routes {
		if r.Interface != "" {
			try(r.Interface, r.Prefix, r.Metric)
		}
	}
	return best
}
