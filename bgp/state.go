package bgp

import (
	"net/netip"
	"time"
)

// Status is a speaker as a whole.
type Status struct {
	// Protocol is the version of what is spoken by the socket: a daemon replaces a speaker that speaks another one.
	Protocol int
	// Version of the binary that runs, PID its process.
	Version string
	PID     int
	// Since when it runs.
	Since time.Time
	// Configured: it has been told what to be.
	Configured bool
	// Restarting: it goes on where a predecessor ended, and keeps that one's routes until its peers have told theirs.
	Restarting bool
	// Routes that it has in the kernel's table by family, and learned ones that it keeps unreachable since they were
	// withdrawn (law 1).
	IPv4Routes, IPv6Routes, Withdrawn int
	// PrivateBytes is the memory that it shares with nobody.
	PrivateBytes uint64
}

// States of a session. The others are RFC 4271's (8.2.2), in small letters.
const (
	// Established sessions exchange routes.
	Established = "established"
	// Stopped is a session that the operator stopped, or that is to be started by hand and was not.
	Stopped = "stopped"
	// OverLimit is one whose peer had too many prefixes.
	OverLimit = "overLimit"
)

// PeerState is a peer as the speaker has it.
type PeerState struct {
	Name                  string
	Address, LocalAddress netip.Addr
	ASN                   uint32
	// State of the session: idle, connect, active, opensent, openconfirm, [Established], [Stopped] or [OverLimit].
	State string
	// Since is when the session came to be established, or when it ended; zero: it never was.
	Since time.Time
	// Flaps is how often it ended.
	Flaps uint32
	// LastError is why the session is not established, or last ended.
	LastError   string
	LastErrorAt time.Time
	// PeerIdentifier is what the peer calls itself.
	PeerIdentifier netip.Addr
	// HoldTime and KeepaliveInterval that were agreed on.
	HoldTime, KeepaliveInterval time.Duration
	// Capabilities that both have, by name.
	Capabilities []string
	// Interface is the link that the peer is reached by; empty: by none.
	Interface string
	// MD5 tells what the kernel's sockets say: "", "on", or why it is not on although it is declared.
	MD5 string
	// BFD is the state of the watch: "", down, init, up.
	BFD string
	// Families by name, ipv4 and ipv6.
	Families []FamilyState
	// Messages by direction and kind.
	Received, Sent Messages
	// Refused counts what was refused of the peer, by reason.
	Refused map[string]uint64
}

// FamilyState is what a session carries of one family.
type FamilyState struct {
	Name string
	// Received are prefixes that the peer advertises, Accepted those that passed policy, Advertised what it is told.
	Received, Accepted, Advertised uint64
	// Limit is how many it may advertise; 0: any number.
	Limit uint32
}

// Messages counts messages of a session (RFC 4271, 4.1).
type Messages struct {
	Total, Open, Update, Notification, Keepalive, Refresh, Discarded uint64
	// WithdrawnUpdates and WithdrawnPrefixes are malformed updates that were treated as withdrawals (RFC 7606).
	WithdrawnUpdates, WithdrawnPrefixes uint64
}

// RouteQuery chooses routes.
type RouteQuery struct {
	// Prefix, where valid, chooses this prefix, with Longer those in it too, with Covering those that cover it.
	Prefix           netip.Prefix
	Longer, Covering bool
	// Peer, where named, chooses what came from it; of advertised routes it must be named.
	Peer string
	// Limit is how many prefixes are told at most; 0: all.
	Limit int
}

// Route is one path to a prefix.
type Route struct {
	Prefix netip.Prefix
	// Peer that it came from; empty: our own.
	Peer    string
	NextHop netip.Addr
	// Interfaces that the next hop resolves to now.
	Interfaces []string
	// ASPath from the nearest system to the origin's, sets in braces.
	ASPath          []string
	Origin          string // igp, egp, incomplete
	LocalPreference *uint32
	MED             *uint32
	Communities     []string
	// Best: it is the best path. Used: packets go by it, alone or beside others.
	Best, Used bool
	// Refused: it did not pass our policy, so that it is in no selection.
	Refused bool
	// Why tells, of a best path, what it won by; of another, why it is not used: the step of the selection that it lost
	// (RFC 4271, 9.1.2), or why it was refused.
	Why string
	// Stale: kept while the peer starts again (RFC 4724).
	Stale bool
	// Since it is known.
	Since time.Time
}
