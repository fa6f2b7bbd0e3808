package configs

import (
	"net/netip"
	"time"
)

// BGP is the tenant's router (Add-BgpRouter).
type BGP struct {
	// BGP identifier (RFC 4271), an IPv4 address by form.
	Identifier netip.Addr `yaml:"identifier" rule:"required,unicast"`
	// The tenant's autonomous system number.
	ASN uint32 `yaml:"asn" rule:"required,min=1,max=4294967294"`
	// Cluster of a route reflector (RFC 4456), an IPv4 address by form; the identifier when left out.
	ClusterID netip.Addr `yaml:"clusterId" rule:"unicast"`
	// Advertises to each peer what the others advertise, so that the tenant's sites reach each other through the gateway.
	TransitRouting bool `yaml:"transitRouting"`
	// How many equally good paths to a prefix are used at the same time (ECMP).
	MaximumPaths int `yaml:"maximumPaths" rule:"min=1,max=64,default=1"`
	// Compares the metrics (MED) of paths through different neighbouring systems too.
	CompareMEDAcrossASN bool `yaml:"compareMedAcrossAsn"`
	// Keeps routes while the speaker starts again (RFC 4724); without, a restart withdraws them.
	GracefulRestart *GracefulRestart `yaml:"gracefulRestart"`
	// What peers may import and export names these.
	Policies []BGPPolicy `yaml:"policies"`
	// Routers of the tenant's sites.
	Peers []BGPPeer `yaml:"peers"`
	// What is advertised besides what peers advertise.
	CustomRoutes []BGPCustomRoute `yaml:"customRoutes"`
}

// GracefulRestart is how long a restart of the speaker may take.
type GracefulRestart struct {
	// Time for which peers keep the tenant's routes, and the compartment its own, until the speaker is back.
	RestartTime time.Duration `yaml:"restartTime" rule:"min=1s,max=4095s,seconds,default=120s"`
}

// BGPPeer is a router of a site (Add-BgpPeer).
type BGPPeer struct {
	// A name for it, unique in the tenant: 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit.
	Name string `yaml:"name" rule:"required"`
	// The compartment's end of the session.
	LocalAddress netip.Addr `yaml:"localAddress" rule:"required,unicast"`
	// The peer's end of the session.
	Address netip.Addr `yaml:"address" rule:"required,unicast"`
	// The peer's autonomous system number; the tenant's own for internal BGP.
	ASN uint32 `yaml:"asn" rule:"required,min=1,max=4294967294"`
	// Mixed dials and listens, Passive listens only.
	OperationMode OperationMode `yaml:"operationMode" rule:"default=Mixed"`
	// Automatic starts the session by itself, Manual waits for the operator.
	PeeringMode PeeringMode `yaml:"peeringMode" rule:"default=Automatic"`
	// Password of the TCP MD5 signature (RFC 2385), at most 80 bytes; none when left out.
	Password Secret `yaml:"password"`
	// Silence after which the session ends; the shorter of both ends' counts.
	HoldTime time.Duration `yaml:"holdTime" rule:"min=3s,max=65535s,seconds,default=90s"`
	// Time between signs of life; a third of the hold time when left out.
	KeepaliveInterval time.Duration `yaml:"keepaliveInterval" rule:"min=1s,max=21845s,seconds"`
	// Time between attempts to dial.
	ConnectRetry time.Duration `yaml:"connectRetry" rule:"min=2s,max=1h,seconds,default=5s"`
	// The TTL of what is sent to the peer: how many hops away it may be.
	Multihop uint8 `yaml:"multihop" rule:"min=1,max=255,default=64"`
	// Refuses packets from farther away than this many hops (GTSM, RFC 5082), and sends with TTL 255 as the other end must;
	// instead of multihop. A peer at the other end of a tunnel is 1 hop away.
	TTLSecurity uint8 `yaml:"ttlSecurity" rule:"min=1,max=254"`
	// Watches the peer (BFD, RFC 5881), so that its loss is noticed sooner than by the hold time.
	BFD *BFD `yaml:"bfd"`
	// How many prefixes the peer may advertise.
	MaximumPrefixes MaximumPrefixes `yaml:"maximumPrefixes"`
	// Reflects routes of internal peers to it, and its own to them (RFC 4456); of an internal peer only.
	RouteReflectorClient bool `yaml:"routeReflectorClient"`
	// The families of routes that are exchanged over the session; that of its addresses when left out.
	AddressFamilies []AddressFamily `yaml:"addressFamilies"`
	// Lets the peer advertise 0.0.0.0/0 and ::/0.
	AcceptDefault bool `yaml:"acceptDefault"`
	// How often the tenant's own number may be in the path of what the peer advertises.
	AllowOwnASN uint8 `yaml:"allowOwnAsn" rule:"min=0,max=10"`
	// Names the gateway as next hop of what is advertised to an internal peer; an external one is always told so.
	NextHopSelf bool `yaml:"nextHopSelf"`
	// Policies that what the peer advertises goes through, in order; what none decides on is accepted.
	Import []string `yaml:"import"`
	// Policies that what is advertised to the peer goes through, in order; what none decides on is accepted.
	Export []string `yaml:"export"`

	// Stopped tells that the session is not to be: the operator stopped it, or it is Manual and the operator has not
	// started it. Load sets it by the policy file, and Config.Change changes it.
	Stopped bool `yaml:"-"`
}

// Internal tells whether the peer is of the tenant's own system.
func (b *BGP) Internal(p *BGPPeer) bool { return p.ASN == b.ASN }

// Exchanges tells whether routes of a family are exchanged with the peer.
func (p *BGPPeer) Exchanges(f AddressFamily) bool {
	for _, has := range p.AddressFamilies {
		if has == f {
			return true
		}
	}
	return false
}

// BFD is how a peer is watched: it is gone when nothing came for multiplier times the interval that both ends agree on.
type BFD struct {
	// Shortest time between packets to the peer.
	Transmit time.Duration `yaml:"transmit" rule:"min=10ms,max=60s,default=300ms"`
	// Shortest time between packets from the peer.
	Receive time.Duration `yaml:"receive" rule:"min=10ms,max=60s,default=300ms"`
	// How many packets in a row must be missing.
	Multiplier uint8 `yaml:"multiplier" rule:"min=2,max=255,default=3"`
}

// MaximumPrefixes is how many prefixes of one family a peer may advertise, and what comes of more.
type MaximumPrefixes struct {
	// With more the session ends. 10000 is far more than a company's sites have, and a leak of the Internet's table, of a
	// million, is stopped before it costs memory.
	Limit uint32 `yaml:"limit" rule:"min=1,max=4294967295,default=10000"`
	// Percentage of the limit from which on a warning is given.
	WarnAt uint8 `yaml:"warnAt" rule:"min=1,max=100,default=75"`
	// Time after which a session that ended so is tried again; when left out, it waits for the operator.
	RestartAfter time.Duration `yaml:"restartAfter" rule:"min=1s,max=24h,seconds"`
}

// AddressFamily is a family of routes.
type AddressFamily string

// Families of routes.
const (
	FamilyIPv4 AddressFamily = "ipv4"
	FamilyIPv6 AddressFamily = "ipv6"
)

func (AddressFamily) values() []string { return []string{string(FamilyIPv4), string(FamilyIPv6)} }

// familyOf is the family of an address.
func familyOf(a netip.Addr) AddressFamily {
	if a.Is4() {
		return FamilyIPv4
	}
	return FamilyIPv6
}

// OperationMode says whether the gateway dials a BGP peer.
type OperationMode string

// Dial and listen, or listen only.
const (
	OperationMixed   OperationMode = "Mixed"
	OperationPassive OperationMode = "Passive"
)

func (OperationMode) values() []string {
	return []string{string(OperationMixed), string(OperationPassive)}
}

// PeeringMode says whether a BGP session starts by itself.
type PeeringMode string

// By itself, or by the operator.
const (
	PeeringAutomatic PeeringMode = "Automatic"
	PeeringManual    PeeringMode = "Manual"
)

func (PeeringMode) values() []string {
	return []string{string(PeeringAutomatic), string(PeeringManual)}
}

// BGPCustomRoute is advertised to peers: the routes on an interface, or a prefix (Add-BgpCustomRoute).
type BGPCustomRoute struct {
	// An interface of the tenant; empty where a prefix is declared.
	Interface string `yaml:"interface"`
	// A prefix; not valid where an interface is declared.
	Prefix netip.Prefix `yaml:"prefix"`
}

// setDefaults fills in what other keys of the tenant give.
func (b *BGP) setDefaults() {
	for i := range b.Peers {
		p := &b.Peers[i]
		if p.KeepaliveInterval == 0 {
			p.KeepaliveInterval = max(time.Second, (p.HoldTime / 3).Truncate(time.Second))
		}
		if len(p.AddressFamilies) == 0 && p.Address.IsValid() {
			p.AddressFamilies = []AddressFamily{familyOf(p.Address)}
		}
		p.Stopped = p.PeeringMode == PeeringManual
	}
}
