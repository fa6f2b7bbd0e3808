package configs

import (
	"net/netip"
	"slices"
)

// hopKey is what a statement knows a provider route by.
type hopKey struct {
	destination netip.Prefix
	nextHop     netip.Addr
}

func (r *ProviderRoute) key() hopKey { return hopKey{r.Destination, r.NextHop} }

func (a *ProviderAddress) key() netip.Addr { return a.Address.Addr() }

// provider is what the gateway declares of the provider network, with where it does.
type provider struct {
	addresses []ProviderAddress
	routes    []ProviderRoute
	address   func(i int) spot
	route     func(i int) spot
}

// declare makes the gateway's provider addresses and routes those of its YAML and then of its policy file.
func (g gatewayDoc) declare(file *policyFile) provider {
	b := &g.Backend
	addresses := newObjects(b.ProviderAddresses, (*ProviderAddress).key, func(int, int) {})
	routes := newObjects(b.ProviderRoutes, (*ProviderRoute).key, func(int, int) {})
	if file != nil {
		file.object = g.doc.object()
		file.statements(true, func(c Change, line uint32) {
			switch {
			case c.ProviderAddress != nil && c.Remove:
				addresses.drop(c.ProviderAddress.key(), line)
			case c.ProviderAddress != nil:
				addresses.put(*c.ProviderAddress, line)
			case c.Remove:
				routes.drop(c.ProviderRoute.key(), line)
			default:
				routes.put(*c.ProviderRoute, line)
			}
		})
		file.weigh(addresses.words, routes.words)
	}
	var p provider
	var addressAt, routeAt []spot
	for i, a := range addresses.list {
		if addresses.live(i) {
			p.addresses = append(p.addresses, a)
			addressAt = append(addressAt, g.providerSpot(file, "providerAddresses", i, addresses.line(i), Change{ProviderAddress: &a}))
		}
	}
	for i, r := range routes.list {
		if routes.live(i) {
			p.routes = append(p.routes, r)
			routeAt = append(routeAt, g.providerSpot(file, "providerRoutes", i, routes.line(i), Change{ProviderRoute: &r}))
		}
	}
	p.address, p.route = func(i int) spot { return addressAt[i] }, func(i int) spot { return routeAt[i] }
	b.ProviderAddresses, b.ProviderRoutes = p.addresses, p.routes
	return p
}

func (g gatewayDoc) providerSpot(file *policyFile, list string, i, line int, c Change) spot {
	if line != 0 {
		return spot{policy: file, line: line, subject: c.subject()}
	}
	return spot{doc: g.doc, p: at("backend", list, i)}
}

// check holds provider addresses and routes against each other.
func (p provider) check() {
	var seen claims[netip.Addr]
	var vsids claims[uint32]
	for i, a := range p.addresses {
		s := p.address(i)
		for _, v := range a.VSIDs {
			if taken, ok := vsids.takeFor(v, s); v != 0 && !ok {
				s.key("vsids").bad("VSID %d has a provider address of its own by %s; want one for each", v, taken)
			}
		}
		switch {
		case !a.Address.IsValid():
			continue
		case isEdge(a.Address.Addr(), a.Address):
			s.key("address").bad("%s is the network or broadcast address of %s; want a host's address", a.Address.Addr(),
				a.Address.Masked())
			continue
		}
		if taken, ok := seen.takeFor(a.Address.Addr(), s.key("address")); !ok {
			s.key("address").bad("the provider address is that of %s; keep one", taken)
		}
	}
	var routes claims[netip.Prefix]
	for i, r := range p.routes {
		s := p.route(i)
		if !r.Destination.IsValid() || !r.NextHop.IsValid() {
			continue
		}
		if taken, ok := routes.takeFor(r.Destination, s.key("destination")); !ok {
			s.key("destination").bad("the destination is that of %s; keep one", taken)
		}
		if r.Destination.Addr().Is4() != r.NextHop.Is4() {
			s.key("nextHop").bad("%s is not of the destination's address family; want one that is", r.NextHop)
		} else if !p.onLink(r.NextHop) {
			s.key("nextHop").bad("%s is in no subnet of the provider addresses; want a router in one", r.NextHop)
		}
	}
}

// onLink tells whether a router can be reached in the subnet of a provider address, or whether that cannot be told.
func (p provider) onLink(router netip.Addr) bool {
	return slices.ContainsFunc(p.addresses, func(a ProviderAddress) bool {
		return !a.Address.IsValid() || a.Address.Contains(router) && a.Address.Addr() != router
	})
}

// checkInterfaceProvider holds the provider address that stands for an internal interface against the gateway's.
func (c *checker) checkInterfaceProvider(t tenantDoc, i int) {
	a := t.InternalInterfaces[i].ProviderAddress
	if !a.IsValid() || c.ways() == nil {
		return
	}
	p := at("internalInterfaces", i, "providerAddress")
	if c.ways().index(a) < 0 && !c.ways().unknown {
		t.bad(p, "%s is none of the gateway's provider addresses; want one of these", a)
	}
	if taken, ok := c.ownRewrites.take(a, t.doc, p); !ok {
		t.bad(p, "%s is taken by %s; want one for each interface", a, taken)
	}
}
