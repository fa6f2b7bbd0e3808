package configs

import "net/netip"

// Gateway is the machine itself: its NICs, its addresses, and what holds for all tenants.
type Gateway struct {
	// The gateway's name, from metadata.name.
	Name string `yaml:"-"`
	// The NIC on the provider network, which carries NVGRE.
	Backend Backend `yaml:"backend" rule:"required"`
	// The NIC on the Internet.
	External External `yaml:"external" rule:"required"`
	// The NIC for management, where it is one of its own.
	Management *Management `yaml:"management"`
	// IKE policy of all responders but those with a pre-shared key, and what interfaces without one of their own use.
	IKE GatewayIKE `yaml:"ike"`
	// How people and EAP sites are authenticated.
	RADIUS RADIUS `yaml:"radius"`
}

// Backend is the NIC on the provider network.
type Backend struct {
	// Linux name of the NIC.
	Interface string `yaml:"interface" rule:"required"`
	// Largest outer IP packet in bytes. NVGRE takes 42 of it, 62 over IPv6: with 1600, VMs keep their 1500.
	MTU int `yaml:"mtu" rule:"min=1322,max=9216,default=1500"`
	// The gateway's provider addresses (PA), which the daemon puts on the NIC.
	ProviderAddresses []ProviderAddress `yaml:"providerAddresses" rule:"required"`
	// Routes to provider addresses outside of the NIC's own subnets.
	ProviderRoutes []ProviderRoute `yaml:"providerRoutes"`
}

// ProviderAddress is a provider address of the gateway.
type ProviderAddress struct {
	// The address with the length of its subnet. It must not be one that the NIC has already.
	Address netip.Prefix `yaml:"address" rule:"required,host,unicast"`
	// 802.1Q VLAN of the outer frames; 0 for none.
	VLAN int `yaml:"vlan" rule:"min=0,max=4094"`
	// Virtual subnets that use this address and no other. Those that no address names use the addresses without.
	VSIDs []uint32 `yaml:"vsids" rule:"min=4096,max=16777214"`
}

// ProviderRoute is a route on the provider network.
type ProviderRoute struct {
	// Provider addresses that the route leads to.
	Destination netip.Prefix `yaml:"destination" rule:"required"`
	// A router in a subnet of the gateway's provider addresses.
	NextHop netip.Addr `yaml:"nextHop" rule:"required,unicast"`
}

// External is the NIC on the Internet.
type External struct {
	// Linux name of the NIC.
	Interface string `yaml:"interface" rule:"required"`
	// Largest IP packet in bytes. Tunnels take their overhead from it.
	MTU int `yaml:"mtu" rule:"min=1280,max=9216,default=1500"`
	// The gateway's own addresses, where IKE listens. The first is the tunnels' source where they name none.
	Addresses []ExternalAddress `yaml:"addresses" rule:"required"`
	// What tenants' address translation and virtual addresses may take.
	NATAddresses []AddressRange `yaml:"natAddresses"`
	// Routers to the Internet.
	DefaultGateways []netip.Addr `yaml:"defaultGateways" rule:"unicast"`
}

// ExternalAddress is an address of the gateway on the Internet.
type ExternalAddress struct {
	// The address with the length of its subnet.
	Address netip.Prefix `yaml:"address" rule:"required,host,unicast"`
}

// Management is the NIC for management.
type Management struct {
	// Linux name of the NIC. Any two of backend, external and management may be one.
	Interface string `yaml:"interface" rule:"required"`
}

// RADIUS is the authentication of people and EAP sites.
type RADIUS struct {
	// The provider's servers, in the order in which they are asked. Without, local users are asked only.
	Upstream []RADIUSServer `yaml:"upstream"`
}

// RADIUSServer is a server of the provider.
type RADIUSServer struct {
	// Address or ADDRESS:PORT of the server; port 1812 when left out.
	Address ServerAddress `yaml:"address" rule:"required"`
	// The secret shared with the server (RFC 2865).
	Secret Secret `yaml:"secret" rule:"required"`
}

// OwnAddresses lists the gateway's addresses on the Internet.
func (g *Gateway) OwnAddresses() []netip.Addr {
	out := make([]netip.Addr, len(g.External.Addresses))
	for i, a := range g.External.Addresses {
		out[i] = a.Address.Addr()
	}
	return out
}

// ProviderAddresses lists the gateway's addresses on the provider network.
func (g *Gateway) ProviderAddresses() []netip.Addr {
	out := make([]netip.Addr, len(g.Backend.ProviderAddresses))
	for i, a := range g.Backend.ProviderAddresses {
		out[i] = a.Address.Addr()
	}
	return out
}

// PoolPrefixes is the pool of NAT addresses as prefixes.
func (g *Gateway) PoolPrefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, r := range g.External.NATAddresses {
		out = append(out, r.Prefixes()...)
	}
	return out
}
