// Package bgp keeps one BGP speaker (RFC 4271) for each compartment that has one: a process of its own in the
// compartment's namespace, which outlives the daemon and keeps the compartment's routes by itself.
//
// [Manager] is the daemon's side: it starts speakers, tells them what they are to be and asks them what they are. Package
// speaker is the process, package fib its hand on the kernel's table.
package bgp

import (
	"net/netip"
	"time"
)

// Config is what one compartment's speaker is to be. It travels to the process as JSON, secrets included, by a socket that
// root alone may open.
type Config struct {
	// Tenant that the speaker is for. It labels what the speaker logs.
	Tenant string
	// Identifier is the BGP identifier (RFC 4271, 4.2), an IPv4 address by form.
	Identifier netip.Addr
	// ASN is the local autonomous system number, of 2 or 4 bytes (RFC 6793).
	ASN uint32
	// ClusterID of a route reflector (RFC 4456); not valid: the identifier.
	ClusterID netip.Addr
	// Transit says that what one peer advertises is advertised to the others (Add-BgpRouter -TransitRouting). Without it
	// peers are told of custom routes only. What a route reflector reflects is not touched by it.
	Transit bool
	// MaximumPaths is how many equally good paths to a prefix are used at the same time (ECMP); 1: the best alone.
	MaximumPaths int
	// CompareMEDAcrossASN compares the metrics (MED) of paths of different neighbouring systems too.
	CompareMEDAcrossASN bool
	// RestartTime is for how long peers keep our routes, and the kernel theirs, while the speaker starts again (graceful
	// restart, RFC 4724); 0: not at all.
	RestartTime time.Duration
	// Peers in the order of the declaration.
	Peers []Peer
	// Policies by name, for the peers' imports and exports.
	Policies []Policy
	// Networks are prefixes that are advertised as long as they are here.
	Networks []netip.Prefix
	// Interfaces are the links whose routes are advertised as long as the kernel has them: connected and static routes, not
	// those that BGP itself made.
	Interfaces []string
	// Inside are the virtual subnets. No peer may claim a prefix of theirs.
	Inside []netip.Prefix
	// Sources are the addresses that routes carry as source, one for each family at most (law 7).
	Sources []netip.Addr
	// Guard says that the compartment has a way to the Internet, so that a prefix that was learned and is withdrawn must stay
	// unreachable (law 1).
	Guard bool
}

// Peer is a router of a site.
type Peer struct {
	// Name of the peer, unique in the compartment.
	Name string
	// LocalAddress and Address are the ends of the session, of one address family.
	LocalAddress, Address netip.Addr
	// ASN of the peer; our own for internal BGP.
	ASN uint32
	// Passive: the peer dials, we listen only. Otherwise both (Mixed).
	Passive bool
	// Stopped: the operator stopped the session, or it is to be started by hand and has not been.
	Stopped bool
	// Families that routes are exchanged of, over the one session (RFC 4760).
	IPv4, IPv6 bool
	// Password of the TCP MD5 signature (RFC 2385); empty: none.
	Password Secret
	// HoldTime and KeepaliveInterval in whole seconds (RFC 4271, 10), ConnectRetry between attempts to dial.
	HoldTime, KeepaliveInterval, ConnectRetry time.Duration
	// Hops is how far away the peer may be: the TTL of what is sent to it.
	Hops uint8
	// SecurityHops, where not 0, refuses packets that come from farther away (GTSM, RFC 5082); Hops does not count then.
	SecurityHops uint8
	// BFD watches the peer (RFC 5880, 5881); nil: not.
	BFD *BFD
	// MaximumPrefixes is how many prefixes of one family the peer may advertise; 0: no limit.
	MaximumPrefixes uint32
	// WarnAt is the percentage of MaximumPrefixes from which on a warning is given.
	WarnAt uint8
	// RestartAfter is how long a session that had too many prefixes is down before it is tried again; 0: until an operator
	// resets it.
	RestartAfter time.Duration
	// ReflectorClient: routes of internal peers are reflected to it, and its own to them (RFC 4456).
	ReflectorClient bool
	// AcceptDefault: the peer may advertise 0.0.0.0/0 and ::/0.
	AcceptDefault bool
	// AllowOwnASN is how often our own number may be in the path of what the peer advertises.
	AllowOwnASN uint8
	// NextHopSelf names ourselves as next hop of what is advertised to an internal peer.
	NextHopSelf bool
	// Import and Export name the policies that routes from and to the peer go through, in order. A route that no statement
	// decides on is accepted.
	Import, Export []string
}

// BFD is how a peer is watched: it is gone when nothing came for Multiplier times the interval that both agree on.
type BFD struct {
	// Transmit and Receive are the shortest intervals at which we send, and are willing to be sent to.
	Transmit, Receive time.Duration
	Multiplier        uint8
}

// Policy is a named list of statements. The first whose conditions all hold, and that has an action, decides.
type Policy struct {
	Name       string
	Statements []Statement
}

// Statement is one step of a policy.
type Statement struct {
	// The conditions; those that are empty hold always.

	// Prefixes: the route's prefix is one of these.
	Prefixes []PrefixRange
	// ASPath are regular expressions over the path, numbers with single blanks between; one must match. In an export to an
	// external peer our own number is in front already, and counts for PathLengthAtMost.
	ASPath []string
	// PathLengthAtMost, where not 0, is how many systems the path may have.
	PathLengthAtMost uint32
	// Communities (RFC 1997, such as 65413:100, or a well-known name) and LargeCommunities (RFC 8092): one must be there.
	Communities, LargeCommunities []string
	// NextHops: the next hop is in one of these.
	NextHops []netip.Prefix

	// Action decides; empty: the next statement does.
	Action Action

	// The changes; those that are nil or empty change nothing.

	// LocalPreference (RFC 4271, 5.1.5) and MED (5.1.4) are set.
	LocalPreference, MED *uint32
	// Prepend is how often our own number is put before the path.
	Prepend uint8
	// AddCommunities, RemoveCommunities and SetCommunities (which replace all) are of both kinds.
	AddCommunities, RemoveCommunities, SetCommunities []string
	// NextHop replaces the next hop; not valid: as it is.
	NextHop netip.Addr
}

// Action is what a statement decides.
type Action string

// What can be decided of a route.
const (
	Accept Action = "accept"
	Reject Action = "reject"
)

// PrefixRange are the prefixes inside Prefix whose length is from Min to Max.
type PrefixRange struct {
	Prefix   netip.Prefix
	Min, Max int
}
