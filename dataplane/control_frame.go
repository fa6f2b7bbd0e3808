package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Frames that the daemon itself sends into virtual subnets. They carry FlowID 0: they belong to no flow.

var everybody = hardware{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

const (
	greKeyPresent = 0x2000
	greEthernet   = 0x6558
	// outerTTL is what Windows sends NVGRE with.
	outerTTL = 128
	// ndOverride is the flag of an advertisement that replaces what its receivers know.
	ndOverride = 0x20
)

// greHeader is what stands before an inner frame (RFC 7637 section 3.2).
func greHeader(vsid uint32) []byte {
	h := binary.BigEndian.AppendUint16(nil, greKeyPresent)
	h = binary.BigEndian.AppendUint16(h, greEthernet)
	return binary.BigEndian.AppendUint32(h, vsid<<8)
}

func etherFrame(dst, src hardware, kind uint16, payload ...[]byte) []byte {
	frame := slices.Concat(dst[:], src[:], binary.BigEndian.AppendUint16(nil, kind))
	return append(frame, slices.Concat(payload...)...)
}

// question asks the machine with a MAC address whether it has a customer address, by ARP or by neighbour solicitation.
// The sender is where the answer goes to: 0.0.0.0 makes the question one that teaches its receivers nothing (RFC 5227).
func question(to, mac hardware, sender, ca netip.Addr) []byte {
	if ca.Is4() {
		return arpFrame(to, arpRequest, mac, sender, hardware{}, ca)
	}
	return ndFrame(to, mac, sender, ca, ndSolicitation, 0, ca, ndSourceOption)
}

// announcement tells everybody who has a customer address, by gratuitous ARP or by unsolicited advertisement.
func announcement(mac hardware, ca netip.Addr) []byte {
	if ca.Is4() {
		return arpFrame(everybody, arpRequest, mac, ca, hardware{}, ca)
	}
	allNodes := netip.MustParseAddr("ff02::1")
	return ndFrame(hardware{0x33, 0x33, 0, 0, 0, 1}, mac, ca, allNodes, ndAdvertisement, ndOverride, ca, ndTargetOption)
}

func arpFrame(to hardware, operation uint16, mac hardware, sender netip.Addr, targetMAC hardware,
	target netip.Addr) []byte {
	start := []byte{0, 1, 8, 0, 6, 4}
	return etherFrame(to, mac, unix.ETH_P_ARP, start, binary.BigEndian.AppendUint16(nil, operation),
		mac[:], sender.AsSlice(), targetMAC[:], target.AsSlice())
}

func ndFrame(to, mac hardware, sender, destination netip.Addr, kind, flags byte, target netip.Addr,
	option byte) []byte {
	message := slices.Concat([]byte{kind, 0, 0, 0, flags, 0, 0, 0}, target.AsSlice(), []byte{option, 1}, mac[:])
	return etherFrame(to, mac, unix.ETH_P_IPV6, icmp6Packet(sender, destination, ndHopLimit, message))
}

// redirectFrame is a REDIRECT from one provider address: the destination of the offending frame is at another.
func redirectFrame(to, mac hardware, from, now netip.Addr, offending []byte) []byte {
	if from.Is4() {
		// ICMP's own redirect has the new gateway in its second word (RFC 792).
		return controlFrame4(to, mac, from, now, redirectType4, redirectCode4, now.AsSlice(), offending)
	}
	return controlFrame6(to, mac, from, now, redirectType6, redirectCode6, offending)
}

// unreachableFrame is an UNREACHABLE from one provider address to another: nobody has the offending frame's
// destination.
func unreachableFrame(to, mac hardware, from, sender netip.Addr, offending []byte) []byte {
	if from.Is4() {
		return controlFrame4(to, mac, from, sender, unreachableType4, unreachableCode4, make([]byte, 4), offending)
	}
	return controlFrame6(to, mac, from, sender, unreachableType6, unreachableCode6, offending)
}

func controlFrame4(to, mac hardware, from, destination netip.Addr, kind, code byte, word, offending []byte) []byte {
	message := slices.Concat([]byte{kind, code, 0, 0}, word, offending)
	binary.BigEndian.PutUint16(message[2:], internetChecksum(0, message))
	header := make([]byte, ipv4Header)
	header[0], header[8], header[9] = 0x45, outerTTL, unix.IPPROTO_ICMP
	binary.BigEndian.PutUint16(header[2:], uint16(ipv4Header+len(message)))
	copy(header[12:], from.AsSlice())
	copy(header[16:], destination.AsSlice())
	binary.BigEndian.PutUint16(header[10:], internetChecksum(0, header))
	return etherFrame(to, mac, unix.ETH_P_IP, header, message)
}

func controlFrame6(to, mac hardware, from, destination netip.Addr, kind, code byte, offending []byte) []byte {
	message := slices.Concat([]byte{kind, code, 0, 0, 0, 0, 0, 0}, offending)
	return etherFrame(to, mac, unix.ETH_P_IPV6, icmp6Packet(from, destination, outerTTL, message))
}

// icmp6Packet is an IPv6 packet around an ICMPv6 message, whose checksum it fills in.
func icmp6Packet(from, to netip.Addr, hops byte, message []byte) []byte {
	header := make([]byte, ipv6Header)
	header[0], header[6], header[7] = 0x60, unix.IPPROTO_ICMPV6, hops
	binary.BigEndian.PutUint16(header[4:], uint16(len(message)))
	copy(header[8:], from.AsSlice())
	copy(header[24:], to.AsSlice())
	binary.BigEndian.PutUint16(message[2:], pseudoChecksum(header[8:], unix.IPPROTO_ICMPV6, message))
	return append(header, message...)
}
