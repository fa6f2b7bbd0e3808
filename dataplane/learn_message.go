package dataplane

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// hardware is a MAC address that can be compared.
type hardware = [6]byte

// Lengths of headers, and the numbers that are read here.
const (
	etherHeader = 14
	ipv4Header  = 20
	ipv6Header  = 40
	icmpHeader  = 8
	arpLength   = 28
	ndLength    = 24 // without options

	arpRequest = 1
	arpReply   = 2

	ndSolicitation  = 135
	ndAdvertisement = 136
	ndSourceOption  = 1
	ndTargetOption  = 2
	ndHopLimit      = 255
)

// heard is what an ARP message (RFC 826), or a neighbour solicitation or advertisement (RFC 4861), says of its sender.
type heard struct {
	ca  netip.Addr
	mac hardware
}

// etherType is the type of a frame, 0 of one that is too short to have any.
func etherType(frame []byte) uint16 {
	if len(frame) < etherHeader {
		return 0
	}
	return binary.BigEndian.Uint16(frame[12:])
}

// parseNeighbour reads what a frame says of its sender. There is nothing to read in a frame of another kind, in one
// that is malformed or cut short, in the probe of an address that its sender does not have yet (RFC 5227, RFC 4862),
// and in a message that names another MAC address than its frame: nobody is believed who speaks for others.
func parseNeighbour(frame []byte) (heard, bool) {
	switch etherType(frame) {
	case unix.ETH_P_ARP:
		return parseARP(frame)
	case unix.ETH_P_IPV6:
		return parseND(frame)
	}
	return heard{}, false
}

// isARP tells whether the payload of a frame is an ARP message for IPv4 over Ethernet.
func isARP(message []byte) bool {
	return len(message) >= arpLength && string(message[:6]) == "\x00\x01\x08\x00\x06\x04"
}

func parseARP(frame []byte) (heard, bool) {
	source, message := hardware(frame[6:12]), frame[etherHeader:]
	if !isARP(message) {
		return heard{}, false
	}
	operation := binary.BigEndian.Uint16(message[6:])
	h := heard{mac: hardware(message[8:14]), ca: netip.AddrFrom4([4]byte(message[14:18]))}
	if operation != arpRequest && operation != arpReply || h.mac != source {
		return heard{}, false
	}
	return h, unicastMAC(h.mac[:]) && unicast(h.ca)
}

func parseND(frame []byte) (heard, bool) {
	source, packet := hardware(frame[6:12]), frame[etherHeader:]
	if len(packet) < ipv6Header+ndLength || packet[0]>>4 != 6 || packet[6] != unix.IPPROTO_ICMPV6 ||
		packet[7] != ndHopLimit {
		return heard{}, false
	}
	length := int(binary.BigEndian.Uint16(packet[4:]))
	if length < ndLength || length > len(packet)-ipv6Header {
		return heard{}, false
	}
	message := packet[ipv6Header : ipv6Header+length]
	if message[1] != 0 || pseudoChecksum(packet[8:40], unix.IPPROTO_ICMPV6, message) != 0 {
		return heard{}, false
	}
	h := heard{mac: source}
	var option byte
	switch message[0] {
	case ndSolicitation:
		h.ca, option = netip.AddrFrom16([16]byte(packet[8:24])), ndSourceOption
	case ndAdvertisement:
		h.ca, option = netip.AddrFrom16([16]byte(message[8:24])), ndTargetOption
	default:
		return heard{}, false
	}
	ok := linkOption(message[ndLength:], option, source) && unicastMAC(h.mac[:]) && unicast(h.ca)
	return h, ok
}

// linkOption tells whether the options of an ND message are well formed and name no other MAC address than mac.
func linkOption(options []byte, kind byte, mac hardware) bool {
	for len(options) > 0 {
		if len(options) < 8 || options[1] == 0 || int(options[1])*8 > len(options) {
			return false
		}
		if options[0] == kind && (options[1] != 1 || hardware(options[2:8]) != mac) {
			return false
		}
		options = options[int(options[1])*8:]
	}
	return true
}

// destinationOf is the customer address that a frame is for or, if it is an ARP request or a neighbour solicitation,
// asks for. The frame may be cut short behind its headers.
func destinationOf(frame []byte) (netip.Addr, bool) {
	switch etherType(frame) {
	case unix.ETH_P_ARP:
		if message := frame[etherHeader:]; isARP(message) {
			ca := netip.AddrFrom4([4]byte(message[24:28]))
			return ca, unicast(ca)
		}
	case unix.ETH_P_IP, unix.ETH_P_IPV6:
		return packetDestination(frame[etherHeader:])
	}
	return netip.Addr{}, false
}

// packetDestination is the customer address that an IP packet is for or, if it is a neighbour solicitation, asks for.
func packetDestination(packet []byte) (netip.Addr, bool) {
	switch {
	case len(packet) >= ipv4Header && packet[0]>>4 == 4:
		ca := netip.AddrFrom4([4]byte(packet[16:20]))
		return ca, unicast(ca)
	case len(packet) >= ipv6Header && packet[0]>>4 == 6:
		ca := netip.AddrFrom16([16]byte(packet[24:40]))
		icmp := packet[6] == unix.IPPROTO_ICMPV6 && len(packet) >= ipv6Header+ndLength
		if icmp && packet[ipv6Header] == ndSolicitation {
			ca = netip.AddrFrom16([16]byte(packet[ipv6Header+8 : ipv6Header+ndLength]))
		}
		return ca, unicast(ca)
	}
	return netip.Addr{}, false
}

// internetChecksum is the Internet checksum (RFC 1071) of data on top of a sum; 0 of data that holds its own.
func internetChecksum(sum uint32, data []byte) uint16 {
	for ; len(data) > 1; data = data[2:] {
		sum += uint32(binary.BigEndian.Uint16(data))
	}
	if len(data) == 1 {
		sum += uint32(data[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// pseudoChecksum is the checksum of an IPv6 packet's payload (RFC 8200 section 8.1), given its two addresses.
func pseudoChecksum(addresses []byte, protocol byte, payload []byte) uint16 {
	return internetChecksum(uint32(^internetChecksum(uint32(len(payload))+uint32(protocol), addresses)), payload)
}
