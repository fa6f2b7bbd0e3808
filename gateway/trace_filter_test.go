package gateway

import (
	"net/netip"
	"slices"
	"testing"
)

// filteredYAML names what leaves the virtual network for the Internet and is forbidden, and what may enter it.
const filteredYAML = `  filters:
    - interface: IfCi1
      direction: outbound
      action: allow
      list: ["10.0.0.10:65.10.10.101:any", "10.0.0.0/24:10.0.3.11:UDP:8000-9000:7000-65535", "any:65.10.10.102:TCP"]
    - interface: IfCi1
      direction: inbound
      action: deny
      established: allow
      list: ["any:10.0.0.10:UDP:0:5353", "10.0.0.0/24:10.0.3.10:any"]
`

// filteredCases are packets by filteredYAML. Filters see addresses as the inside does.
var filteredCases = []tracedCase{
	{name: "out by NAT", from: "10.0.0.10", to: "65.10.10.100", verdict: VerdictDelivered},
	{name: "out, forbidden", from: "10.0.0.10", to: "65.10.10.101", verdict: VerdictDropped, where: "filter",
		reason: "forbidden", says: "the outbound filter of IfCi1 drops it, by its rule 10.0.0.10/32:65.10.10.101/32:any"},
	{name: "forbidden for another protocol", from: "10.0.0.10", to: "65.10.10.102", verdict: VerdictDelivered},
	{name: "mapped to an allowed port", from: "65.10.10.100", to: "131.107.10.12", dport: 53, verdict: VerdictDelivered,
		arrives: 5353},
	{name: "to another VM", from: "10.0.0.10", to: "10.0.3.10", verdict: VerdictDelivered},
	{name: "own packet, not allowed", from: "10.0.254.2", to: "10.0.0.10", verdict: VerdictDropped, where: "filter",
		reason: "not-allowed", says: "the inbound filter of IfCi1 drops it, as no rule of its list names it"},
	{name: "own packet, allowed", from: "10.0.254.2", to: "10.0.0.10", dport: 5353, arrives: 5353, verdict: VerdictDelivered},
	{name: "own packet to the Internet", from: "10.0.254.2", to: "65.10.10.101", verdict: VerdictDelivered},
	{name: "unreachable before it is filtered", from: "10.0.0.10", to: "10.1.0.5", verdict: VerdictRefused,
		where: "routing", reason: "unreachable"},
}

// What answers a packet from inside is a reply to a trace as to the filter, which lets it in.
func TestTraceKnowsTheReplyThatAFilterLetsIn(t *testing.T) {
	d := newTraced(t, tracedYAML+filteredYAML)
	question := TraceRequest{
		From: netip.MustParseAddr("10.0.0.10"), To: netip.MustParseAddr("65.10.10.100"), SourcePort: 9000, DestinationPort: 9053,
	}
	answer := TraceRequest{
		Tenant: "Contoso", From: question.To, To: netip.MustParseAddr("131.107.10.12"), Protocol: "udp",
		SourcePort: question.DestinationPort, DestinationPort: question.SourcePort,
	}
	before, err := d.Trace(t.Context(), answer)
	must(t, err)
	if before.Verdict != VerdictDropped {
		t.Errorf("before the question its answer is %s: %s", before.Verdict, before.Text)
	}
	d.sendAsHost(t, question, "192.168.0.22", interfaceMAC, 6001)
	d.internet.receive(t, question.DestinationPort)
	after, err := d.Trace(t.Context(), answer)
	must(t, err)
	if after.Verdict != VerdictDelivered || !slices.ContainsFunc(after.Steps, func(s TraceStep) bool {
		return s.Where == "filter" && s.Text == "the inbound filter of IfCi1 passes it, as a reply"
	}) {
		t.Errorf("after the question its answer is %s: %+v", after.Verdict, after.Steps)
	}
	d.sendFromInternet(t, answer)
	d.backend.receive(t, question.SourcePort)
}
