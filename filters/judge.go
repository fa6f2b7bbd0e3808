package filters

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"bulkhead/internal/nft"
)

// Packet is a packet as a filter sees it.
type Packet struct {
	Source, Destination netip.Addr
	// Protocol is the IP protocol number.
	Protocol uint8
	// SourcePort and DestinationPort of TCP and UDP.
	SourcePort, DestinationPort uint16
	// ICMP is the type and code of ICMP and ICMPv6.
	ICMP ICMP
	// Reply tells that it answers a packet of a connection that passed before.
	Reply bool
}

// Finding is what a filter makes of a packet.
type Finding struct {
	// Governed tells that there is a filter for it; else it passes, and the rest is empty.
	Governed bool
	// Pass tells that it passes.
	Pass bool
	// Rule is the text of the rule that names it, or [Replies] or [Rest] as in a [Hit].
	Rule string
	// Reason is the counter of [Drops] under which it is dropped.
	Reason string
}

// Judge tells what is made of a packet that arrives on a link, or leaves by it, from the declaration alone. Messages of
// neighbour discovery, which the kernel's filters pass, are judged as any other.
func Judge(all []Filter, link string, arriving bool, p Packet) Finding {
	for _, f := range all {
		if f.Link == link && f.Arriving == arriving && f.governs(nft.FamilyOf(p.Source)) {
			return f.judge(p)
		}
	}
	return Finding{Pass: true}
}

func (f Filter) judge(p Packet) Finding {
	if f.Established && p.Reply {
		return Finding{Governed: true, Pass: true, Rule: Replies}
	}
	for _, r := range f.Rules {
		switch {
		case !r.names(p):
		case f.Pass:
			return Finding{Governed: true, Rule: r.Text, Reason: forbidden}
		default:
			return Finding{Governed: true, Pass: true, Rule: r.Text}
		}
	}
	if f.Pass {
		return Finding{Governed: true, Pass: true, Rule: Rest}
	}
	return Finding{Governed: true, Rule: Rest, Reason: notAllowed}
}

// names tells whether the packet is one of those that match matches.
func (r Rule) names(p Packet) bool {
	family, _ := r.family()
	hasPorts := p.Protocol == unix.IPPROTO_TCP || p.Protocol == unix.IPPROTO_UDP
	return (family == 0 || family == nft.FamilyOf(p.Source)) &&
		(!r.Source.IsValid() || r.Source.Contains(p.Source)) &&
		(!r.Destination.IsValid() || r.Destination.Contains(p.Destination)) &&
		(r.Protocol == 0 || r.Protocol == p.Protocol) &&
		(!hasPorts || r.SourcePorts.contain(p.SourcePort) && r.DestinationPorts.contain(p.DestinationPort)) &&
		(r.ICMP == nil || *r.ICMP == p.ICMP)
}

func (p Ports) contain(port uint16) bool {
	return p == Ports{} || p.First <= port && port <= p.Last
}
