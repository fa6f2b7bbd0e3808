package gateway

import (
	"context"
	"fmt"
	"net/netip"

	"bulkhead/compartments"
	"bulkhead/dataplane"
	"bulkhead/internal/netns"
	"bulkhead/nat"
	"bulkhead/vpn"
)

// mostCompartments ends the way of a packet that goes from tenant to tenant in a circle.
const mostCompartments = 4

// walk is a trace that is being made.
type walk struct {
	ctx    context.Context
	g      *Gateway
	plan   *Plan
	trace  *Trace
	tenant string // whose packet it is by now; empty where that is still to be told
	seen   int    // compartments
}

func (w *walk) step(where string, p dataplane.Probe, format string, args ...any) {
	w.trace.Steps = append(w.trace.Steps, TraceStep{
		Tenant: w.tenant, Where: where, Packet: words(p), Text: fmt.Sprintf(format, args...),
	})
}

// end is the last step.
func (w *walk) end(where string, p dataplane.Probe, v Verdict, reason, format string, args ...any) error {
	w.step(where, p, format, args...)
	w.trace.Verdict, w.trace.Text = v, w.trace.Steps[len(w.trace.Steps)-1].Text
	if v != VerdictDelivered {
		w.trace.Tenant, w.trace.Where, w.trace.Reason = w.tenant, where, reason
	}
	return nil
}

// hop goes on from what a door does with a packet.
func (w *walk) hop(door string, p dataplane.Probe, h dataplane.Hop) error {
	switch h.Outcome {
	case dataplane.Dropped:
		w.tenant = h.Tenant
		return w.end(h.Reason.Where, p, VerdictDropped, h.Reason.Name, "drops it: %s", h.Reason.Name)
	case dataplane.Passed:
		return w.end(door, p, VerdictUnknown, "not-a-tenants",
			"is for no tenant: the door leaves it to the Default compartment")
	case dataplane.ToInternet:
		return w.end(door, p, VerdictDelivered, "", "sends it to the Internet")
	case dataplane.ToHost:
		if h.Outer.VSID == 0 {
			return w.end(door, p, VerdictDelivered, "", "rewrites it to %v > %v and sends it to the host", h.Outer.Local, h.Outer.PA)
		}
		return w.end(door, p, VerdictDelivered, "", "sends it from %v to the host at %v, in VSID %d to the MAC address %v",
			h.Outer.Local, h.Outer.PA, h.Outer.VSID, h.Outer.To)
	}
	for _, t := range w.plan.Tenants {
		for _, l := range t.Compartment.Links {
			if l.Peer == h.Link && l.Peer != "" {
				w.tenant = t.Name
				w.step(door, p, "lets it into the compartment by %s", l.Name)
				return w.compartment(t, l.Name, h.Probe)
			}
		}
	}
	return fmt.Errorf("%s leads by link %s, which is declared for no tenant", door, h.Link)
}

// compartment takes the packet through a compartment: from a link, or from the compartment itself where that is empty.
func (w *walk) compartment(t *TenantPlan, link string, p dataplane.Probe) error {
	if w.seen++; w.seen > mostCompartments {
		return w.end("compartment", p, VerdictUnknown, "circle", "passed %d compartments: it goes in a circle", mostCompartments)
	}
	ns, err := w.g.compartments.Open(t.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	if link != "" && t.Compartment.Spoofed(link, p.From) {
		return w.end("compartment", p, VerdictDropped, "spoofed-source",
			"drops it: its source belongs inside, and it comes from outside by %s", link)
	}
	passage, err := t.NAT.Arrive(ns, link, natPacket(p))
	if err != nil {
		return err
	}
	if dropped, err := w.filter(t, link, true, p, passage); dropped || err != nil {
		return err
	}
	if passage.Reason != "" {
		return w.refuse(p, passage)
	}
	before := p
	p.To = passage.Destination.Addr()
	if !p.Echo() {
		p.DestinationPort = passage.Destination.Port()
	}
	if p != before {
		w.step("nat", before, "translates the destination to %s%s", passage.Destination, ofSession(passage))
	}
	return w.route(t, ns, link, p, passage)
}

// route asks the compartment's routing where the packet goes.
func (w *walk) route(t *TenantPlan, ns *netns.Namespace, link string, p dataplane.Probe, passage nat.Passage) error {
	way, err := w.g.compartments.Lookup(ns, compartments.Packet{
		From: p.From, To: p.To, Link: link, Protocol: p.Protocol, SourcePort: p.SourcePort, DestinationPort: p.DestinationPort,
	})
	if err != nil {
		return err
	}
	const where = "routing"
	switch {
	case way.Local:
		return w.end(where, p, VerdictDelivered, "", "is for the compartment itself")
	case way.Refused != "":
		verdict := VerdictDropped
		if way.Answered {
			verdict = VerdictRefused
		}
		return w.end(where, p, verdict, "unreachable", "refuses it: %s, %s", way.Refused, routeWords(way.Route))
	}
	via := ""
	if way.Via.IsValid() {
		via = " via " + way.Via.String()
	}
	w.step(where, p, "sends it out by %s%s, %s", way.Link, via, routeWords(way.Route))
	if dropped, err := w.filter(t, way.Link, false, p, passage); dropped || err != nil {
		return err
	}
	passage = t.NAT.Leave(passage, way.Link)
	if passage.Reason != "" {
		return w.refuse(p, passage)
	}
	before := p
	p.From, p.SourcePort = passage.Source.Addr(), passage.Source.Port()
	if p != before {
		w.step("nat", before, "translates the source to %s%s", publicSource(passage), ofSession(passage))
	}
	return w.leave(t, way.Link, p)
}

// leave takes the packet out of a compartment by a link.
func (w *walk) leave(t *TenantPlan, link string, p dataplane.Probe) error {
	for _, l := range t.Compartment.Links {
		switch {
		case l.Name != link:
			continue
		case l.Kind == compartments.XFRM:
			return w.intoTunnel(t, link, p)
		case l.Peer == "":
			return w.end(link, p, VerdictDelivered, "", "leaves by %s", link)
		}
		h, err := w.g.doors.TraceFromCompartment(l.Peer, p)
		if err != nil {
			return err
		}
		door := "door1"
		if l.Name == externalLink {
			door = "door2"
		}
		return w.hop(door, p, h)
	}
	return w.end(link, p, VerdictDelivered, "", "leaves by %s, which is not declared", link)
}

func (w *walk) intoTunnel(t *TenantPlan, site string, p dataplane.Probe) error {
	tunnel, said := w.tunnel(t, site)
	where := "tunnel " + site
	switch tunnel.State {
	case vpn.Connected:
		return w.end(where, p, VerdictDelivered, "", "takes it, encrypted, to the site; it is %s", said)
	case "":
		return w.end(where, p, VerdictUnknown, "unknown", "is %s", said)
	}
	return w.end(where, p, VerdictDropped, string(tunnel.State),
		"is %s; the packet makes charon dial, where the interface dials on demand, and is lost meanwhile", said)
}

// refuse ends the way of a packet that NAT's guards drop.
func (w *walk) refuse(p dataplane.Probe, passage nat.Passage) error {
	if passage.Answered {
		return w.end("nat", p, VerdictRefused, passage.Reason, "refuses it with an ICMP error: %s", passage.Reason)
	}
	return w.end("nat", p, VerdictDropped, passage.Reason, "drops it: %s", passage.Reason)
}

// natPacket is the packet as NAT sees it: an echo's identifier stands for both ports.
func natPacket(p dataplane.Probe) nat.Packet {
	to := p.DestinationPort
	if p.Echo() {
		to = p.SourcePort
	}
	return nat.Packet{
		Protocol: p.Protocol, Source: netip.AddrPortFrom(p.From, p.SourcePort), Destination: netip.AddrPortFrom(p.To, to),
	}
}
