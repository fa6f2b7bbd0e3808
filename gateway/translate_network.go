package gateway

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/dataplane"
)

// addVirtualNetwork adds the links to the virtual network and the routes to its other subnets. Lookup records and
// customer routes are not among what is added: they change while the plan is in force.
func (p *TenantPlan) addVirtualNetwork(g *configs.Gateway, t *configs.Tenant) {
	for _, s := range t.VirtualSubnets {
		p.VSIDs = append(p.VSIDs, s.VSID)
		p.Doors.Subnets = append(p.Doors.Subnets, dataplane.Subnet{VSID: s.VSID, Prefix: s.Prefix})
	}
	if t.ExternalRouter != nil {
		p.Doors.Router = &dataplane.Router{MAC: t.ExternalRouter.MACAddress, Through: filtersInside(t)}
	}
	connected := map[uint32]bool{}
	for n, i := range t.InternalInterfaces {
		connected[i.VSID] = true
		addresses := i.Addresses
		if n == 0 {
			addresses = slices.Concat(addresses, defaultGateways(t))
		}
		p.Compartment.Links = append(p.Compartment.Links, compartments.Link{
			Name: i.Name, Kind: compartments.Pair, Peer: internalPeer(i.VSID), MAC: i.MACAddress,
			MTU: internalMTU(g), NoARP: true, Addresses: addresses, Alias: t.Name + "/" + i.Name,
		})
		door := dataplane.Interface{
			VSID: i.VSID, Link: internalPeer(i.VSID), MAC: i.MACAddress, Provider: i.ProviderAddress,
		}
		for _, a := range i.Addresses {
			door.Addresses = append(door.Addresses, a.Addr())
		}
		p.Doors.Interfaces = append(p.Doors.Interfaces, door)
		p.Through[i.Name] = fmt.Sprintf("VSID %d", i.VSID)
	}
	for _, s := range t.VirtualSubnets {
		source := t.InternalAddress(s.Prefix.Addr())
		if connected[s.VSID] || !source.IsValid() {
			continue
		}
		if t.ExternalRouter != nil {
			source = s.DefaultGateway() // what a traceroute in the subnet is to show
		}
		// Any internal interface leads to all of the routing domain: door 1 finds the VSID by the record. The first
		// takes it, so that the way is the same after every restart.
		p.addRoute(compartments.Route{
			Prefix: s.Prefix, NextHop: doorHop(s.Prefix), Link: t.InternalInterfaces[0].Name, Source: source,
		})
	}
}

// defaultGateways are the addresses of the virtual subnets' default gateways (".1"), which are the compartment's own where
// the gateway is the external router.
func defaultGateways(t *configs.Tenant) []netip.Prefix {
	if t.ExternalRouter == nil {
		return nil
	}
	var own []netip.Prefix
	for _, s := range t.VirtualSubnets {
		a := s.DefaultGateway()
		own = append(own, netip.PrefixFrom(a, a.BitLen()))
	}
	return own
}

// filtersInside tells whether the tenant filters packets between its virtual subnets, which must pass the compartment
// then.
func filtersInside(t *configs.Tenant) bool {
	return slices.ContainsFunc(t.Filters, func(f configs.Filter) bool {
		return slices.ContainsFunc(t.InternalInterfaces, func(i configs.InternalInterface) bool { return i.Name == f.Interface })
	})
}

// doorRecord is a lookup record as door 1 takes it.
func doorRecord(r configs.LookupRecord) dataplane.Record {
	types := [...]dataplane.RecordType{
		configs.RecordStatic: dataplane.Static, configs.RecordL2Only: dataplane.L2Only,
		configs.RecordGatewayWildcard: dataplane.GatewayWildcard,
	}
	rules := [...]dataplane.Rule{configs.RuleEncap: dataplane.Encap, configs.RuleRewrite: dataplane.Rewrite}
	return dataplane.Record{
		Type: types[r.Type], Rule: rules[r.Rule], CA: r.CustomerAddress, VSID: r.VSID, MAC: r.MACAddress, PA: r.ProviderAddress,
	}
}

// doorRoute is a customer route as door 1 takes it.
func doorRoute(r configs.CustomerRoute) dataplane.CustomerRoute {
	route := dataplane.CustomerRoute{VSID: r.VSID, Prefix: r.Prefix, Metric: r.Metric}
	if !r.OnLink() {
		route.NextHop = r.NextHop
	}
	return route
}

// behindVMs are the compartment's routes to what lies behind VMs, by the tenant's customer routes. Door 1 finds the VM, and
// knows the alternatives: the compartment has one route for a prefix. What our own address is the next hop for (the
// wildcard route, as a rule) is for the compartment's other routes to decide.
func behindVMs(t *configs.Tenant) []compartments.Route {
	var routes []compartments.Route
	places := map[netip.Prefix]int{}
	for _, r := range t.CustomerRoutes {
		source := t.InternalAddress(r.Prefix.Addr())
		if r.OnLink() || !source.IsValid() || ownAddress(t, r.NextHop) {
			continue
		}
		i, known := places[r.Prefix]
		if !known {
			i = len(routes)
			places[r.Prefix] = i
			routes = append(routes, compartments.Route{
				Prefix: r.Prefix, NextHop: doorHop(r.Prefix), Link: t.InternalInterfaces[0].Name, Source: source, Metric: r.Metric,
			})
		}
		routes[i].Metric = min(routes[i].Metric, r.Metric)
	}
	return routes
}

// ownAddress tells whether the compartment has the address in the virtual network.
func ownAddress(t *configs.Tenant, a netip.Addr) bool {
	return slices.ContainsFunc(t.InternalInterfaces, func(i configs.InternalInterface) bool {
		return slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
	})
}
