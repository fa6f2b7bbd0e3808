package configs

import (
	"net/netip"
	"reflect"
	"regexp"
)

// dialInInterface is that of the tenant's people.
const dialInInterface = "ras"

// Filter is a static filter of one interface and direction.
type Filter struct {
	// An interface of the tenant; "ras" is that of its people.
	Interface string `yaml:"interface" rule:"required"`
	// As seen from the virtual network: inbound enters it, outbound leaves it.
	Direction Direction `yaml:"direction" rule:"required"`
	// What happens to packets that the list does not name: deny drops them, allow passes them.
	Action FilterAction `yaml:"action" rule:"required"`
	// The exceptions, each source:destination:protocol:sourceport:destinationport or with ICMP's type:code; 0 is any.
	List []FilterRule `yaml:"list"`
	// Passes packets of connections that the other direction began, whatever the list says.
	Established Established `yaml:"established"`
}

// Established is what happens to packets of established connections.
type Established string

// EstablishedAllow passes them.
const EstablishedAllow Established = "allow"

func (Established) values() []string { return []string{string(EstablishedAllow)} }

// Direction is a direction of packets as seen from the virtual network.
type Direction string

// Into the virtual network, or out of it.
const (
	Inbound  Direction = "inbound"
	Outbound Direction = "outbound"
)

func (Direction) values() []string { return []string{string(Inbound), string(Outbound)} }

// FilterAction is what happens to packets that a filter's list does not name.
type FilterAction string

// Drop all except what the list allows, or pass all except what the list names.
const (
	FilterDeny  FilterAction = "deny"
	FilterAllow FilterAction = "allow"
)

func (FilterAction) values() []string { return []string{string(FilterDeny), string(FilterAllow)} }

// RemoteAccess is the dial-in of the tenant's people.
type RemoteAccess struct {
	// Regular expression (RE2) over the user name that tells the tenant, unanchored, ignoring case.
	TenantName *regexp.Regexp `yaml:"tenantName" rule:"required"`
	// IPv4 addresses for clients.
	AddressRange AddressRange `yaml:"addressRange"`
	// IPv6 prefix for clients.
	IPv6Prefix netip.Prefix `yaml:"ipv6Prefix"`
	// Rate limit of all clients of the tenant together.
	Bandwidth Bandwidth `yaml:"bandwidth"`
	// Local users.
	Users []User `yaml:"users"`
}

// User is a person who may dial in.
type User struct {
	// The user name, unique across tenants.
	Name string `yaml:"name" rule:"required"`
	// The password.
	Password Secret `yaml:"password" rule:"required"`
}

// NAT is the tenant's way to and from the Internet.
type NAT struct {
	// The tenant's public addresses, or auto for the first free one of the gateway's.
	ExternalAddresses NATAddresses `yaml:"externalAddresses" rule:"required"`
	// What the Internet reaches inside.
	StaticMappings []StaticMapping `yaml:"staticMappings"`
	// Prefixes of private or ULA space that translated packets may be sent to all the same.
	PrivateDestinations []netip.Prefix `yaml:"privateDestinations"`
}

// NATAddresses are a tenant's public addresses.
type NATAddresses []NATAddress

// NATAddress is a public address of a tenant, or a share of one.
type NATAddress struct {
	// The address, one of the gateway's natAddresses. Load fills it in where the file says auto.
	Address netip.Addr `yaml:"address" rule:"required,unicast"`
	// The tenant's ports of it (of TCP and UDP, and ICMP identifiers); the whole address when left out.
	Ports PortRange `yaml:"ports"`
	// Whether the file says auto.
	Auto bool `yaml:"-"`
}

const autoAddress = "auto"

func (a *NATAddresses) decode(d *decoder, n *node, p *path) {
	switch {
	case n.kind == textNode && n.text == autoAddress:
		*a = NATAddresses{{Auto: true}}
	case n.kind == listNode:
		var list []NATAddress
		d.list(n, p, reflect.ValueOf(&list).Elem(), rules{})
		*a = list
	default:
		d.doc.bad(p, "is %s, want a list of {address, ports} or %s", describe(n), autoAddress)
	}
}

func (NATAddresses) forms() []any { return []any{map[string]any{"const": autoAddress}} }

// StaticMapping leads a public address and port to a VM.
type StaticMapping struct {
	// The transport protocol.
	Protocol MappingProtocol `yaml:"protocol" rule:"required"`
	// ADDRESS:PORT of the tenant's external addresses.
	External netip.AddrPort `yaml:"external" rule:"required"`
	// ADDRESS:PORT in a virtual subnet.
	Internal netip.AddrPort `yaml:"internal" rule:"required"`
}

// MappingProtocol is a transport protocol.
type MappingProtocol string

// Transport protocols of static mappings.
const (
	MappingTCP MappingProtocol = "TCP"
	MappingUDP MappingProtocol = "UDP"
)

func (MappingProtocol) values() []string { return []string{string(MappingTCP), string(MappingUDP)} }
