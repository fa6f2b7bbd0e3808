package dataplane

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// probeTTL is the time to live that a traced packet begins with, as most systems send.
const probeTTL = 64

// Echo tells whether it is an echo request, whose identifier is SourcePort.
func (p Probe) Echo() bool {
	return p.Protocol == unix.IPPROTO_ICMP || p.Protocol == unix.IPPROTO_ICMPV6
}

// serialize makes the Ethernet frame of a packet.
func serialize(to, from net.HardwareAddr, p Probe) ([]byte, error) {
	return assemble(append([]gopacket.SerializableLayer{ethernet(to, from, p.From)}, p.layers()...))
}

// frame is a host's packet as it comes in on the provider network.
func (o Outer) frame(mac net.HardwareAddr, p Probe) ([]byte, error) {
	if o.VSID == 0 {
		p.From, p.To = o.PA, o.Local
		return serialize(mac, net.HardwareAddr{2, 0, 0, 0, 0, 3}, p)
	}
	outer := []gopacket.SerializableLayer{
		ethernet(mac, net.HardwareAddr{2, 0, 0, 0, 0, 3}, o.PA),
		network(o.PA, o.Local, layers.IPProtocolGRE),
		&layers.GRE{KeyPresent: true, Key: o.VSID << 8, Protocol: layers.EthernetTypeTransparentEthernetBridging},
		ethernet(o.To, o.From, p.From),
	}
	return assemble(append(outer, p.layers()...))
}

func assemble(all []gopacket.SerializableLayer) ([]byte, error) {
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, all...); err != nil {
		return nil, fmt.Errorf("make the traced packet: %w", err)
	}
	return buffer.Bytes(), nil
}

func ethernet(to, from net.HardwareAddr, like netip.Addr) gopacket.SerializableLayer {
	e := &layers.Ethernet{DstMAC: to, SrcMAC: from, EthernetType: layers.EthernetTypeIPv6}
	if like.Is4() {
		e.EthernetType = layers.EthernetTypeIPv4
	}
	return e
}

// ipLayer is either version's header.
type ipLayer interface {
	gopacket.SerializableLayer
	gopacket.NetworkLayer
}

func network(from, to netip.Addr, protocol layers.IPProtocol) ipLayer {
	if from.Is4() {
		return &layers.IPv4{Version: 4, TTL: probeTTL, Protocol: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	}
	return &layers.IPv6{Version: 6, HopLimit: probeTTL, NextHeader: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
}

// layers are the packet from its IP header on.
func (p Probe) layers() []gopacket.SerializableLayer {
	ip := network(p.From, p.To, layers.IPProtocol(p.Protocol))
	all := []gopacket.SerializableLayer{ip}
	sum := func(l interface {
		gopacket.SerializableLayer
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}) {
		// It refuses what is not IP only.
		_ = l.SetNetworkLayerForChecksum(ip)
		all = append(all, l)
	}
	switch p.Protocol {
	case unix.IPPROTO_TCP:
		sum(&layers.TCP{
			SrcPort: layers.TCPPort(p.SourcePort), DstPort: layers.TCPPort(p.DestinationPort), SYN: true, Window: 0xffff,
		})
	case unix.IPPROTO_UDP:
		sum(&layers.UDP{SrcPort: layers.UDPPort(p.SourcePort), DstPort: layers.UDPPort(p.DestinationPort)})
	case unix.IPPROTO_ICMP:
		all = append(all, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: p.SourcePort, Seq: 1})
	case unix.IPPROTO_ICMPV6:
		sum(&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)})
		all = append(all, &layers.ICMPv6Echo{Identifier: p.SourcePort, SeqNumber: 1})
	}
	return append(all, gopacket.Payload("bulkhead trace"))
}

// read takes what a door made of a frame: the packet, and what is around it where it is for a host.
func (h *Hop) read(frame []byte) error {
	h.Probe = Probe{}
	for _, l := range gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy).Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			h.Outer.From, h.Outer.To = l.SrcMAC, l.DstMAC
		case *layers.IPv4:
			h.From, h.To, h.Protocol = ipOf(l.SrcIP), ipOf(l.DstIP), uint8(l.Protocol)
		case *layers.IPv6:
			h.From, h.To, h.Protocol = ipOf(l.SrcIP), ipOf(l.DstIP), uint8(l.NextHeader)
		case *layers.GRE:
			h.Outcome = ToHost
			h.Outer.Local, h.Outer.PA, h.Outer.VSID = h.From, h.To, l.Key>>8
		case *layers.TCP:
			h.SourcePort, h.DestinationPort = uint16(l.SrcPort), uint16(l.DstPort)
			return nil
		case *layers.UDP:
			h.SourcePort, h.DestinationPort = uint16(l.SrcPort), uint16(l.DstPort)
			return nil
		case *layers.ICMPv4:
			h.SourcePort = l.Id
			return nil
		case *layers.ICMPv6Echo:
			h.SourcePort = l.Identifier
			return nil
		}
	}
	return fmt.Errorf("what a door sends on is no packet that can be read: %x", frame)
}

func ipOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
