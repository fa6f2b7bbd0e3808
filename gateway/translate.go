package gateway

import (
	"net/netip"
	"slices"
	"strings"

	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/dataplane"
	"bulkhead/nat"
)

// externalLink is the compartment's link to door 2.
const externalLink = "ext"

// Route metrics, worst first (law 5). Declared metrics end far below.
const (
	// metricNAT is that of the default route towards NAT: it wins only where nothing else is known.
	metricNAT = 1<<32 - 1
	// metricUnreachable is that of a site's fallback: worse than any route to the site, better than NAT.
	metricUnreachable = 1<<32 - 2
)

// translate turns a declaration, which must not change meanwhile, into the plan that brings it about. It reads nothing but
// its arguments.
func translate(p *policy, ids ifIDs) *Plan {
	g := p.config.Gateway
	plan := &Plan{
		Default: translateDefault(g), Doors: translateDoors(g), Credentials: translateCredentials(g.IKE),
		RADIUS: translateRADIUS(p.config), policy: p, pending: p.config.Pending(),
	}
	for _, t := range p.config.Tenants {
		tenant := translateTenant(g, t, ids[t.Name])
		tenant.policy, tenant.tenant = p, t
		plan.Tenants = append(plan.Tenants, tenant)
	}
	return plan
}

// siteInterfaces lists the site-to-site interfaces of a declaration by tenant, for allocate.
func siteInterfaces(cfg *configs.Config) (names []string, interfaces func(string) []string) {
	byTenant := map[string][]string{}
	for _, t := range cfg.Tenants {
		names = append(names, t.Name)
		for _, s := range t.SiteToSite {
			byTenant[t.Name] = append(byTenant[t.Name], s.Name)
		}
	}
	return names, func(tenant string) []string { return byTenant[tenant] }
}

func translateTenant(g *configs.Gateway, t *configs.Tenant, ids map[string]uint32) *TenantPlan {
	plan := &TenantPlan{
		Name:        t.Name,
		Compartment: compartments.Config{VirtualPrefixes: t.VirtualPrefixes()},
		Doors:       dataplane.Tenant{Name: t.Name, RoutingDomain: t.RoutingDomainID},
		Sites:       map[string][]netip.Prefix{},
		Through:     map[string]string{},
	}
	plan.addVirtualNetwork(g, t)
	for _, s := range t.SiteToSite {
		plan.addSite(g, t, s, ids[s.Name])
	}
	plan.addUnreachable(t)
	for _, r := range t.Routes {
		plan.addStatic(t, r)
	}
	if t.NAT != nil {
		plan.addNAT(g, t)
	}
	for _, f := range t.Filters {
		plan.addFilter(t, f)
	}
	if t.BGP != nil {
		plan.BGP = translateBGP(t)
	}
	return plan
}

func (p *TenantPlan) addRoute(r compartments.Route) {
	p.Compartment.Routes = append(p.Compartment.Routes, r)
}

// doorHop is the next hop of routes to a door or into a tunnel, nobody's address. What is there goes by the destination, so
// that any would do; without one the kernel would keep a neighbour for each destination, in a table that all compartments
// share.
func doorHop(prefix netip.Prefix) netip.Addr {
	if prefix.Addr().Is4() {
		return netip.AddrFrom4([4]byte{169, 254, 0, 1})
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 1})
}

// addStatic adds a declared static route. One by a VM is door 1's too, which would not know the destination otherwise.
func (p *TenantPlan) addStatic(t *configs.Tenant, r configs.Route) {
	s, inside := t.SubnetOf(r.NextHop)
	if !inside || len(t.InternalInterfaces) == 0 {
		p.addRoute(compartments.Route{Prefix: r.Prefix, NextHop: r.NextHop, Link: r.Interface, Metric: r.Metric})
		return
	}
	p.addRoute(compartments.Route{
		Prefix: r.Prefix, NextHop: doorHop(r.Prefix), Link: t.InternalInterfaces[0].Name, Metric: r.Metric,
		Source: t.InternalAddress(r.Prefix.Addr()),
	})
	p.Doors.Routes = append(p.Doors.Routes, dataplane.CustomerRoute{
		VSID: s.VSID, Prefix: r.Prefix, NextHop: r.NextHop, Metric: r.Metric,
	})
}

// addUnreachable adds the fallback of every site's prefix (law 1): a route that is withdrawn means unreachable, not
// out through NAT. It holds for host routes of peers too (law 6).
func (p *TenantPlan) addUnreachable(t *configs.Tenant) {
	for _, prefix := range t.SitePrefixes() {
		p.addRoute(compartments.Route{Prefix: prefix, Metric: metricUnreachable, Unreachable: true})
	}
}

// addNAT adds the way to the Internet.
func (p *TenantPlan) addNAT(g *configs.Gateway, t *configs.Tenant) {
	mac := externalMAC(t.RoutingDomainID)
	p.Compartment.Links = append(p.Compartment.Links, compartments.Link{
		Name: externalLink, Kind: compartments.Pair, Peer: externalPeer(t.RoutingDomainID), MAC: mac,
		MTU: g.External.MTU, NoARP: true, Outside: true, Alias: t.Name + "/" + externalLink,
	})
	p.NAT = nat.Config{
		Link: externalLink, PrivateDestinations: t.NAT.PrivateDestinations, Protected: t.SitePrefixes(),
	}
	door := &dataplane.External{Link: externalPeer(t.RoutingDomainID), MAC: mac}
	var through []string
	var families []netip.Prefix
	for _, a := range t.NAT.ExternalAddresses {
		address := nat.Address{Address: a.Address, First: a.Ports.First, Last: a.Ports.Last}
		p.NAT.Addresses = append(p.NAT.Addresses, address)
		door.Owned = append(door.Owned, dataplane.Ports{Address: a.Address, First: a.Ports.First, Last: a.Ports.Last})
		through = append(through, publicPorts(address))
		if family := anyOf(a.Address); !slices.Contains(families, family) {
			families = append(families, family)
		}
	}
	for _, m := range t.NAT.StaticMappings {
		p.NAT.Mappings = append(p.NAT.Mappings, nat.Mapping{
			Protocol: nat.Protocol(m.Protocol), External: m.External, Internal: m.Internal,
		})
	}
	for _, family := range families {
		p.addRoute(compartments.Route{
			Prefix: family, NextHop: doorHop(family), Link: externalLink, Metric: metricNAT,
			Source: t.InternalAddress(family.Addr()),
		})
	}
	p.Doors.External = door
	p.Through[externalLink] = strings.Join(through, " ")
}

// anyOf is the prefix of all addresses of a's family.
func anyOf(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
