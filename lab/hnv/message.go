package hnv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"bulkhead/lab/ipflow"
)

// message is an ARP message for IPv4 (RFC 826), or a neighbour solicitation or advertisement of IPv6 (RFC 4861), which
// say the same: who has an address, or that somebody has it.
type message struct {
	asks   bool
	from   netip.Addr // the address that sender has; unspecified in a probe for duplicates
	sender net.HardwareAddr
	target netip.Addr       // what is asked for; in an answer, to whom it is
	to     net.HardwareAddr // of an answer: who asked
}

// ND types and options (RFC 4861 sections 4.3, 4.4 and 4.6.1).
const (
	neighbourSolicit, neighbourAdvert  = 135, 136
	optionSourceLink, optionTargetLink = 1, 2
	advertSolicited, advertOverride    = 0x40, 0x20
	ndHopLimit                         = 255
	arpRequest, arpReply               = 1, 2
	arpLen                             = 28
	ndLen                              = 24 // without options
	linkOptionLen                      = 8
)

// arpStart is the constant part of an ARP message for IPv4 over Ethernet (RFC 826).
var arpStart = []byte{0, 1, 8, 0, 6, 4}

// parseMessage reads the ARP or ND message of an Ethernet frame, if it holds one.
func parseMessage(frame []byte) (message, bool) {
	if len(frame) < etherLen {
		return message{}, false
	}
	switch b := frame[etherLen:]; binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		if len(b) < arpLen || !bytes.Equal(b[:6], arpStart) {
			return message{}, false
		}
		operation := binary.BigEndian.Uint16(b[6:])
		return message{
			asks:   operation == arpRequest,
			sender: bytes.Clone(b[8:14]), from: netip.AddrFrom4([4]byte(b[14:18])),
			to: bytes.Clone(b[18:24]), target: netip.AddrFrom4([4]byte(b[24:28])),
		}, operation == arpRequest || operation == arpReply
	case etherIPv6:
		return parseND(frame[:6], frame[6:12], b)
	}
	return message{}, false
}

// parseND reads an ND message between two MACs, strictly: whole, checksum and hop limit right (RFC 4861 section 7.1).
func parseND(to, source net.HardwareAddr, ip []byte) (message, bool) {
	if len(ip) < ipv6Len+ndLen || ip[0]>>4 != 6 || ip[6] != ipflow.ICMPv6 || ip[7] != ndHopLimit {
		return message{}, false
	}
	length := ipv6Len + int(binary.BigEndian.Uint16(ip[4:]))
	icmp := ip[ipv6Len:]
	kind := icmp[0]
	if length < ipv6Len+ndLen || length > len(ip) || kind != neighbourSolicit && kind != neighbourAdvert ||
		icmp[1] != 0 || icmpChecksum(ip[:length], ipv6Len) != 0 {
		return message{}, false
	}
	from, destination := netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	named := netip.AddrFrom16([16]byte(icmp[8:24]))
	options := ip[ipv6Len+ndLen : length]
	if kind == neighbourSolicit {
		sender := linkOption(options, optionSourceLink, source)
		return message{asks: true, from: from, target: named, sender: sender}, true
	}
	sender := linkOption(options, optionTargetLink, source)
	return message{from: named, target: destination, sender: sender, to: bytes.Clone(to)}, true
}

// linkOption finds a MAC among ND options; without one, it is the frame's that counts.
func linkOption(options []byte, kind byte, otherwise net.HardwareAddr) net.HardwareAddr {
	for len(options) >= linkOptionLen {
		length := int(options[1]) * 8
		if length == 0 || length > len(options) {
			break
		}
		if options[0] == kind && length == linkOptionLen {
			return bytes.Clone(options[2:8])
		}
		options = options[length:]
	}
	return bytes.Clone(otherwise)
}

// announces tells whether the message was not asked for: a gratuitous ARP, or an advertisement to all nodes.
func (m message) announces() bool {
	if m.from.Is4() {
		return m.from == m.target
	}
	return !m.asks && m.target.IsMulticast()
}

// answer is the message by which a MAC answers the question.
func (m message) answer(mac net.HardwareAddr) message {
	return message{from: m.target, sender: mac, target: m.from, to: m.sender}
}

// frame is the message in an Ethernet frame to a MAC address.
func (m message) frame(to net.HardwareAddr) []byte {
	if m.target.Is6() {
		return m.frame6(to)
	}
	b := make([]byte, 60) // the shortest Ethernet frame, without FCS
	copy(b, to)
	copy(b[6:], m.sender)
	binary.BigEndian.PutUint16(b[12:], etherARP)
	copy(b[etherLen:], arpStart)
	operation := uint16(arpReply)
	if m.asks {
		operation = arpRequest
	}
	binary.BigEndian.PutUint16(b[etherLen+6:], operation)
	copy(b[etherLen+8:], m.sender)
	copy(b[etherLen+14:], m.from.AsSlice())
	copy(b[etherLen+18:], m.to)
	copy(b[etherLen+24:], m.target.AsSlice())
	return b
}

func (m message) frame6(to net.HardwareAddr) []byte {
	kind, option, destination, named := byte(neighbourAdvert), byte(optionTargetLink), m.target, m.from
	flags := byte(advertSolicited | advertOverride)
	if m.asks {
		kind, option, flags, named = neighbourSolicit, optionSourceLink, 0, m.target
		if to[0]&1 != 0 {
			destination = solicitedNode(m.target)
		}
	}
	body := append([]byte{flags, 0, 0, 0}, named.AsSlice()...)
	body = append(append(body, option, 1), m.sender...)
	b := icmpFrame(m.sender, to, m.from, destination, kind, 0, body)
	b[etherLen+7] = ndHopLimit // not part of the checksum
	return b
}

// solicitedNode is the multicast address that a neighbour solicitation for an address goes to (RFC 4291 section 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, b[13], b[14], b[15]})
}

// askAll is the MAC that a question for an address goes to where nobody's is known.
func askAll(a netip.Addr) net.HardwareAddr {
	if a.Is4() {
		return broadcast
	}
	b := a.As16()
	return net.HardwareAddr{0x33, 0x33, 0xff, b[13], b[14], b[15]}
}

// String is the message as a person reads it.
func (m message) String() string {
	if m.asks {
		return fmt.Sprintf("who has %v? tell %v", m.target, m.from)
	}
	return fmt.Sprintf("%v is at %v", m.from, m.sender)
}
