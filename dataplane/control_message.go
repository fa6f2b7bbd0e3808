package dataplane

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The control messages of [MS-NVGREE] sections 2.2.1 and 2.2.2, as types and codes of ICMP and ICMPv6.
const (
	redirectType4, redirectCode4       = 5, 10
	redirectType6, redirectCode6       = 137, 1
	unreachableType4, unreachableCode4 = 3, 10
	unreachableType6, unreachableCode6 = 1, 1
)

// notice is a control message from another host: it does not have a customer address that it was sent a packet for.
type notice struct {
	// redirect tells REDIRECT from UNREACHABLE.
	redirect bool
	// from is the host's provider address, as the message itself says.
	from netip.Addr
	// to is the inner destination: of REDIRECT, the provider address where the customer address is now.
	to netip.Addr
	// ca is the customer address: the destination of the frame that the message holds.
	ca netip.Addr
}

// parseNotice reads the control message in an inner frame, whose end may be missing. Behind the eight bytes of an ICMP
// header comes the frame that the host could not deliver; ICMP's own messages (RFC 792) begin their copy with the IP
// header, and this reads either.
func parseNotice(frame []byte) (notice, bool) {
	if len(frame) < etherHeader {
		return notice{}, false
	}
	var n notice
	var message []byte
	var ok bool
	packet := frame[etherHeader:]
	switch etherType(frame) {
	case unix.ETH_P_IP:
		n, message, ok = notice4(packet)
	case unix.ETH_P_IPV6:
		n, message, ok = notice6(packet)
	}
	if !ok {
		return notice{}, false
	}
	offending := message[icmpHeader:]
	if n.ca, ok = destinationOf(offending); !ok {
		n.ca, ok = packetDestination(offending)
	}
	return n, ok
}

// notice4 finds a control message in an IPv4 packet. Its checksum counts only where all of it is here.
func notice4(packet []byte) (n notice, message []byte, ok bool) {
	if len(packet) < ipv4Header+icmpHeader || packet[0] != 0x45 || packet[9] != unix.IPPROTO_ICMP ||
		binary.BigEndian.Uint16(packet[6:])&0x3fff != 0 || internetChecksum(0, packet[:ipv4Header]) != 0 {
		return n, nil, false
	}
	length := int(binary.BigEndian.Uint16(packet[2:])) - ipv4Header
	message = packet[ipv4Header:]
	if length < icmpHeader {
		return n, nil, false
	}
	if length <= len(message) {
		message = message[:length]
		if internetChecksum(0, message) != 0 {
			return n, nil, false
		}
	}
	n.from, n.to = netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20]))
	n.redirect = message[0] == redirectType4 && message[1] == redirectCode4
	return n, message, n.redirect || message[0] == unreachableType4 && message[1] == unreachableCode4
}

func notice6(packet []byte) (n notice, message []byte, ok bool) {
	if len(packet) < ipv6Header+icmpHeader || packet[0]>>4 != 6 || packet[6] != unix.IPPROTO_ICMPV6 {
		return n, nil, false
	}
	length := int(binary.BigEndian.Uint16(packet[4:]))
	message = packet[ipv6Header:]
	if length < icmpHeader {
		return n, nil, false
	}
	if length <= len(message) {
		message = message[:length]
		if pseudoChecksum(packet[8:40], unix.IPPROTO_ICMPV6, message) != 0 {
			return n, nil, false
		}
	}
	n.from, n.to = netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40]))
	n.redirect = message[0] == redirectType6 && message[1] == redirectCode6
	return n, message, n.redirect || message[0] == unreachableType6 && message[1] == unreachableCode6
}
