// Package ipflow reads from an IP packet what tells its flow apart from others: the lab's Hyper-V hosts hash it, its
// captures and the demo print it.
package ipflow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// IP protocol numbers that a Flow knows more about.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ESP    = 50
	ICMPv6 = 58
)

// Flow is what a packet says about itself in its IP and transport headers.
type Flow struct {
	Source, Destination netip.Addr
	// Protocol is the IP protocol number.
	Protocol uint8
	// SourcePort and DestinationPort are those of TCP and UDP, else 0, as in fragments behind the first.
	SourcePort, DestinationPort uint16
	// Type and Code are those of ICMP and ICMPv6, else 0.
	Type, Code uint8
	// SPI is that of ESP, plain or in UDP port 4500, else 0.
	SPI uint32
	// Fragment is set for a fragment behind the first, which has no transport header.
	Fragment bool
}

// ErrNotIP is the error of Parse for bytes that are no whole IPv4 or IPv6 header.
var ErrNotIP = errors.New("not an IP packet")

// Parse reads the headers of an IPv4 (RFC 791) or IPv6 (RFC 8200, without extension headers) packet. A transport
// header that is cut off leaves its fields 0.
func Parse(packet []byte) (Flow, error) {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		return parse4(packet)
	case len(packet) >= 40 && packet[0]>>4 == 6:
		f := Flow{
			Source:      netip.AddrFrom16([16]byte(packet[8:24])),
			Destination: netip.AddrFrom16([16]byte(packet[24:40])),
			Protocol:    packet[6],
		}
		f.transport(packet[40:])
		return f, nil
	}
	return Flow{}, ErrNotIP
}

func parse4(packet []byte) (Flow, error) {
	header := int(packet[0]&0xf) * 4
	if header < 20 || len(packet) < header {
		return Flow{}, ErrNotIP
	}
	f := Flow{
		Source:      netip.AddrFrom4([4]byte(packet[12:16])),
		Destination: netip.AddrFrom4([4]byte(packet[16:20])),
		Protocol:    packet[9],
		Fragment:    binary.BigEndian.Uint16(packet[6:])&0x1fff != 0,
	}
	if !f.Fragment {
		f.transport(packet[header:])
	}
	return f, nil
}

func (f *Flow) transport(b []byte) {
	switch f.Protocol {
	case TCP, UDP:
		if len(b) < 4 {
			return
		}
		f.SourcePort, f.DestinationPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		// RFC 3948: ESP in UDP, where four zero bytes in the SPI's place mark IKE instead.
		if f.Protocol == UDP && (f.SourcePort == 4500 || f.DestinationPort == 4500) && len(b) >= 12 {
			f.SPI = binary.BigEndian.Uint32(b[8:])
		}
	case ICMP, ICMPv6:
		if len(b) >= 2 {
			f.Type, f.Code = b[0], b[1]
		}
	case ESP:
		if len(b) >= 4 {
			f.SPI = binary.BigEndian.Uint32(b)
		}
	}
}

// Hash spreads flows over 32 bits; equal flows hash equally.
func (f Flow) Hash() uint32 {
	const prime, offset = 16777619, 2166136261 // FNV-1a
	h := uint32(offset)
	mix := func(b ...byte) {
		for _, c := range b {
			h = (h ^ uint32(c)) * prime
		}
	}
	mix(f.Source.AsSlice()...)
	mix(f.Destination.AsSlice()...)
	mix(f.Protocol, byte(f.SourcePort>>8), byte(f.SourcePort), byte(f.DestinationPort>>8), byte(f.DestinationPort))
	return h
}

// String is the flow as a person reads it: "10.0.0.10:4242 > 10.1.0.5:80 TCP".
func (f Flow) String() string {
	switch {
	case f.Fragment:
		return fmt.Sprintf("%v > %v fragment of protocol %d", f.Source, f.Destination, f.Protocol)
	case f.SPI != 0:
		return fmt.Sprintf("%v > %v ESP spi %08x", f.Source, f.Destination, f.SPI)
	case f.Protocol == TCP:
		return f.ports("TCP")
	case f.Protocol == UDP:
		return f.ports("UDP")
	case f.Protocol == ICMP && f.Type == 8, f.Protocol == ICMPv6 && f.Type == 128:
		return fmt.Sprintf("%v > %v ICMP echo request", f.Source, f.Destination)
	case f.Protocol == ICMP && f.Type == 0, f.Protocol == ICMPv6 && f.Type == 129:
		return fmt.Sprintf("%v > %v ICMP echo reply", f.Source, f.Destination)
	case f.Protocol == ICMP, f.Protocol == ICMPv6:
		return fmt.Sprintf("%v > %v ICMP type %d code %d", f.Source, f.Destination, f.Type, f.Code)
	}
	return fmt.Sprintf("%v > %v protocol %d", f.Source, f.Destination, f.Protocol)
}

func (f Flow) ports(name string) string {
	return fmt.Sprintf("%v > %v %s", netip.AddrPortFrom(f.Source, f.SourcePort),
		netip.AddrPortFrom(f.Destination, f.DestinationPort), name)
}
