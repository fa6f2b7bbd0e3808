package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"bulkhead/dataplane"
)

// TraceRequest asks what becomes of a packet.
type TraceRequest struct {
	Tenant string     `json:"tenant"`
	From   netip.Addr `json:"from"`
	To     netip.Addr `json:"to"`
	// Protocol is tcp, udp or icmp; an icmp packet is an echo request.
	Protocol string `json:"protocol"`
	// SourcePort is the identifier of an echo request.
	SourcePort      uint16 `json:"sourcePort"`
	DestinationPort uint16 `json:"destinationPort"`
	// VSID and ProviderAddress say how a host sends the packet, where that is to be other than policy has it; 0 and
	// invalid if not.
	VSID            uint32     `json:"vsid,omitempty"`
	ProviderAddress netip.Addr `json:"providerAddress,omitzero"`
	// Interface is what the packet comes in by, where that is to be other than follows from its source: a site-to-site
	// interface, or the external one.
	Interface string `json:"interface,omitempty"`
}

// Verdict is how the way of a packet ends.
type Verdict string

const (
	// VerdictDelivered is for a packet that leaves the gateway, or is for a compartment itself.
	VerdictDelivered Verdict = "delivered"
	// VerdictDropped is for one that is dropped in silence.
	VerdictDropped Verdict = "dropped"
	// VerdictRefused is for one that is dropped and whose sender is told by an ICMP error.
	VerdictRefused Verdict = "refused"
	// VerdictUnknown is for one of which the gateway cannot tell.
	VerdictUnknown Verdict = "unknown"
)

// Trace is the way of a packet that was not sent.
type Trace struct {
	Steps   []TraceStep `json:"steps"`
	Verdict Verdict     `json:"verdict"`
	// Tenant, Where and Reason are the counter of `show drops` that would count the packet, or what else ends its way.
	// Where no tenant can be told, there is none.
	Tenant string `json:"tenant,omitempty"`
	Where  string `json:"where,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Text is the end in words.
	Text string `json:"text"`
}

// TraceStep is one place on the way.
type TraceStep struct {
	// Tenant whose packet it is there; empty where that is still to be told.
	Tenant string `json:"tenant,omitempty" table:"TENANT"`
	Where  string `json:"where" table:"WHERE"`
	// Packet as it comes there.
	Packet string `json:"packet" table:"PACKET"`
	// Text says what happens to it.
	Text string `json:"text" table:"WHAT HAPPENS"`
}

// Trace follows a packet through the doors and the compartment, and says where it goes or why it dies. It asks the
// programs, the routing and the sessions of the kernel, the declaration in force and charon; it sends nothing, counts
// nothing and makes no session. Of a packet without a session it tells what becomes of a first one.
func (g *Gateway) Trace(ctx context.Context, r TraceRequest) (*Trace, error) {
	plan, err := g.inForce()
	if err != nil {
		return nil, err
	}
	t := plan.tenant(r.Tenant)
	if t == nil {
		return nil, fmt.Errorf("no tenant is called %q; declared are %v", r.Tenant, plan.names())
	}
	p, err := r.probe()
	if err != nil {
		return nil, fmt.Errorf("tenant %s: %w", t.Name, err)
	}
	w := &walk{ctx: ctx, g: g, plan: plan, trace: &Trace{}}
	if err := w.begin(t, r, p); err != nil {
		return nil, fmt.Errorf("tenant %s: trace: %w", t.Name, err)
	}
	return w.trace, nil
}

// probe is the packet that is asked for.
func (r TraceRequest) probe() (dataplane.Probe, error) {
	p := dataplane.Probe{
		From: r.From.Unmap(), To: r.To.Unmap(), SourcePort: r.SourcePort, DestinationPort: r.DestinationPort,
	}
	switch {
	case !p.From.IsValid() || !p.To.IsValid():
		return p, errors.New("a trace needs the address that the packet is from, and the one that it is for")
	case p.From.Zone()+p.To.Zone() != "":
		return p, errors.New("addresses with a zone mean one link only: a trace takes others")
	case p.From.Is4() != p.To.Is4():
		return p, fmt.Errorf("%v and %v are of different address families", p.From, p.To)
	}
	switch r.Protocol {
	case "tcp":
		p.Protocol = unix.IPPROTO_TCP
	case "udp":
		p.Protocol = unix.IPPROTO_UDP
	case "icmp":
		p.Protocol, p.DestinationPort = unix.IPPROTO_ICMP, 0
		if p.From.Is6() {
			p.Protocol = unix.IPPROTO_ICMPV6
		}
	default:
		return p, fmt.Errorf("protocol %q is none of tcp, udp and icmp", r.Protocol)
	}
	return p, nil
}
