package hnv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"bulkhead/lab/ipflow"
)

// Control is a control message between the endpoints of NVGRE ([MS-NVGREE] section 2.2): ICMP in the place of a
// tenant's packet, from provider address to provider address, with the frame that gave rise to it behind the header.
type Control struct {
	// Redirect tells that the message is a REDIRECT; otherwise it is an UNREACHABLE.
	Redirect bool
	// From is the provider address of the sender.
	From netip.Addr
	// To is the new provider address in a REDIRECT, the receiver's own in an UNREACHABLE.
	To netip.Addr
	// Offending is the inner frame that the sender could not deliver.
	Offending []byte
}

// ICMP types and codes of the control messages, by the family of the provider addresses.
var (
	redirect4, redirect6       = [2]byte{5, 10}, [2]byte{137, 1}
	unreachable4, unreachable6 = [2]byte{3, 10}, [2]byte{1, 1}
)

// Frame is the message as the inner frame of an NVGRE packet between two endpoints' own MACs.
func (c Control) Frame(source, destination net.HardwareAddr) []byte {
	kind := unreachable4
	switch {
	case c.Redirect && c.From.Is6():
		kind = redirect6
	case c.Redirect:
		kind = redirect4
	case c.From.Is6():
		kind = unreachable6
	}
	body := append(make([]byte, 4), c.Offending...)
	return icmpFrame(source, destination, c.From, c.To, kind[0], kind[1], body)
}

// parseControl reads the control message of an inner frame, if it holds one.
func parseControl(frame []byte) (Control, bool) {
	if len(frame) < etherLen || !isIP(frame) {
		return Control{}, false
	}
	ip := frame[etherLen:]
	flow, err := ipflow.Parse(ip)
	if err != nil || flow.Protocol != ipflow.ICMP && flow.Protocol != ipflow.ICMPv6 || flow.Fragment {
		return Control{}, false
	}
	header, length := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
	redirect, unreachable := redirect4, unreachable4
	if flow.Source.Is6() {
		header, length = ipv6Len, ipv6Len+int(binary.BigEndian.Uint16(ip[4:]))
		redirect, unreachable = redirect6, unreachable6
	}
	kind := [2]byte{flow.Type, flow.Code}
	if kind != redirect && kind != unreachable || length > len(ip) || length < header+8+etherLen ||
		icmpChecksum(ip[:length], header) != 0 {
		return Control{}, false
	}
	offending := ip[header+8 : length]
	return Control{kind == redirect, flow.Source, flow.Destination, offending}, true
}

// String is the message as a person reads it.
func (c Control) String() string {
	inner := "a frame"
	if flow, err := ipflow.Parse(c.Offending[etherLen:]); err == nil {
		inner = flow.String()
	}
	if c.Redirect {
		return fmt.Sprintf("REDIRECT to %v from %v, for %s", c.To, c.From, inner)
	}
	return fmt.Sprintf("UNREACHABLE from %v, for %s", c.From, inner)
}

// believe acts on a control message, if the record that it concerns names its sender. Must hold mu.
func (h *Host) believe(p Packet, c Control) error {
	mac := net.HardwareAddr(c.Offending[:6])
	r := h.policy.owner(p.VSID, mac)
	if c.From != p.Source || r == nil || r.PA != p.Source {
		return DropControl
	}
	if c.Redirect {
		for _, r := range h.policy.move(p.VSID, mac, p.Source, c.To) {
			h.recorder.event(Event{Redirected, r, p.Source})
		}
		return nil
	}
	h.recorder.event(Event{Stale, *r, p.Source})
	h.policy.forget(p.VSID, mac)
	return nil
}

// answerMisdelivered makes what tells the sender of a frame for a VM that is not here where it is, or that it is
// unknown. Must hold mu.
func (h *Host) answerMisdelivered(p Packet, domain string) (Packet, bool) {
	flow, err := ipflow.Parse(p.Inner[etherLen:])
	_, control := parseControl(p.Inner)
	if err != nil || !isIP(p.Inner) || control || p.Inner[0]&1 != 0 || !h.controls.Allow() {
		return Packet{}, false
	}
	c := Control{From: h.config.PA, To: p.Source, Offending: bytes.Clone(p.Inner)}
	r := h.policy.owner(p.VSID, p.Inner[:6])
	if r == nil {
		r = h.policy.record(domain, flow.Destination)
	}
	if r != nil && r.PA != h.config.PA && r.PA != p.Source {
		c.Redirect, c.To = true, r.PA
	}
	// The message must fit where the frame did, whose place it takes.
	c.Offending = c.Offending[:min(len(c.Offending), maxOffending)]
	answer := h.Packet(p.Source, p.VSID, c.Frame(h.mac, p.SourceMAC))
	answer.DestinationMAC = bytes.Clone(p.SourceMAC)
	return answer, true
}

// maxOffending is how much of an offending frame a control message carries, in bytes.
const maxOffending = 512
