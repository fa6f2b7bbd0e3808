package hnv

import (
	"bytes"
	"encoding/binary"
)

// The ECN field (RFC 3168 section 5), the low two bits of the type of service or traffic class.
const (
	ecnMask = 3
	notECT  = 0
	ect1    = 1
	ect0    = 2
	ce      = 3
)

// tos is the DSCP and ECN of the IP packet in a frame; 0 where there is none.
func tos(frame []byte) uint8 {
	switch {
	case len(frame) >= etherLen+ipv4Len && binary.BigEndian.Uint16(frame[12:]) == etherIPv4:
		return frame[etherLen+1]
	case len(frame) >= etherLen+ipv6Len && binary.BigEndian.Uint16(frame[12:]) == etherIPv6:
		return uint8(binary.BigEndian.Uint16(frame[etherLen:]) >> 4)
	}
	return 0
}

// setTOS changes DSCP and ECN of the IP packet in a frame, with its header's checksum; a frame without one it leaves.
func setTOS(frame []byte, value uint8) {
	switch {
	case len(frame) >= etherLen+ipv4Len && binary.BigEndian.Uint16(frame[12:]) == etherIPv4:
		ip := frame[etherLen:]
		header := int(ip[0]&0xf) * 4
		if header < ipv4Len || header > len(ip) {
			return
		}
		ip[1], ip[10], ip[11] = value, 0, 0
		binary.BigEndian.PutUint16(ip[10:], checksum(ip[:header]))
	case len(frame) >= etherLen+ipv6Len && binary.BigEndian.Uint16(frame[12:]) == etherIPv6:
		ip := frame[etherLen:]
		first := binary.BigEndian.Uint16(ip)
		binary.BigEndian.PutUint16(ip, first&^0xff0|uint16(value)<<4)
	}
}

// isIP tells whether a frame holds an IPv4 or IPv6 packet.
func isIP(frame []byte) bool {
	kind := binary.BigEndian.Uint16(frame[12:])
	return kind == etherIPv4 || kind == etherIPv6
}

// decapsulateECN brings what the provider network did to the ECN field into the inner packet, as RFC 6040 section 4.2
// says. Sending copies the inner field out (section 4.1), with the DSCP.
func decapsulateECN(outer uint8, inner []byte) ([]byte, error) {
	if !isIP(inner) {
		return inner, nil
	}
	own := tos(inner)
	to := own & ecnMask
	switch outer & ecnMask {
	case ce:
		if to == notECT {
			return nil, DropECN
		}
		to = ce
	case ect1:
		if to == ect0 {
			to = ect1
		}
	}
	if to != own&ecnMask {
		inner = bytes.Clone(inner)
		setTOS(inner, own&^ecnMask|to)
	}
	return inner, nil
}
