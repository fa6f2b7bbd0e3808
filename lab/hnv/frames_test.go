package hnv_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Frames for and from VMs are written and read by another implementation than the host's.

func serialize(t *testing.T, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, all...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buffer.Bytes())
}

func parse(frame []byte) gopacket.Packet {
	return gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
}

// arpFrame is an ARP message of a MAC that has an address.
func arpFrame(t *testing.T, operation uint16, sender net.HardwareAddr, from string, to net.HardwareAddr,
	target string) []byte {
	t.Helper()
	destination := to
	if operation == layers.ARPRequest {
		destination = layers.EthernetBroadcast
	}
	return serialize(t,
		&layers.Ethernet{SrcMAC: sender, DstMAC: destination, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: operation, SourceHwAddress: sender, SourceProtAddress: netip.MustParseAddr(from).AsSlice(),
			DstHwAddress:   append(make([]byte, 0, 6), append(to, make([]byte, 6)...)[:6]...),
			DstProtAddress: netip.MustParseAddr(target).AsSlice(),
		})
}

func icmp6(t *testing.T, source, destination net.HardwareAddr, from, to string, kind uint8,
	body gopacket.SerializableLayer) []byte {
	t.Helper()
	ip := &layers.IPv6{
		Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: netip.MustParseAddr(from).AsSlice(), DstIP: netip.MustParseAddr(to).AsSlice(),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, &layers.Ethernet{SrcMAC: source, DstMAC: destination, EthernetType: layers.EthernetTypeIPv6},
		ip, icmp, body)
}

// solicit is a neighbour solicitation as a VM multicasts it.
func solicit(t *testing.T, sender net.HardwareAddr, from, target string) []byte {
	t.Helper()
	asked := netip.MustParseAddr(target).As16()
	group := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 0xff, asked[13], asked[14], asked[15]})
	return icmp6(t, sender, net.HardwareAddr{0x33, 0x33, 0xff, asked[13], asked[14], asked[15]}, from, group.String(),
		layers.ICMPv6TypeNeighborSolicitation, &layers.ICMPv6NeighborSolicitation{
			TargetAddress: asked[:],
			Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: sender}},
		})
}

// advertise is a neighbour advertisement to whoever asked.
func advertise(t *testing.T, sender net.HardwareAddr, from string, to net.HardwareAddr, asked string) []byte {
	t.Helper()
	return icmp6(t, sender, to, from, asked, layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{
		Flags: 0x60, TargetAddress: netip.MustParseAddr(from).AsSlice(),
		Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: sender}},
	})
}

// advertised reads a neighbour advertisement.
func advertised(t *testing.T, frame []byte) (address netip.Addr, mac net.HardwareAddr) {
	t.Helper()
	layer, ok := parse(frame).Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if !ok || len(layer.Options) != 1 {
		t.Fatalf("want a neighbour advertisement, got %x", frame)
	}
	address, _ = netip.AddrFromSlice(layer.TargetAddress)
	return address, layer.Options[0].Data
}

// answered reads an ARP reply.
func answered(t *testing.T, frame []byte) (address netip.Addr, mac net.HardwareAddr) {
	t.Helper()
	layer, ok := parse(frame).Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok || layer.Operation != layers.ARPReply {
		t.Fatalf("want an ARP reply, got %x", frame)
	}
	address, _ = netip.AddrFromSlice(layer.SourceProtAddress)
	return address, layer.SourceHwAddress
}

// quiet insists that the VM gets nothing more, once something else has shown that all before it was handled.
func (c *cable) quiet(t *testing.T) {
	t.Helper()
	select {
	case frame := <-c.received:
		t.Errorf("the VM got %x", frame)
	default:
	}
}
