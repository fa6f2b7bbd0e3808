package gateway

import (
	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/dataplane"
)

// What NVGRE adds to a packet in bytes: the outer IP header, GRE with key, and inner Ethernet (RFC 7637, section 3.2).
const (
	nvgreOverhead4 = 20 + 8 + 14
	nvgreOverhead6 = 40 + 8 + 14
)

// internalMTU is the largest packet of a compartment that fits the provider network, whichever of the gateway's provider
// addresses it leaves from.
func internalMTU(g *configs.Gateway) int {
	for _, a := range g.ProviderAddresses() {
		if a.Is6() {
			return g.Backend.MTU - nvgreOverhead6
		}
	}
	return g.Backend.MTU - nvgreOverhead4
}

// providerLink names the link that carries a provider address: the backend NIC, or the VLAN device on it.
func providerLink(g *configs.Gateway, a configs.ProviderAddress) string {
	if a.VLAN == 0 {
		return g.Backend.Interface
	}
	return compartments.VLANName(g.Backend.Interface, uint16(a.VLAN))
}

func translateDefault(g *configs.Gateway) compartments.Default {
	external := compartments.NIC{Name: g.External.Interface, MTU: g.External.MTU}
	for _, a := range g.External.Addresses {
		external.Addresses = append(external.Addresses, a.Address)
	}
	d := compartments.Default{NICs: []compartments.NIC{translateBackend(g), external}}
	for _, r := range g.Backend.ProviderRoutes {
		d.Routes = append(d.Routes, compartments.Route{Prefix: r.Destination, NextHop: r.NextHop, Link: towards(g, r)})
	}
	for _, hop := range g.External.DefaultGateways {
		d.Routes = append(d.Routes, compartments.Route{Prefix: anyOf(hop), NextHop: hop, Link: external.Name})
	}
	return d
}

// translateBackend is the NIC on the provider network, with the VLANs that provider addresses lie in.
func translateBackend(g *configs.Gateway) compartments.NIC {
	nic := compartments.NIC{Name: g.Backend.Interface, MTU: g.Backend.MTU}
	vlans := map[int]int{} // places in nic.VLANs
	for _, a := range g.Backend.ProviderAddresses {
		if a.VLAN == 0 {
			nic.Addresses = append(nic.Addresses, a.Address)
			continue
		}
		i, known := vlans[a.VLAN]
		if !known {
			i = len(nic.VLANs)
			vlans[a.VLAN] = i
			nic.VLANs = append(nic.VLANs, compartments.VLAN{ID: uint16(a.VLAN)})
		}
		nic.VLANs[i].Addresses = append(nic.VLANs[i].Addresses, a.Address)
	}
	return nic
}

// towards names the link that leads to a provider route's next hop: that of the first provider address whose subnet it
// lies in, as door 1 chooses it.
func towards(g *configs.Gateway, r configs.ProviderRoute) string {
	for _, a := range g.Backend.ProviderAddresses {
		if a.Address.Contains(r.NextHop) {
			return providerLink(g, a)
		}
	}
	return g.Backend.Interface
}

func translateDoors(g *configs.Gateway) dataplane.Gateway {
	doors := dataplane.Gateway{
		Backend:      g.Backend.Interface,
		External:     g.External.Interface,
		OwnAddresses: g.OwnAddresses(),
		PoolPrefixes: g.PoolPrefixes(),
		ProviderMTU:  g.Backend.MTU,
	}
	for _, a := range g.Backend.ProviderAddresses {
		doors.Providers = append(doors.Providers, dataplane.Provider{
			Address: a.Address, Link: providerLink(g, a), VLAN: uint16(a.VLAN), VSIDs: a.VSIDs,
		})
	}
	for _, r := range g.Backend.ProviderRoutes {
		doors.ProviderRoutes = append(doors.ProviderRoutes, dataplane.ProviderRoute{Prefix: r.Destination, NextHop: r.NextHop})
	}
	return doors
}
