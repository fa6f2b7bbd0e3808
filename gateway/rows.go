package gateway

import (
	"net/netip"
	"time"
)

// Rows are what show prints: json names are the interface of scripts, table headings those of people. A field without
// a heading is shown in JSON only.

// CompartmentRow is a tenant's compartment.
type CompartmentRow struct {
	Tenant        string `json:"tenant" table:"TENANT"`
	RoutingDomain string `json:"routingDomainId" table:"ROUTING DOMAIN"`
	// State is applied, or applying (a change is under way), failing (it is tried again, see Error), removing, undeclared
	// or, while the daemon has not taken up its declaration yet, adopted.
	State      string   `json:"state" table:"STATE"`
	VSIDs      []uint32 `json:"vsids" table:"VSIDS"`
	Interfaces int      `json:"interfaces" table:"INTERFACES"`
	Routes     int      `json:"routes" table:"ROUTES"`
	Namespace  string   `json:"namespace" table:"NAMESPACE"`
	// Error is why the compartment is not as declared.
	Error string `json:"error,omitempty" table:"ERROR"`
	// Pending is what is declared for the tenant and not carried out yet.
	Pending []string `json:"pending,omitempty"`
}

// InterfaceRow is an interface of a compartment.
type InterfaceRow struct {
	Tenant string `json:"tenant" table:"TENANT"`
	Name   string `json:"name" table:"INTERFACE"`
	Kind   string `json:"kind" table:"KIND"` // internal, siteToSite, external
	// State is up, down or missing; of a site-to-site interface it is its tunnel's.
	State     string         `json:"state" table:"STATE"`
	Addresses []netip.Prefix `json:"addresses" table:"ADDRESSES"`
	MTU       int            `json:"mtu" table:"MTU"` // bytes
	// Through is what the interface leads to: a VSID, a peer's address, the tenant's public addresses.
	Through   string `json:"through" table:"THROUGH"`
	MAC       string `json:"macAddress,omitempty"`
	IfID      uint32 `json:"ifId,omitempty"`
	RxPackets uint64 `json:"rxPackets" table:"RX PACKETS"`
	RxBytes   uint64 `json:"rxBytes" table:"RX BYTES"`
	TxPackets uint64 `json:"txPackets" table:"TX PACKETS"`
	TxBytes   uint64 `json:"txBytes" table:"TX BYTES"`
}

// TunnelRow is a site-to-site tunnel as charon has it, with its limits as the kernel has them.
type TunnelRow struct {
	Tenant    string `json:"tenant" table:"TENANT"`
	Interface string `json:"interface" table:"INTERFACE"`
	// State is disconnected, connecting, connected, unreachable or disabled; unknown while charon does not answer.
	State string     `json:"state" table:"STATE"`
	Since *time.Time `json:"since,omitempty" table:"SINCE"`
	Local string     `json:"local" table:"LOCAL"`
	Peer  string     `json:"peer" table:"PEER"`
	// LocalID and PeerID are the IKE identities.
	LocalID string `json:"localId"`
	PeerID  string `json:"peerId"`
	SPIIn   string `json:"spiIn,omitempty" table:"SPI IN"`
	SPIOut  string `json:"spiOut,omitempty" table:"SPI OUT"`
	IKE     string `json:"ikeAlgorithms,omitempty"`
	ESP     string `json:"espAlgorithms,omitempty" table:"ESP"`
	// Encapsulated tells whether ESP travels in UDP.
	Encapsulated bool `json:"encapsulated,omitempty"`
	// Offload is empty where the NIC was not asked to do ESP, "NIC" where it can do this tunnel's, and else why it does not.
	Offload string `json:"offload,omitempty"`
	// The counters are of the current SAs, so that rekeying restarts them; those of the interface go on.
	PacketsIn  uint64 `json:"packetsIn"`
	PacketsOut uint64 `json:"packetsOut"`
	BytesIn    uint64 `json:"bytesIn" table:"BYTES IN"`
	BytesOut   uint64 `json:"bytesOut" table:"BYTES OUT"`
	// RekeyIn is when the ESP keys are replaced next, in seconds.
	RekeyIn int64 `json:"rekeyInSeconds,omitempty" table:"REKEY IN S"`
	// Limit is the rate limit towards the site and from it in kbit/s, as in "1024/1024"; - for none.
	Limit string `json:"limitKbps" table:"LIMIT OUT/IN"`
	// LimitDrops are the packets that the limits dropped.
	LimitDrops uint64 `json:"limitDrops" table:"LIMIT DROPS"`
	// LastError is why the tunnel last went down or did not come up, or who was refused; LastErrorAt is when.
	LastError   string     `json:"lastError,omitempty" table:"LAST ERROR"`
	LastErrorAt *time.Time `json:"lastErrorAt,omitempty"`
}

// FilterRow is a rule of a static filter with what it has counted.
type FilterRow struct {
	Tenant    string `json:"tenant" table:"TENANT"`
	Interface string `json:"interface" table:"INTERFACE"`
	// Direction is inbound (into the virtual network) or outbound.
	Direction string `json:"direction" table:"DIRECTION"`
	// Rule as it was declared; "established" for replies that pass, "everything else" for what no rule names.
	Rule string `json:"rule" table:"RULE"`
	// Does is pass or drop.
	Does    string `json:"does" table:"DOES"`
	Packets uint64 `json:"packets" table:"PACKETS"`
	Bytes   uint64 `json:"bytes" table:"BYTES"`
}

// LimitRow is the rate limit of an interface in one direction.
type LimitRow struct {
	Tenant    string `json:"tenant" table:"TENANT"`
	Interface string `json:"interface" table:"INTERFACE"`
	// Direction is out (towards the site) or in.
	Direction string `json:"direction" table:"DIRECTION"`
	Kbps      uint64 `json:"kbps" table:"KBIT/S"`
	Packets   uint64 `json:"packets" table:"PACKETS"`
	Bytes     uint64 `json:"bytes" table:"BYTES"`
	Drops     uint64 `json:"drops" table:"DROPS"`
	// BacklogBytes wait in the queue now.
	BacklogBytes uint64 `json:"backlogBytes" table:"BACKLOG BYTES"`
}

// CertificateRow is a certificate or a revocation list in use.
type CertificateRow struct {
	// Use is gateway, authority or revocationList.
	Use string `json:"use" table:"USE"`
	// Subject of the certificate, or issuer of the list.
	Subject string `json:"subject" table:"SUBJECT"`
	// Tenants whose sites the authority vouches for.
	Tenants  []string   `json:"tenants,omitempty" table:"TENANTS"`
	NotAfter *time.Time `json:"notAfter,omitempty" table:"NOT AFTER"`
	// State is good, expiring (within 30 days) or expired.
	State string `json:"state" table:"STATE"`
}

// NATRow is one external address of a tenant, or one static mapping.
type NATRow struct {
	Tenant   string `json:"tenant" table:"TENANT"`
	Kind     string `json:"kind" table:"KIND"` // source, mapping
	Protocol string `json:"protocol,omitempty" table:"PROTOCOL"`
	External string `json:"external" table:"EXTERNAL"`
	Internal string `json:"internal" table:"INTERNAL"`
	// Sessions is the number of sessions that conntrack holds for it now.
	Sessions int `json:"sessions" table:"SESSIONS"`
}

// RecordRow is a lookup record as door 1 has it.
type RecordRow struct {
	Tenant          string     `json:"tenant" table:"TENANT"`
	CustomerAddress netip.Addr `json:"customerAddress" table:"CUSTOMER ADDRESS"`
	VSID            uint32     `json:"vsid" table:"VSID"`
	MACAddress      string     `json:"macAddress" table:"MAC"`
	ProviderAddress netip.Addr `json:"providerAddress" table:"PROVIDER ADDRESS"`
	// Type is Static, Dynamic (learned), L2Only (the customer address is 0.0.0.0) or GatewayWildcard.
	Type string `json:"type" table:"TYPE"`
	Rule string `json:"rule" table:"RULE"` // encap, rewrite
	// State is empty, moved (a host said that the machine is at this provider address now, not where it is declared to be)
	// or stale (the host says that it does not have the machine).
	State string `json:"state,omitempty" table:"STATE"`
}

// CustomerRouteRow is a route of a virtual network as door 1 has it.
type CustomerRouteRow struct {
	Tenant string       `json:"tenant" table:"TENANT"`
	VSID   uint32       `json:"vsid" table:"VSID"`
	Prefix netip.Prefix `json:"prefix" table:"PREFIX"`
	// NextHop is a customer address, or on-link.
	NextHop string `json:"nextHop" table:"NEXT HOP"`
	Metric  uint32 `json:"metric" table:"METRIC"`
}

// ProviderAddressRow is one of the gateway's own addresses on the provider network.
type ProviderAddressRow struct {
	Address netip.Prefix `json:"address" table:"ADDRESS"`
	// Link sends what comes from the address.
	Link string `json:"link" table:"LINK"`
	VLAN uint16 `json:"vlan" table:"VLAN"` // 802.1Q, 0 for none
	// VSIDs are the virtual subnets that use this address and no other; none: those that no other address names.
	VSIDs []uint32 `json:"vsids,omitempty" table:"VSIDS"`
}

// ProviderRouteRow is a route on the provider network.
type ProviderRouteRow struct {
	Prefix  netip.Prefix `json:"prefix" table:"PREFIX"`
	NextHop netip.Addr   `json:"nextHop" table:"NEXT HOP"`
}

// TrafficRow counts what passed the doors for a virtual subnet in one direction, or for the link to the Internet.
type TrafficRow struct {
	Tenant string `json:"tenant" table:"TENANT"`
	// VSID that the frames carry on the provider network; 0 for the link to the Internet.
	VSID uint32 `json:"vsid" table:"VSID"`
	// Direction is in (from the virtual subnet or the Internet) or out.
	Direction string `json:"direction" table:"DIRECTION"`
	Packets   uint64 `json:"packets" table:"PACKETS"`
	Bytes     uint64 `json:"bytes" table:"BYTES"` // of inner packets: without outer headers
}

// DropRow is a counter of dropped packets.
type DropRow struct {
	// Tenant is empty where none could be told.
	Tenant  string `json:"tenant,omitempty" table:"TENANT"`
	Where   string `json:"where" table:"WHERE"`
	Reason  string `json:"reason" table:"REASON"`
	Packets uint64 `json:"packets" table:"PACKETS"`
	Bytes   uint64 `json:"bytes" table:"BYTES"`
}
