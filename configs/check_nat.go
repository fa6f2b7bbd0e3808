package configs

import (
	"fmt"
	"net/netip"
	"slices"
)

// natClaim is a tenant's share of a public address.
type natClaim struct {
	ports PortRange
	doc   *document
	p     *path
}

func (c *checker) checkNAT(t tenantDoc) {
	if t.NAT == nil {
		return
	}
	for i, a := range t.NAT.ExternalAddresses {
		if a.Auto || !a.Address.IsValid() {
			continue
		}
		p := at("nat", "externalAddresses", i)
		c.checkNATAddress(t, a, p)
		c.claimNAT(t, a, p)
	}
	var seen claims[string]
	for i, m := range t.NAT.StaticMappings {
		p := at("nat", "staticMappings", i)
		if m.External.IsValid() && m.Protocol != "" {
			if taken, ok := seen.take(fmt.Sprint(m.Protocol, m.External), t.doc, p.key("external")); !ok {
				t.bad(p.key("external"), "%s %s is mapped by %s already; keep one", m.Protocol, m.External, taken)
			}
		}
		c.checkInternalEnd(t, m, p.key("internal"))
	}
	c.checkPrivateDestinations(t)
}

// checkNATAddress holds an address to the gateway's pool, the tenant's address family and ports that are free for it.
func (c *checker) checkNATAddress(t tenantDoc, a NATAddress, p *path) {
	for _, port := range []uint16{500, 4500} {
		if !a.Ports.All() && a.Ports.Contains(port) {
			t.bad(p.key("ports"), "%s holds %d, which is for IKE (RFC 7296, 2.23); want a range without it", a.Ports, port)
		}
	}
	if s, ok := t.family(); ok && s.Is4() != a.Address.Is4() {
		t.bad(p.key("address"), "%s is not of the address family of the virtual subnets; want one that is", a.Address)
	}
	if c.gateway == nil {
		return
	}
	p = p.key("address")
	for i, own := range c.gateway.OwnAddresses() {
		if own == a.Address {
			t.bad(p, "%s is the gateway's own by %s; want one of its natAddresses", own,
				c.gateway.doc.place(at("external", "addresses", i, "address")))
			return
		}
	}
	pool := c.gateway.External.NATAddresses
	if !slices.ContainsFunc(pool, func(r AddressRange) bool { return r.IsZero() || r.Contains(a.Address) }) {
		var ranges []string
		for _, r := range pool {
			ranges = append(ranges, r.String())
		}
		t.bad(p, "%s is none of the gateway's natAddresses; it has: %s", a.Address, orNone(ranges))
	}
}

// family is an address of the tenant's virtual network, for its address family.
func (t *Tenant) family() (netip.Addr, bool) {
	for _, s := range t.VirtualSubnets {
		if s.Prefix.IsValid() {
			return s.Prefix.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// claimNAT notes a problem if the share overlaps another's or one of the same tenant.
func (c *checker) claimNAT(t tenantDoc, a NATAddress, p *path) {
	key := a.Address.String()
	for _, other := range c.natAddresses[key] {
		if a.Ports.Overlaps(other.ports) {
			t.bad(p, "%s, ports %s, overlaps %s, ports %s; want another address or ports", a.Address, a.Ports,
				other.doc.place(other.p), other.ports)
			return
		}
	}
	c.natAddresses[key] = append(c.natAddresses[key], natClaim{a.Ports, t.doc, p})
}

func (c *checker) checkInternalEnd(t tenantDoc, m StaticMapping, p *path) {
	a := m.Internal.Addr()
	if !a.IsValid() || len(t.VirtualSubnets) == 0 {
		return
	}
	if m.External.IsValid() && m.External.Addr().Is4() != a.Is4() {
		t.bad(p, "%s is not of the address family of the external end; want both IPv4 or both IPv6", a)
		return
	}
	s, ok := t.SubnetOf(a)
	if !ok {
		if !slices.Contains(t.VirtualPrefixes(), netip.Prefix{}) {
			t.bad(p, "%s is in no virtual subnet of the tenant; want a VM's address", a)
		}
		return
	}
	if slices.ContainsFunc(t.ownAddresses(), func(o netip.Prefix) bool { return o.Addr() == a }) {
		t.bad(p, "%s is the compartment's own address; want a VM's", a)
	} else if err := checkMember(a, s); err != nil {
		t.bad(p, "%v", err)
	}
}

// private are the prefixes that translation does not send packets to unless declared (RFC 1918, RFC 6598, RFC 4193).
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"),
}

func (c *checker) checkPrivateDestinations(t tenantDoc) {
	for i, d := range t.NAT.PrivateDestinations {
		p := at("nat", "privateDestinations", i)
		if !d.IsValid() {
			continue
		}
		if !slices.ContainsFunc(private, func(o netip.Prefix) bool { return containsPrefix(o, d) }) {
			t.bad(p, "%s is no private space, so nothing need be declared for it; want a part of 10.0.0.0/8, 172.16.0.0/12, "+
				"192.168.0.0/16, 100.64.0.0/10 or fc00::/7", d)
		}
		t.checkSteals(d, p)
		for _, site := range t.SitePrefixes() {
			if site.Bits() > 0 && containsPrefix(site, d) {
				t.bad(p, "%s lies behind a tunnel by %s, whose packets never leave in clear; leave it out", d, site)
			}
		}
	}
}

// allocateNAT gives the tenants that say auto the first free addresses, in the order of the tenants' names, and then
// checks what depends on it.
func (c *checker) allocateNAT() {
	for _, t := range c.tenants {
		if t.NAT == nil {
			continue
		}
		if list := t.NAT.ExternalAddresses; len(list) == 1 && list[0].Auto && c.gateway != nil {
			c.allocate(t, &list[0])
		}
		for i, m := range t.NAT.StaticMappings {
			c.checkExternalEnd(t, m, at("nat", "staticMappings", i, "external"))
		}
	}
}

func (c *checker) allocate(t tenantDoc, a *NATAddress) {
	p := at("nat", "externalAddresses")
	like, known := t.family()
	for _, r := range c.gateway.External.NATAddresses {
		if !r.First.IsValid() || known && r.First.Is4() != like.Is4() {
			continue
		}
		// Each step meets an address that is taken, so the steps are no more than the addresses declared.
		for free := r.First; r.Contains(free); free = free.Next() {
			if len(c.natAddresses[free.String()]) == 0 {
				a.Address = free
				c.claimNAT(t, *a, p)
				return
			}
		}
	}
	t.bad(p, "no free address is left in the gateway's natAddresses, %s; want more there, or an address by name",
		c.gateway.doc.place(at("external", "natAddresses")))
}

// checkExternalEnd holds a mapping to the tenant's own addresses and ports.
func (c *checker) checkExternalEnd(t tenantDoc, m StaticMapping, p *path) {
	if !m.External.IsValid() || len(t.NAT.ExternalAddresses) == 0 {
		return
	}
	var own []string
	for _, a := range t.NAT.ExternalAddresses {
		if !a.Address.IsValid() || a.Address == m.External.Addr() && a.Ports.Contains(m.External.Port()) {
			return
		}
		own = append(own, fmt.Sprintf("%s, ports %s", a.Address, a.Ports))
	}
	t.bad(p, "%s is not the tenant's; its externalAddresses are: %s", m.External, orNone(own))
}
