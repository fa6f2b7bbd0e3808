package configs

import (
	"net"
	"net/netip"

	"github.com/google/uuid"
)

// Tenant is a customer with a routing domain of its own: its virtual networks and everything that joins them.
type Tenant struct {
	// The tenant's name, from metadata.name. Its compartment is a namespace of this name.
	Name string `yaml:"-"`
	// The tenant's routing domain (RDID), unique across tenants.
	RoutingDomainID uuid.UUID `yaml:"routingDomainId" rule:"required"`
	// The virtual subnets of the routing domain.
	VirtualSubnets []VirtualSubnet `yaml:"virtualSubnets"`
	// Lets virtual subnets of IPv4 and of IPv6 be in one virtual network, which the HNV of Windows Server does not carry.
	DualStack bool `yaml:"dualStack"`
	// The compartment's doors to the virtual network.
	InternalInterfaces []InternalInterface `yaml:"internalInterfaces"`
	// Where each customer address lives.
	LookupRecords []LookupRecord `yaml:"lookupRecords"`
	// Routes of the virtual network itself, as its hosts have them.
	CustomerRoutes []CustomerRoute `yaml:"customerRoutes"`
	// Where hosts do not route between the virtual subnets: the gateway does, as their default gateway (".1").
	ExternalRouter *ExternalRouter `yaml:"externalRouter"`
	// Static routes of the compartment.
	Routes []Route `yaml:"routes"`
	// Interfaces to the physical network.
	ForwardingInterfaces []ForwardingInterface `yaml:"forwardingInterfaces"`
	// Name resolution for the tenant's people.
	DNS *DNS `yaml:"dns"`
	// Authorities that vouch for the tenant's sites, and for nobody else's; the gateway's where there are none.
	CertificateAuthorities []Certificate `yaml:"certificateAuthorities"`
	// Tunnels to the tenant's sites.
	SiteToSite []SiteToSite `yaml:"siteToSite"`
	// Static packet filters.
	Filters []Filter `yaml:"filters"`
	// Dial-in of the tenant's people.
	RemoteAccess *RemoteAccess `yaml:"remoteAccess"`
	// Dynamic routing with the tenant's sites.
	BGP *BGP `yaml:"bgp"`
	// The way to and from the Internet.
	NAT *NAT `yaml:"nat"`
}

// VirtualSubnet is a broadcast domain of a virtual network. Its lowest address is its default gateway, which lives on
// the hosts.
type VirtualSubnet struct {
	// Virtual subnet ID (RFC 7637), unique across tenants.
	VSID uint32 `yaml:"vsid" rule:"required,min=4096,max=16777214"`
	// Its addresses. They overlap no other subnet of the tenant.
	Prefix netip.Prefix `yaml:"prefix" rule:"required"`
}

// DefaultGateway is the lowest host address of the subnet.
func (s VirtualSubnet) DefaultGateway() netip.Addr { return s.Prefix.Masked().Addr().Next() }

// InternalInterface is an interface of the compartment in a virtual subnet.
type InternalInterface struct {
	// Its name in the compartment, at most 15 of A-Z a-z 0-9 . _ -.
	Name string `yaml:"name" rule:"required"`
	// The virtual subnet that it stands in.
	VSID uint32 `yaml:"vsid" rule:"required,min=4096,max=16777214"`
	// Its addresses with the length of the virtual subnet.
	Addresses []netip.Prefix `yaml:"addresses" rule:"required,host,unicast"`
	// What the hosts' records name as its MAC address; derived from RDID and VSID when left out.
	MACAddress net.HardwareAddr `yaml:"macAddress"`
	// One of the gateway's provider addresses that stands for the interface's address towards hosts whose records have
	// the rule rewrite.
	ProviderAddress netip.Addr `yaml:"providerAddress" rule:"unicast"`
}

// ExternalRouter makes the gateway the default gateway of all virtual subnets, which routes between them.
type ExternalRouter struct {
	// The MAC address of the default gateways, which hosts send to; derived from the RDID when left out.
	MACAddress net.HardwareAddr `yaml:"macAddress"`
}

// Route is a static route of the compartment, by a next hop or an interface.
type Route struct {
	// What it leads to.
	Prefix netip.Prefix `yaml:"prefix" rule:"required"`
	// A router in one of the compartment's networks; not valid where the route names an interface.
	NextHop netip.Addr `yaml:"nextHop" rule:"unicast"`
	// An S2S or forwarding interface; empty where the route names a next hop.
	Interface string `yaml:"interface"`
	// Lower is preferred.
	Metric uint32 `yaml:"metric" rule:"min=1,max=9999,default=100"`
}

// ForwardingInterface joins the compartment to the physical network.
type ForwardingInterface struct {
	// Its name in the compartment, at most 15 of A-Z a-z 0-9 . _ -.
	Name string `yaml:"name" rule:"required"`
	// The NIC that carries it.
	Parent string `yaml:"parent" rule:"required"`
	// 802.1Q VLAN; 0 for none.
	VLAN int `yaml:"vlan" rule:"min=0,max=4094"`
	// Its addresses with the lengths of their subnets.
	Addresses []netip.Prefix `yaml:"addresses" rule:"required,host,unicast"`
}

// DNS is the name resolution that the tenant's people are told.
type DNS struct {
	// Addresses of resolvers.
	Servers []netip.Addr `yaml:"servers" rule:"required,unicast"`
	// Domains that are appended to short names.
	SearchDomains []string `yaml:"searchDomains"`
}

// Subnet finds a virtual subnet by its VSID.
func (t *Tenant) Subnet(vsid uint32) (VirtualSubnet, bool) {
	for _, s := range t.VirtualSubnets {
		if s.VSID == vsid {
			return s, true
		}
	}
	return VirtualSubnet{}, false
}

// SubnetOf finds the virtual subnet that an address lies in.
func (t *Tenant) SubnetOf(a netip.Addr) (VirtualSubnet, bool) {
	for _, s := range t.VirtualSubnets {
		if s.Prefix.Contains(a) {
			return s, true
		}
	}
	return VirtualSubnet{}, false
}

// VirtualPrefixes lists the prefixes of the virtual subnets.
func (t *Tenant) VirtualPrefixes() []netip.Prefix {
	out := make([]netip.Prefix, len(t.VirtualSubnets))
	for i, s := range t.VirtualSubnets {
		out[i] = s.Prefix
	}
	return out
}

// SitePrefixes lists the prefixes behind the tenant's tunnels, those that are routed only while connected included,
// each once, in declared order.
func (t *Tenant) SitePrefixes() []netip.Prefix {
	var out []netip.Prefix
	seen := map[netip.Prefix]bool{}
	for _, s := range t.SiteToSite {
		for _, p := range s.allPrefixes() {
			if !seen[p.Prefix] {
				seen[p.Prefix] = true
				out = append(out, p.Prefix)
			}
		}
	}
	return out
}

// InternalAddress is the compartment's first address in the virtual network of the family of like: the source of its
// own packets into tunnels. It is not valid if there is none.
func (t *Tenant) InternalAddress(like netip.Addr) netip.Addr {
	for _, i := range t.InternalInterfaces {
		for _, a := range i.Addresses {
			if a.Addr().Is4() == like.Is4() {
				return a.Addr()
			}
		}
	}
	return netip.Addr{}
}
