package hnv

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// What an NVGRE packet carries in its first GRE bytes (RFC 7637 section 3.2).
const (
	Flags    = 0x2000 // key present; no checksum, no sequence number, version 0
	Protocol = 0x6558 // transparent Ethernet bridging
)

const (
	etherLen   = 14
	ipv4Len    = 20
	ipv6Len    = 40
	greLen     = 8
	protoGRE   = 47
	dontFrag   = 0x4000
	defaultTTL = 128 // as Windows sends
)

// Packet is an NVGRE packet on the provider network. Its fields are what goes on the wire, right or wrong, so that
// tests can send what no host should.
type Packet struct {
	SourceMAC, DestinationMAC net.HardwareAddr // outer Ethernet
	Source, Destination       netip.Addr       // provider addresses, both IPv4 or both IPv6
	TOS                       uint8            // outer DSCP and ECN: type of service or traffic class
	Flags, Protocol           uint16           // of the GRE header
	VSID                      uint32           // 24 bits
	FlowID                    uint8
	Inner                     []byte // Ethernet frame without FCS
}

// Marshal is the packet as a frame of the provider network.
func (p Packet) Marshal() []byte {
	length := greLen + len(p.Inner)
	kind, header := uint16(etherIPv4), ipv4Len
	if p.Source.Is6() {
		kind, header = etherIPv6, ipv6Len
	}
	b := make([]byte, etherLen+header+greLen, etherLen+header+length)
	copy(b, p.DestinationMAC)
	copy(b[6:], p.SourceMAC)
	binary.BigEndian.PutUint16(b[12:], kind)
	if kind == etherIPv6 {
		putIPv6(b[etherLen:], protoGRE, p.Source, p.Destination, length)
		setTOS(b, p.TOS)
		binary.BigEndian.PutUint16(b[etherLen+2:], uint16(p.FlowID)) // the flow label varies with the inner flow too
	} else {
		putIPv4(b[etherLen:], protoGRE, p.Source, p.Destination, length)
		setTOS(b, p.TOS)
	}
	gre := b[etherLen+header:]
	binary.BigEndian.PutUint16(gre, p.Flags)
	binary.BigEndian.PutUint16(gre[2:], p.Protocol)
	binary.BigEndian.PutUint32(gre[4:], p.VSID<<8|uint32(p.FlowID))
	return append(b, p.Inner...)
}

// Parse reads a frame of the provider network that carries GRE, strictly. The error is a Drop; the packet then holds
// what could be read. Inner shares memory with frame.
func Parse(frame []byte) (Packet, error) {
	var p Packet
	if len(frame) < etherLen {
		return p, DropMalformed
	}
	p.DestinationMAC, p.SourceMAC = net.HardwareAddr(frame[:6]), net.HardwareAddr(frame[6:12])
	var gre []byte
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		gre = p.outer4(frame[etherLen:])
	case etherIPv6:
		gre = p.outer6(frame[etherLen:])
	}
	if len(gre) < greLen {
		return p, DropMalformed
	}
	p.TOS = tos(frame)
	p.Flags, p.Protocol = binary.BigEndian.Uint16(gre), binary.BigEndian.Uint16(gre[2:])
	if p.Flags != Flags || p.Protocol != Protocol {
		return p, DropBadGRE
	}
	key := binary.BigEndian.Uint32(gre[4:])
	p.VSID, p.FlowID, p.Inner = key>>8, uint8(key), gre[greLen:]
	if len(p.Inner) < etherLen {
		return p, DropBadInner
	}
	if tagged(p.Inner) {
		return p, DropVLAN
	}
	return p, nil
}

// outer4 reads the provider addresses of an IPv4 header without options and returns what is in it, nil when it is not
// whole.
func (p *Packet) outer4(ip []byte) []byte {
	if len(ip) < ipv4Len {
		return nil
	}
	p.Source, p.Destination = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	length := int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
	if ip[0] != 0x45 || ip[9] != protoGRE || fragment || length < ipv4Len || length > len(ip) ||
		checksum(ip[:ipv4Len]) != 0 {
		return nil
	}
	return ip[ipv4Len:length]
}

// outer6 is outer4 for IPv6: extension headers, a fragment's among them, are not read.
func (p *Packet) outer6(ip []byte) []byte {
	if len(ip) < ipv6Len {
		return nil
	}
	p.Source, p.Destination = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	length := ipv6Len + int(binary.BigEndian.Uint16(ip[4:]))
	if ip[0]>>4 != 6 || ip[6] != protoGRE || length > len(ip) || p.Source.Is4In6() || p.Destination.Is4In6() {
		return nil
	}
	return ip[ipv6Len:length]
}
