package hnv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"bulkhead/lab/ipflow"
)

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
	etherQinQ = 0x88a8
)

// ICMP types of a ping (RFC 792, RFC 4443).
const (
	echoReply4, echoRequest4 = 0, 8
	echoRequest6, echoReply6 = 128, 129
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// EchoRequest is an Ethernet frame with an ICMP or ICMPv6 echo request, for packets made by hand.
func EchoRequest(sourceMAC, destinationMAC net.HardwareAddr, source, destination netip.Addr, id, seq uint16) []byte {
	kind := byte(echoRequest4)
	if source.Is6() {
		kind = echoRequest6
	}
	body := make([]byte, 4, 32)
	binary.BigEndian.PutUint16(body, id)
	binary.BigEndian.PutUint16(body[2:], seq)
	return icmpFrame(sourceMAC, destinationMAC, source, destination, kind, 0, append(body, "made by hand"...))
}

// icmpFrame is an Ethernet frame with an ICMP or ICMPv6 message, by the family of the addresses. The body begins behind
// the checksum.
func icmpFrame(sourceMAC, destinationMAC net.HardwareAddr, source, destination netip.Addr, kind, code byte,
	body []byte) []byte {
	header := ipv4Len
	if source.Is6() {
		header = ipv6Len
	}
	b := make([]byte, etherLen+header+4, etherLen+header+4+len(body))
	b = append(b, body...)
	copy(b, destinationMAC)
	copy(b[6:], sourceMAC)
	icmp := b[etherLen+header:]
	icmp[0], icmp[1] = kind, code
	if source.Is6() {
		binary.BigEndian.PutUint16(b[12:], etherIPv6)
		putIPv6(b[etherLen:], ipflow.ICMPv6, source, destination, len(icmp))
	} else {
		binary.BigEndian.PutUint16(b[12:], etherIPv4)
		putIPv4(b[etherLen:], ipflow.ICMP, source, destination, len(icmp))
	}
	binary.BigEndian.PutUint16(icmp[2:], icmpChecksum(b[etherLen:], header))
	return b
}

// icmpChecksum is that of the ICMP or ICMPv6 message behind an IP header, 0 where the message holds it already.
func icmpChecksum(ip []byte, header int) uint16 {
	if ip[0]>>4 == 4 {
		return checksum(ip[header:])
	}
	pseudo := make([]byte, 0, len(ip))
	pseudo = append(pseudo, ip[8:40]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(ip)-header))
	pseudo = append(pseudo, 0, 0, 0, ipflow.ICMPv6)
	return checksum(append(pseudo, ip[header:]...))
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
	binary.BigEndian.PutUint16(b[2:], uint16(ipv4Len+payload))
	binary.BigEndian.PutUint16(b[6:], dontFrag)
	b[8], b[9] = defaultTTL, protocol
	copy(b[12:16], source.AsSlice())
	copy(b[16:20], destination.AsSlice())
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], checksum(b[:ipv4Len]))
}

// putIPv6 writes a header before a payload of the length given.
func putIPv6(b []byte, protocol uint8, source, destination netip.Addr, payload int) {
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	b[6], b[7] = protocol, defaultTTL
	copy(b[8:24], source.AsSlice())
	copy(b[24:40], destination.AsSlice())
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
	if len(inner) < etherLen || tagged(inner) {
		return fmt.Sprintf("%d bytes that are no untagged frame", len(inner))
	}
	if m, ok := parseMessage(inner); ok {
		return m.String()
	}
	if c, ok := parseControl(inner); ok {
		return c.String()
	}
	if flow, err := ipflow.Parse(inner[etherLen:]); err == nil {
		return flow.String()
	}
	return fmt.Sprintf("ethertype %04x", binary.BigEndian.Uint16(inner[12:]))
}
