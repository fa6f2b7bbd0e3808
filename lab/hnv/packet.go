package hnv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"bulkhead/lab/ipflow"
)

// Drop is the reason for which a host dropped a frame.
type Drop string

// The reasons. Those of the first group concern frames from the wire, those of the second frames from a VM.
const (
	DropMalformed     Drop = "malformed"           // cut short, bad header checksum or a fragment
	DropBadGRE        Drop = "bad-gre"             // flags, version or protocol are not NVGRE's
	DropBadInner      Drop = "bad-inner"           // no whole Ethernet header inside
	DropVLAN          Drop = "inner-vlan"          // RFC 7637 section 3.2: a receiver drops a tagged inner frame
	DropUnknownVSID   Drop = "unknown-vsid"        // no VM of this host is in it
	DropUnknownSource Drop = "unknown-source"      // no record of the routing domain names the sender's PA
	DropNoVM          Drop = "no-such-vm"          // no VM of the VSID has the inner destination MAC
	DropNoRecord      Drop = "no-record"           // the CA is in a virtual subnet, but no record names it
	DropNoRoute       Drop = "no-route"            // the CA is elsewhere, and no customer route leads there
	DropARP           Drop = "unanswered-arp"      // ARP for a CA that no record names
	DropMulticast     Drop = "multicast"           // broadcast and multicast are not carried
	DropToRouter      Drop = "to-router"           // to the router's own address, and not a ping
	DropSend          Drop = "could-not-send"      // refused by the NIC, as too long a frame is
	DropNoNeighbour   Drop = "unresolved-provider" // too many frames wait for the MAC of one PA
)

// Error makes a Drop usable as the error of Parse.
func (d Drop) Error() string { return "dropped: " + string(d) }

// What an NVGRE packet carries in its first GRE bytes (RFC 7637 section 3.2).
const (
	Flags    = 0x2000 // key present; no checksum, no sequence number, version 0
	Protocol = 0x6558 // transparent Ethernet bridging
)

const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	etherLen   = 14
	outerLen   = etherLen + 20 + 8 // before the inner frame
	protoGRE   = 47
	dontFrag   = 0x4000
	defaultTTL = 128 // as Windows sends
)

// Packet is an NVGRE packet on the provider network. Its fields are what goes on the wire, right or wrong, so that
// tests can send what no host should.
type Packet struct {
	SourceMAC, DestinationMAC net.HardwareAddr // outer Ethernet
	Source, Destination       netip.Addr       // provider addresses, IPv4
	Flags, Protocol           uint16           // of the GRE header
	VSID                      uint32           // 24 bits
	FlowID                    uint8
	Inner                     []byte // Ethernet frame without FCS
}

// Marshal is the packet as a frame of the provider network.
func (p Packet) Marshal() []byte {
	b := make([]byte, outerLen, outerLen+len(p.Inner))
	copy(b, p.DestinationMAC)
	copy(b[6:], p.SourceMAC)
	binary.BigEndian.PutUint16(b[12:], etherIPv4)
	putIPv4(b[etherLen:], protoGRE, p.Source, p.Destination, 8+len(p.Inner))
	gre := b[etherLen+20:]
	binary.BigEndian.PutUint16(gre, p.Flags)
	binary.BigEndian.PutUint16(gre[2:], p.Protocol)
	binary.BigEndian.PutUint32(gre[4:], p.VSID<<8|uint32(p.FlowID))
	return append(b, p.Inner...)
}

// Parse reads a frame of the provider network that carries GRE, strictly. The error is a Drop; the packet then holds
// what could be read. Inner shares memory with frame.
func Parse(frame []byte) (Packet, error) {
	var p Packet
	if len(frame) < etherLen+20 || binary.BigEndian.Uint16(frame[12:]) != etherIPv4 {
		return p, DropMalformed
	}
	p.DestinationMAC, p.SourceMAC = net.HardwareAddr(frame[:6]), net.HardwareAddr(frame[6:12])
	ip := frame[etherLen:]
	p.Source, p.Destination = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	length := int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
	if ip[0] != 0x45 || ip[9] != protoGRE || fragment || length < 28 || length > len(ip) || checksum(ip[:20]) != 0 {
		return p, DropMalformed
	}
	gre := ip[20:length]
	p.Flags, p.Protocol = binary.BigEndian.Uint16(gre), binary.BigEndian.Uint16(gre[2:])
	if p.Flags != Flags || p.Protocol != Protocol {
		return p, DropBadGRE
	}
	key := binary.BigEndian.Uint32(gre[4:])
	p.VSID, p.FlowID, p.Inner = key>>8, uint8(key), gre[8:]
	if len(p.Inner) < etherLen {
		return p, DropBadInner
	}
	if tagged(p.Inner) {
		return p, DropVLAN
	}
	return p, nil
}

// EchoRequest is an Ethernet frame with an ICMP echo request, for packets made by hand.
func EchoRequest(sourceMAC, destinationMAC net.HardwareAddr, source, destination netip.Addr, id, seq uint16) []byte {
	const payload = "made by hand"
	b := make([]byte, etherLen+20+8, etherLen+20+8+len(payload))
	b = append(b, payload...)
	copy(b, destinationMAC)
	copy(b[6:], sourceMAC)
	binary.BigEndian.PutUint16(b[12:], etherIPv4)
	putIPv4(b[etherLen:], ipflow.ICMP, source, destination, 8+len(payload))
	icmp := b[etherLen+20:]
	icmp[0] = 8
	binary.BigEndian.PutUint16(icmp[4:], id)
	binary.BigEndian.PutUint16(icmp[6:], seq)
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	return b
}

// Tag puts an 802.1Q tag into an Ethernet frame.
func Tag(frame []byte, vlan uint16) []byte {
	return bytes.Join([][]byte{frame[:12], {0x81, 0x00, byte(vlan >> 8), byte(vlan)}, frame[12:]}, nil)
}

// untag strips 802.1Q tags, as the sending end must.
func untag(frame []byte) []byte {
	for len(frame) >= etherLen+4 && tagged(frame) {
		frame = append(bytes.Clone(frame[:12]), frame[16:]...)
	}
	return frame
}

func tagged(frame []byte) bool {
	kind := binary.BigEndian.Uint16(frame[12:])
	return kind == etherVLAN || kind == etherQinQ
}

// putIPv4 writes a header without options before a payload of the length given.
func putIPv4(b []byte, protocol uint8, source, destination netip.Addr, payload int) {
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(20+payload))
	binary.BigEndian.PutUint16(b[6:], dontFrag)
	b[8], b[9] = defaultTTL, protocol
	copy(b[12:16], source.AsSlice())
	copy(b[16:20], destination.AsSlice())
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(b[:20]))
}

// checksum is the Internet checksum (RFC 1071): 0 over bytes that hold their own.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// describe says in a few words what an inner frame holds.
func describe(inner []byte) string {
	if len(inner) < etherLen {
		return fmt.Sprintf("%d bytes", len(inner))
	}
	if flow, err := ipflow.Parse(inner[etherLen:]); err == nil && !tagged(inner) {
		return flow.String()
	}
	return fmt.Sprintf("ethertype %04x", binary.BigEndian.Uint16(inner[12:]))
}
