package dataplane

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
)

// Frames for tests are made by nested calls, outermost first: ether(..., ip4(..., udp(...))).

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func ether(dst, src net.HardwareAddr, proto uint16, payload []byte) []byte {
	return slices.Concat(dst, src, be16(proto), payload)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(parts ...[]byte) uint16 {
	data := slices.Concat(parts...)
	if len(data)%2 == 1 {
		data = append(data, 0)
	}
	var sum uint32
	for i := 0; i < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func ip4(src, dst netip.Addr, proto byte, payload []byte) []byte {
	return ip4Fragment(src, dst, proto, 0, payload)
}

// ip4Fragment sets the flags and offset field.
func ip4Fragment(src, dst netip.Addr, proto byte, fragment uint16, payload []byte) []byte {
	h := slices.Concat([]byte{0x45, 0}, be16(uint16(20+len(payload))), be16(0), be16(fragment),
		[]byte{64, proto, 0, 0}, src.AsSlice(), dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, payload...)
}

// ip4Options adds four bytes of options.
func ip4Options(src, dst netip.Addr, proto byte, payload []byte) []byte {
	h := slices.Concat([]byte{0x46, 0}, be16(uint16(24+len(payload))), be16(0), be16(0),
		[]byte{64, proto, 0, 0}, src.AsSlice(), dst.AsSlice(), []byte{1, 1, 1, 0})
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, payload...)
}

func ip6(src, dst netip.Addr, next byte, payload []byte) []byte {
	return ip6Hops(src, dst, next, 64, payload)
}

func ip6Hops(src, dst netip.Addr, next, hops byte, payload []byte) []byte {
	return slices.Concat(be32(6<<28), be16(uint16(len(payload))), []byte{next, hops}, src.AsSlice(), dst.AsSlice(),
		payload)
}

// ports is the start of a TCP or UDP header, with enough after it to be one.
func ports(src, dst uint16) []byte {
	return slices.Concat(be16(src), be16(dst), be16(12), be16(0), []byte("data"))
}

// icmp is a message whose second word is rest; the checksum is for IPv4.
func icmp(kind, code byte, rest uint32, payload []byte) []byte {
	m := slices.Concat([]byte{kind, code, 0, 0}, be32(rest), payload)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return m
}

// icmp6 is a message with its checksum (RFC 4443).
func icmp6(src, dst netip.Addr, kind byte, rest uint32, payload []byte) []byte {
	m := slices.Concat([]byte{kind, 0, 0, 0}, be32(rest), payload)
	binary.BigEndian.PutUint16(m[2:], checksum(src.AsSlice(), dst.AsSlice(), be32(uint32(len(m))), be32(58), m))
	return m
}

func gre(vsid uint32, flow byte, frame []byte) []byte {
	return slices.Concat(be16(0x2000), be16(0x6558), be32(vsid<<8|uint32(flow)), frame)
}

func arp(op uint16, senderMAC []byte, sender netip.Addr, targetMAC []byte, target netip.Addr) []byte {
	return slices.Concat(be16(1), be16(etherIPv4), []byte{6, 4}, be16(op), senderMAC, sender.AsSlice(), targetMAC,
		target.AsSlice())
}

// solicit is the IPv6 packet that asks for a target's MAC address.
func solicit(src, dst, target netip.Addr, options ...byte) []byte {
	return ip6Hops(src, dst, 58, 255, icmp6(src, dst, 135, 0, append(target.AsSlice(), options...)))
}

// advertise is the answer to solicit; rest holds the flags.
func advertise(src, dst, target netip.Addr, rest uint32, m net.HardwareAddr) []byte {
	option := append([]byte{2, 1}, m...)
	return ip6Hops(src, dst, 58, 255, icmp6(src, dst, 136, rest, append(target.AsSlice(), option...)))
}

// withClass sets the traffic class (DSCP and ECN) of an IP packet, with its checksum.
func withClass(packet []byte, class byte) []byte {
	p := slices.Clone(packet)
	if p[0]>>4 == 6 {
		binary.BigEndian.PutUint16(p, 6<<12|uint16(class)<<4|binary.BigEndian.Uint16(p)&0xf)
		return p
	}
	p[1] = class
	return sealed(p)
}

// withTTL sets the TTL or hop limit of an IP packet, with its checksum.
func withTTL(packet []byte, ttl byte) []byte {
	p := slices.Clone(packet)
	if p[0]>>4 == 6 {
		p[7] = ttl
		return p
	}
	p[8] = ttl
	return sealed(p)
}

// sealed makes the checksum of an IPv4 header right.
func sealed(p []byte) []byte {
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], checksum(p[:int(p[0]&0xf)*4]))
	return p
}
