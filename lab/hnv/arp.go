package hnv

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
)

// ARP operations.
const (
	arpRequest = 1
	arpReply   = 2
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arpStart is the constant part of an ARP message for IPv4 over Ethernet (RFC 826).
var arpStart = []byte{0, 1, 8, 0, 6, 4}

// arp is an ARP message for IPv4 over Ethernet.
type arp struct {
	operation uint16
	sender    net.HardwareAddr
	receiver  net.HardwareAddr
	senderIP  netip.Addr
	target    netip.Addr
}

// parseARP reads the ARP message of an Ethernet frame.
func parseARP(frame []byte) (arp, bool) {
	if len(frame) < etherLen+28 || !bytes.Equal(frame[etherLen:etherLen+6], arpStart) {
		return arp{}, false
	}
	b := frame[etherLen:]
	return arp{
		operation: binary.BigEndian.Uint16(b[6:]),
		sender:    net.HardwareAddr(b[8:14]),
		senderIP:  netip.AddrFrom4([4]byte(b[14:18])),
		receiver:  net.HardwareAddr(b[18:24]),
		target:    netip.AddrFrom4([4]byte(b[24:28])),
	}, true
}

// frame is the message in an Ethernet frame to a MAC address.
func (a arp) frame(to net.HardwareAddr) []byte {
	b := make([]byte, 60) // the shortest Ethernet frame, without FCS
	copy(b, to)
	copy(b[6:], a.sender)
	binary.BigEndian.PutUint16(b[12:], etherARP)
	copy(b[etherLen:], arpStart)
	binary.BigEndian.PutUint16(b[etherLen+6:], a.operation)
	copy(b[etherLen+8:], a.sender)
	copy(b[etherLen+14:], a.senderIP.AsSlice())
	copy(b[etherLen+18:], a.receiver)
	copy(b[etherLen+24:], a.target.AsSlice())
	return b
}
