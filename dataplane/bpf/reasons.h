// SPDX-License-Identifier: Apache-2.0
// Why a door drops a packet. Go reads these names from the object's type information: DOOR1_UNKNOWN_VSID is shown as
// "unknown-vsid" of "door1". The numbers are part of what pinned maps hold, so a reason is only ever added at an end.
#pragma once

enum reason {
	// From the provider network.
	DOOR1_NOT_UNICAST = 1,      // to the provider address, but in a broadcast or multicast frame
	DOOR1_OUTER_FRAGMENT = 2,   // a fragment of an outer packet: never reassembled, never guessed
	DOOR1_OUTER_OPTIONS = 3,    // outer IPv4 options or IPv6 extension headers
	DOOR1_OUTER_LENGTH = 4,     // the outer packet says another length than the frame has, or is too short
	DOOR1_NOT_NVGRE = 5,        // to the provider address, neither NVGRE nor an ICMP echo
	DOOR1_GRE_HEADER = 6,       // GRE flags other than "key present", or another version
	DOOR1_GRE_PROTOCOL = 7,     // GRE that carries something else than Ethernet
	DOOR1_UNKNOWN_VSID = 8,     // no tenant has that virtual subnet
	DOOR1_UNLISTED_PROVIDER = 9, // no record of the routing domain names the sender's provider address
	DOOR1_INNER_VLAN = 10,      // the inner frame carries a VLAN tag
	DOOR1_INNER_MAC = 11,       // the inner frame is for another MAC address than the gateway's interface has
	DOOR1_INNER_ARP = 12,       // ARP other than a request for one of the gateway's addresses in that subnet
	DOOR1_INNER_ND = 13,        // neighbour discovery other than a solicitation of one of those addresses
	DOOR1_INNER_ETHERTYPE = 14, // the inner frame is neither IP nor ARP
	DOOR1_INNER_LENGTH = 15,    // a malformed or truncated inner IP packet
	// From a compartment.
	DOOR1_UNKNOWN_LINK = 16,    // from a link that belongs to no tenant
	DOOR1_NOT_IP = 17,          // neither IPv4 nor IPv6, or tagged
	DOOR1_LINK_SCOPE = 18,      // multicast, broadcast or link-local (MLD, router solicitations): not carried
	DOOR1_NO_RECORD = 19,       // no lookup record for the destination in the routing domain
	DOOR1_MALFORMED = 20,       // not a whole IP header
	DOOR1_NOT_READY = 21,       // no way to the host: its provider address has no route, or is the gateway's own
	DOOR1_KERNEL_REFUSED = 22,  // the kernel could not add, remove or resize headers (memory, frame layout)
	DOOR1_TOO_BIG = 23,         // larger than the provider network's MTU when encapsulated
	// From the provider network again.
	DOOR1_WRONG_VLAN = 24,      // to a provider address, in another VLAN than that address is in
	DOOR1_WRONG_PROVIDER = 25,  // of a virtual subnet that uses another of the gateway's provider addresses
	DOOR1_INNER_CONGESTION = 26, // congestion on the way, of which the inner packet's sender could not learn (RFC 6040)
	DOOR1_OUTER_TOO_BIG = 27,   // an ICMP error that says that our NVGRE packets are too large on the way
	// From a compartment again.
	DOOR1_NEIGHBOUR = 28,       // ARP or a neighbour solicitation from a compartment for an address without a record
	// Messages to the daemon.
	DOOR1_REFUSED = 29,         // the daemon did not believe it; counted by the daemon alone
	DOOR1_TOO_MANY = 30,        // more of them than a tenant may send
	// Under the rule rewrite.
	DOOR1_NO_STAND_IN = 31,     // from an address of a compartment that no provider address stands for

	// From the Internet.
	DOOR2_NOT_UNICAST = 64,     // to a tenant's address, but in a broadcast or multicast frame
	DOOR2_UNOWNED_ADDRESS = 65, // an address of the NAT pool that no tenant owns
	DOOR2_UNOWNED_PORT = 66,    // a shared address, but a protocol, port or ICMP id that no tenant owns
	DOOR2_FRAGMENT = 67,        // a later fragment of a shared address: it has no port to tell the tenant by
	DOOR2_ICMP_EMBEDDED = 68,   // an ICMP error whose embedded packet no tenant can have sent
	DOOR2_NEIGHBOUR = 69,       // neighbour discovery for a tenant's address that is not a solicitation
	DOOR2_MALFORMED = 70,       // truncated or with a malformed IP or transport header
	// From a compartment.
	DOOR2_UNKNOWN_LINK = 71,    // from a link that belongs to no tenant
	DOOR2_NOT_IP = 72,          // neither IPv4 nor IPv6, or tagged
	DOOR2_LINK_SCOPE = 73,      // to a multicast, broadcast or link-local destination, or neighbour discovery
	DOOR2_SOURCE_NOT_OWNED = 74, // the source address, port or ICMP id is not the tenant's
	DOOR2_TO_GATEWAY = 75,      // to an address of the gateway itself
	DOOR2_NOT_READY = 76,       // the gateway's external link is not set
	DOOR2_KERNEL_REFUSED = 77,  // the kernel could not resize the frame
	// From the Internet again.
	DOOR2_OVER_LIMIT = 78,      // ESP from a peer beyond what its tunnels may receive, with headroom
};
