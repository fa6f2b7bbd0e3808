package hnv

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"bulkhead/lab/ipflow"
)

// delivery is a frame for the virtual subnet at a provider address, which may be the host's own.
type delivery struct {
	pa    netip.Addr
	vsid  uint32
	frame []byte
}

// verdict is what becomes of a frame of a VM: an answer to the VM itself, or deliveries.
type verdict struct {
	answer []byte
	out    []delivery
}

// egress decides about a frame that a VM in the virtual subnet sent. The error is a Drop. Must hold mu.
func (h *Host) egress(from Subnet, frame []byte) (verdict, error) {
	if len(frame) < etherLen {
		return verdict{}, DropMalformed
	}
	frame = untag(frame)
	destination := net.HardwareAddr(frame[:6])
	m, ok := parseMessage(frame)
	switch {
	case ok:
		return h.resolve(from, m, frame)
	case binary.BigEndian.Uint16(frame[12:]) == etherARP:
		return verdict{}, DropMalformed
	case destination[0]&1 != 0:
		return verdict{}, DropMulticast
	case bytes.Equal(destination, RouterMAC) && !from.ExternalRouter:
		return h.route(from, frame)
	}
	if r := h.policy.owner(from.VSID, destination); r != nil {
		return verdict{out: []delivery{{r.PA, r.VSID, frame}}}, nil
	}
	return verdict{}, DropNoRecord
}

// resolve handles what a VM says by ARP or ND. The filter answers for the distributed router and for the customer
// addresses of the VSID that have records, and nothing goes to the wire; where the asked address is unknown, the VMs
// with L2Only records are asked, each alone.
func (h *Host) resolve(from Subnet, m message, frame []byte) (verdict, error) {
	h.learn(from, m, h.config.PA)
	switch {
	case m.announces():
		return h.announce(from, m, frame)
	case !m.asks:
		return h.reply(from, m, frame)
	case !m.from.IsValid() || m.from.IsUnspecified() || m.from == m.target:
		return verdict{}, DropARP // a probe for duplicates: nobody else may have the address
	case m.target == routerAddress(from.Prefix) && !from.ExternalRouter:
		return verdict{answer: m.answer(RouterMAC).frame(m.sender)}, nil
	}
	if r := h.policy.record(from.RoutingDomain, m.target); r != nil {
		if r.VSID != from.VSID {
			return verdict{}, DropARP
		}
		return verdict{answer: m.answer(r.MAC).frame(m.sender)}, nil
	}
	var v verdict
	for _, r := range h.policy.Records {
		if r.Type == L2Only && r.VSID == from.VSID && !bytes.Equal(r.MAC, m.sender) {
			ask := bytes.Clone(frame)
			copy(ask, r.MAC)
			v.out = append(v.out, delivery{r.PA, r.VSID, ask})
		}
	}
	if len(v.out) == 0 {
		return verdict{}, DropARP
	}
	return v, nil
}

// reply sends a VM's answer on to who asked.
func (h *Host) reply(from Subnet, m message, frame []byte) (verdict, error) {
	if r := h.policy.owner(from.VSID, m.to); r != nil {
		return verdict{out: []delivery{{r.PA, r.VSID, frame}}}, nil
	}
	// The gateway asks with a MAC that is in a virtual subnet of its own: the answer goes back where it came from.
	if pa, ok := h.askers[asker{from.VSID, [6]byte(m.to)}]; ok {
		return verdict{out: []delivery{{pa, from.VSID, frame}}}, nil
	}
	return verdict{}, DropARP
}

// announce tells every host of the virtual subnet, each alone, and the VMs that are here.
func (h *Host) announce(from Subnet, m message, frame []byte) (verdict, error) {
	var v verdict
	for _, pa := range h.policy.peers(from.VSID, h.config.PA) {
		v.out = append(v.out, delivery{pa, from.VSID, frame})
	}
	for _, vm := range h.vms {
		if vm.VSID == from.VSID && !bytes.Equal(vm.MAC, m.sender) {
			local := bytes.Clone(frame)
			copy(local, vm.MAC)
			v.out = append(v.out, delivery{h.config.PA, from.VSID, local})
		}
	}
	return v, nil
}

// route is the distributed router: to another virtual subnet of the routing domain, or by customer route.
func (h *Host) route(from Subnet, frame []byte) (verdict, error) {
	flow, err := ipflow.Parse(frame[etherLen:])
	if err != nil {
		return verdict{}, DropMalformed
	}
	for _, s := range h.policy.Subnets {
		if s.RoutingDomain == from.RoutingDomain && !s.ExternalRouter && flow.Destination == routerAddress(s.Prefix) {
			return pingReply(frame, flow)
		}
	}
	r := h.policy.record(from.RoutingDomain, flow.Destination)
	if r == nil {
		if r, err = h.policy.customerRoute(from.RoutingDomain, flow.Destination); err != nil {
			return verdict{}, err
		}
	}
	frame = bytes.Clone(frame)
	copy(frame, r.MAC)
	return verdict{out: []delivery{{r.PA, r.VSID, frame}}}, nil
}

// customerRoute finds the record of the next hop towards an address that no record names.
func (p *Policy) customerRoute(domain string, to netip.Addr) (*Record, error) {
	for _, s := range p.Subnets {
		if s.RoutingDomain == domain && s.Prefix.Contains(to) {
			return nil, DropNoRecord
		}
	}
	var best *Route
	for i, r := range p.Routes {
		if r.RoutingDomain == domain && r.Prefix.Contains(to) && (best == nil || r.Prefix.Bits() > best.Prefix.Bits()) {
			best = &p.Routes[i]
		}
	}
	if best == nil {
		return nil, DropNoRoute
	}
	if r := p.record(domain, best.NextHop); r != nil {
		return r, nil
	}
	return nil, DropNoRoute
}

// pingReply turns an echo request for the router round.
func pingReply(frame []byte, flow ipflow.Flow) (verdict, error) {
	reply := bytes.Clone(frame)
	ip := reply[etherLen:]
	header, length := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
	kind := byte(echoReply4)
	if flow.Source.Is6() {
		header, length, kind = ipv6Len, ipv6Len+int(binary.BigEndian.Uint16(ip[4:])), echoReply6
	}
	isPing := flow.Protocol == ipflow.ICMP && flow.Type == echoRequest4 ||
		flow.Protocol == ipflow.ICMPv6 && flow.Type == echoRequest6
	switch {
	case !isPing:
		return verdict{}, DropToRouter
	case length > len(ip) || length < header+8:
		return verdict{}, DropMalformed
	}
	copy(reply, frame[6:12])
	copy(reply[6:], RouterMAC)
	source, destination := flow.Source.AsSlice(), flow.Destination.AsSlice()
	addresses := ip[12:]
	if flow.Source.Is6() {
		addresses = ip[8:]
	}
	copy(addresses, destination)
	copy(addresses[len(destination):], source)
	icmp := ip[header:length]
	icmp[0], icmp[2], icmp[3] = kind, 0, 0
	binary.BigEndian.PutUint16(icmp[2:], icmpChecksum(ip[:length], header))
	return verdict{answer: reply}, nil
}
