package hnv

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"bulkhead/lab/ipflow"
)

// Subnet is a virtual subnet of a routing domain. Its lowest address is the distributed router's.
type Subnet struct {
	RoutingDomain string
	VSID          uint32
	Prefix        netip.Prefix
}

// Record says where a customer address lives.
type Record struct {
	RoutingDomain string
	VSID          uint32
	CA            netip.Addr
	MAC           net.HardwareAddr
	PA            netip.Addr
}

// Route is a customer route: what is in no virtual subnet of the routing domain goes to NextHop, which has a record.
type Route struct {
	RoutingDomain string
	Prefix        netip.Prefix
	NextHop       netip.Addr
}

// Policy is what the controller of a real data centre tells every host: all of it is known to all hosts.
type Policy struct {
	Subnets []Subnet
	Records []Record
	Routes  []Route
}

// RouterMAC is the distributed router's MAC, the same on every host.
var RouterMAC = net.HardwareAddr{0x02, 0x48, 0x4e, 0x56, 0x00, 0x01}

// verdict is what becomes of a frame of a VM: an answer to the VM itself, or the record of who gets it.
type verdict struct {
	answer []byte
	to     *Record
	frame  []byte
}

// subnet finds the virtual subnet of a VSID.
func (p *Policy) subnet(vsid uint32) (Subnet, bool) {
	for _, s := range p.Subnets {
		if s.VSID == vsid {
			return s, true
		}
	}
	return Subnet{}, false
}

// names tells whether a record of the routing domain names the provider address.
func (p *Policy) names(domain string, pa netip.Addr) bool {
	for _, r := range p.Records {
		if r.RoutingDomain == domain && r.PA == pa {
			return true
		}
	}
	return false
}

func (p *Policy) record(domain string, ca netip.Addr) *Record {
	for i, r := range p.Records {
		if r.RoutingDomain == domain && r.CA == ca {
			return &p.Records[i]
		}
	}
	return nil
}

// egress decides about a frame that a VM in the virtual subnet sent. The error is a Drop.
func (p *Policy) egress(from Subnet, frame []byte) (verdict, error) {
	if len(frame) < etherLen {
		return verdict{}, DropMalformed
	}
	frame = untag(frame)
	destination := net.HardwareAddr(frame[:6])
	kind := binary.BigEndian.Uint16(frame[12:])
	switch {
	case kind == etherARP:
		return p.arp(from, frame)
	case destination[0]&1 != 0:
		return verdict{}, DropMulticast
	case bytes.Equal(destination, RouterMAC):
		return p.route(from, frame)
	}
	for i, r := range p.Records {
		if r.VSID == from.VSID && bytes.Equal(r.MAC, destination) {
			return verdict{to: &p.Records[i], frame: frame}, nil
		}
	}
	return verdict{}, DropNoRecord
}

// arp answers for the distributed router and for the customer addresses of the VSID that have records; what is asked
// never goes to the wire.
func (p *Policy) arp(from Subnet, frame []byte) (verdict, error) {
	a, ok := parseARP(frame)
	if !ok {
		return verdict{}, DropMalformed
	}
	if a.operation != arpRequest {
		return verdict{}, DropARP
	}
	answer := func(mac net.HardwareAddr) (verdict, error) {
		reply := arp{arpReply, mac, a.sender, a.target, a.senderIP}
		return verdict{answer: reply.frame(a.sender)}, nil
	}
	if a.target == routerAddress(from.Prefix) {
		return answer(RouterMAC)
	}
	r := p.record(from.RoutingDomain, a.target)
	if r == nil || r.VSID != from.VSID || a.senderIP == a.target {
		return verdict{}, DropARP
	}
	return answer(r.MAC)
}

// route is the distributed router: to another virtual subnet of the routing domain, or by customer route.
func (p *Policy) route(from Subnet, frame []byte) (verdict, error) {
	flow, err := ipflow.Parse(frame[etherLen:])
	if err != nil {
		return verdict{}, DropMalformed
	}
	for _, s := range p.Subnets {
		if s.RoutingDomain == from.RoutingDomain && flow.Destination == routerAddress(s.Prefix) {
			return pingReply(frame, flow)
		}
	}
	r := p.record(from.RoutingDomain, flow.Destination)
	if r == nil {
		if r, err = p.customerRoute(from.RoutingDomain, flow.Destination); err != nil {
			return verdict{}, err
		}
	}
	frame = bytes.Clone(frame)
	copy(frame, r.MAC)
	return verdict{to: r, frame: frame}, nil
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
	if flow.Protocol != ipflow.ICMP || flow.Type != 8 {
		return verdict{}, DropToRouter
	}
	reply := bytes.Clone(frame)
	copy(reply, frame[6:12])
	copy(reply[6:], RouterMAC)
	ip := reply[etherLen:]
	copy(ip[12:16], flow.Destination.AsSlice())
	copy(ip[16:20], flow.Source.AsSlice())
	icmp := ip[int(ip[0]&0xf)*4:]
	if len(icmp) < 8 {
		return verdict{}, DropMalformed
	}
	icmp[0] = 0
	binary.BigEndian.PutUint16(icmp[2:], 0)
	length := min(int(binary.BigEndian.Uint16(ip[2:]))-int(ip[0]&0xf)*4, len(icmp))
	if length < 8 {
		return verdict{}, DropMalformed
	}
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp[:length]))
	return verdict{answer: reply}, nil
}

// routerAddress is the lowest address of a subnet.
func routerAddress(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }
