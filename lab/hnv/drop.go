package hnv

// Drop is the reason for which a host dropped a frame.
type Drop string

// The reasons. Those of the first group concern frames from the wire, those of the second frames from a VM.
const (
	DropMalformed     Drop = "malformed"       // cut short, bad header checksum or a fragment
	DropBadGRE        Drop = "bad-gre"         // flags, version or protocol are not NVGRE's
	DropBadInner      Drop = "bad-inner"       // no whole Ethernet header inside
	DropVLAN          Drop = "inner-vlan"      // RFC 7637 section 3.2: a receiver drops a tagged inner frame
	DropECN           Drop = "congestion"      // RFC 6040 section 4.2: congestion that the inner packet cannot carry
	DropUnknownVSID   Drop = "unknown-vsid"    // no VM of this host is in it
	DropUnknownSource Drop = "unknown-source"  // no record of the routing domain names the sender's PA
	DropNoVM          Drop = "no-such-vm"      // no VM of the VSID has the inner destination MAC
	DropControl       Drop = "refused-control" // a REDIRECT or UNREACHABLE from a PA that the record does not name

	DropNoRecord    Drop = "no-record"           // the CA is in a virtual subnet, but no record names it
	DropNoRoute     Drop = "no-route"            // the CA is elsewhere, and no customer route leads there
	DropARP         Drop = "unanswered-arp"      // ARP or ND for a CA that no record names
	DropMulticast   Drop = "multicast"           // broadcast and multicast are not carried
	DropToRouter    Drop = "to-router"           // to the router's own address, and not a ping
	DropSend        Drop = "could-not-send"      // refused by the NIC, as too long a frame is
	DropNoNeighbour Drop = "unresolved-provider" // too many frames wait for the MAC of one PA
)

// Error makes a Drop usable as the error of Parse.
func (d Drop) Error() string { return "dropped: " + string(d) }
