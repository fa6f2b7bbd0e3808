package gateway

import (
	"net/netip"
	"time"
)

// BGPRow is a tenant's speaker.
type BGPRow struct {
	Tenant     string     `json:"tenant" table:"TENANT"`
	Identifier netip.Addr `json:"identifier" table:"IDENTIFIER"`
	ASN        uint32     `json:"asn" table:"ASN"`
	// State is running, restarting (it keeps a predecessor's routes until its peers have told theirs), starting, or away: it
	// does not answer, see Error.
	State string     `json:"state" table:"STATE"`
	Since *time.Time `json:"since,omitempty" table:"SINCE"`
	// Established of Peers are up.
	Established int `json:"established" table:"ESTABLISHED"`
	Peers       int `json:"peers" table:"PEERS"`
	// The routes that the compartment's table has from it, and learned prefixes that are unreachable since they were
	// withdrawn.
	IPv4Routes int `json:"ipv4Routes" table:"IPV4 ROUTES"`
	IPv6Routes int `json:"ipv6Routes" table:"IPV6 ROUTES"`
	Withdrawn  int `json:"withdrawn" table:"WITHDRAWN"`
	// PrivateBytes is the memory that it shares with nobody.
	PrivateBytes uint64 `json:"privateBytes" table:"PRIVATE BYTES"`
	PID          int    `json:"pid,omitempty"`
	// Version of the binary that runs; it may be older than the daemon's (see bulkhead bgp restart).
	Version string `json:"version,omitempty" table:"VERSION"`
	Error   string `json:"error,omitempty" table:"ERROR"`
}

// BGPPeerRow is a peer as the tenant's speaker has it.
type BGPPeerRow struct {
	Tenant       string     `json:"tenant" table:"TENANT"`
	Peer         string     `json:"peer" table:"PEER"`
	Address      netip.Addr `json:"address" table:"ADDRESS"`
	LocalAddress netip.Addr `json:"localAddress"`
	ASN          uint32     `json:"asn" table:"ASN"`
	// State is that of the session in the words of RFC 4271, or stopped (by the operator, or not started yet), or overLimit.
	State string     `json:"state" table:"STATE"`
	Since *time.Time `json:"since,omitempty" table:"SINCE"`
	// Interface that the peer is reached by.
	Interface string `json:"interface,omitempty" table:"INTERFACE"`
	// The prefixes that the peer advertises, those of them that passed policy, and those that it is told, of all families.
	Received   uint64 `json:"received" table:"RECEIVED"`
	Accepted   uint64 `json:"accepted" table:"ACCEPTED"`
	Advertised uint64 `json:"advertised" table:"ADVERTISED"`
	Flaps      uint32 `json:"flaps" table:"FLAPS"`
	// MD5 is empty where no password is declared, on, or why it is not in force.
	MD5 string `json:"md5,omitempty" table:"MD5"`
	// BFD is empty where it is not declared, down, init or up.
	BFD         string     `json:"bfd,omitempty" table:"BFD"`
	LastError   string     `json:"lastError,omitempty" table:"LAST ERROR"`
	LastErrorAt *time.Time `json:"lastErrorAt,omitempty"`

	PeerIdentifier           netip.Addr        `json:"peerIdentifier,omitzero"`
	HoldTimeSeconds          int64             `json:"holdTimeSeconds,omitempty"`
	KeepaliveIntervalSeconds int64             `json:"keepaliveIntervalSeconds,omitempty"`
	Capabilities             []string          `json:"capabilities,omitempty"`
	Families                 []BGPFamilyRow    `json:"families,omitempty"`
	MessagesReceived         BGPMessagesRow    `json:"messagesReceived"`
	MessagesSent             BGPMessagesRow    `json:"messagesSent"`
	Refused                  map[string]uint64 `json:"refused,omitempty"`
}

// BGPFamilyRow is what a session carries of one address family.
type BGPFamilyRow struct {
	Name       string `json:"name"`
	Received   uint64 `json:"received"`
	Accepted   uint64 `json:"accepted"`
	Advertised uint64 `json:"advertised"`
	// Limit is how many prefixes it may advertise.
	Limit uint32 `json:"limit,omitempty"`
}

// BGPMessagesRow counts messages of a session in one direction, by kind.
type BGPMessagesRow struct {
	Total             uint64 `json:"total"`
	Open              uint64 `json:"open"`
	Update            uint64 `json:"update"`
	Notification      uint64 `json:"notification"`
	Keepalive         uint64 `json:"keepalive"`
	Refresh           uint64 `json:"refresh"`
	Discarded         uint64 `json:"discarded"`
	WithdrawnUpdates  uint64 `json:"withdrawnUpdates"`
	WithdrawnPrefixes uint64 `json:"withdrawnPrefixes"`
}

// ASPath are the systems that a route came through, from the nearest to its origin.
type ASPath []string

// BGPRouteRow is one path to a prefix, as the tenant's speaker has it.
type BGPRouteRow struct {
	Tenant string       `json:"tenant" table:"TENANT"`
	Prefix netip.Prefix `json:"prefix" table:"PREFIX"`
	// Peer that told of it; empty: it is the tenant's own.
	Peer    string     `json:"peer,omitempty" table:"PEER"`
	NextHop netip.Addr `json:"nextHop,omitzero" table:"NEXT HOP"`
	// Interfaces that the next hop resolves to.
	Interfaces []string `json:"interfaces,omitempty" table:"INTERFACES"`
	// ASPath from the nearest system to the origin's.
	ASPath          ASPath   `json:"asPath" table:"AS PATH"`
	Origin          string   `json:"origin"`
	LocalPreference *uint32  `json:"localPreference,omitempty" table:"LOCAL PREF"`
	MED             *uint32  `json:"med,omitempty" table:"MED"`
	Communities     []string `json:"communities,omitempty"`
	// State is used (packets go by it), best (the tenant's own, say), refused, stale (kept while the peer starts again),
	// unknown (the tenant's speaker does not answer, see Why), or empty: another path is better.
	State string `json:"state,omitempty" table:"STATE"`
	// Why it won, lost or was refused.
	Why   string     `json:"why,omitempty" table:"WHY"`
	Since *time.Time `json:"since,omitempty"`
}

// BGPAdvertisedRow is a route that a peer is told of.
type BGPAdvertisedRow struct {
	Tenant          string       `json:"tenant" table:"TENANT"`
	Peer            string       `json:"peer" table:"TO PEER"`
	Prefix          netip.Prefix `json:"prefix" table:"PREFIX"`
	NextHop         netip.Addr   `json:"nextHop,omitzero" table:"NEXT HOP"`
	ASPath          ASPath       `json:"asPath" table:"AS PATH"`
	Origin          string       `json:"origin" table:"ORIGIN"`
	LocalPreference *uint32      `json:"localPreference,omitempty" table:"LOCAL PREF"`
	MED             *uint32      `json:"med,omitempty" table:"MED"`
	Communities     []string     `json:"communities,omitempty" table:"COMMUNITIES"`
	// Error is why the tenant's speaker does not tell what it advertises.
	Error string `json:"error,omitempty" table:"ERROR"`
}
