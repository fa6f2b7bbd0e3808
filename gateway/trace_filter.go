package gateway

import (
	"fmt"

	"golang.org/x/sys/unix"

	"bulkhead/dataplane"
	"bulkhead/filters"
	"bulkhead/nat"
)

// filter holds the packet against the filter of the link that it arrives on, or leaves by, and tells whether it dies
// there.
func (w *walk) filter(t *TenantPlan, link string, arriving bool, p dataplane.Probe, passage nat.Passage) (dropped bool, err error) {
	found := filters.Judge(t.Filters, link, arriving, filteredPacket(p, passage))
	if !found.Governed {
		return false, nil
	}
	name := fmt.Sprintf("the %s filter of %s", direction(t.tenant, link, arriving), link)
	why := "by its rule " + found.Rule
	switch found.Rule {
	case filters.Replies:
		why = "as a reply"
	case filters.Rest:
		why = "as no rule of its list names it"
	}
	if found.Pass {
		w.step("filter", p, "%s passes it, %s", name, why)
		return false, nil
	}
	return true, w.end("filter", p, VerdictDropped, found.Reason, "%s drops it, %s", name, why)
}

// filteredPacket is the packet as a filter sees it. A traced ICMP packet is an echo request.
func filteredPacket(p dataplane.Probe, passage nat.Passage) filters.Packet {
	packet := filters.Packet{
		Source: p.From, Destination: p.To, Protocol: p.Protocol, SourcePort: p.SourcePort, DestinationPort: p.DestinationPort,
		Reply: passage.Reply(),
	}
	switch p.Protocol {
	case unix.IPPROTO_ICMP:
		packet.ICMP.Type = 8
	case unix.IPPROTO_ICMPV6:
		packet.ICMP.Type = 128
	}
	return packet
}
