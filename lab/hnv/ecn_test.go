package hnv_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"bulkhead/internal/testenv"
	"bulkhead/lab/hnv"
)

// inner is a UDP packet of VM A with the type of service or traffic class given.
func inner(t *testing.T, source, destination string, class uint8) []byte {
	t.Helper()
	from, to := netip.MustParseAddr(source), netip.MustParseAddr(destination)
	ether := &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: 1, DstPort: 2}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &layers.IPv4{
		Version: 4, TTL: 64, TOS: class, Protocol: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice(),
	}
	if from.Is6() {
		ether.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{
			Version: 6, HopLimit: 64, TrafficClass: class, NextHeader: layers.IPProtocolUDP,
			SrcIP: from.AsSlice(), DstIP: to.AsSlice(),
		}
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, ether, ip, udp, gopacket.Payload("x"))
}

// The table is that of RFC 6040 section 4.2, figure 4.
func TestECNIsCarriedAsRFC6040Says(t *testing.T) {
	const dscp = 46 << 2
	for family, x := range map[string]struct {
		policy       hnv.Policy
		pas          [2]netip.Addr
		vsid         uint32
		source, dest string
	}{
		"IPv4": {policy, [2]netip.Addr{paA, paB}, 5003, "10.0.0.10", "10.0.3.10"},
		"IPv6": {policy6, [2]netip.Addr{pa6A, pa6B}, 7001, "fd00:1::a", "fd00:1::b"},
	} {
		t.Run(family, func(t *testing.T) {
			vm := newCable()
			hosts := wire(t, hnv.Config{Name: "a", PA: x.pas[0], Policy: x.policy},
				hnv.Config{Name: "b", PA: x.pas[1], Policy: x.policy, Ports: []hnv.Port{{VSID: x.vsid, MAC: macB, Device: vm}}})
			const dropped = 99
			// Rows are the arriving inner field, columns the outer one: 0 to 3, of which 0 is incapable and 3 congestion.
			for in, row := range [4][4]uint8{{0, 0, 0, dropped}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}} {
				for out, want := range row {
					p := hosts[0].Packet(x.pas[1], x.vsid, inner(t, x.source, x.dest, dscp|uint8(in)))
					if p.TOS != dscp|uint8(in) {
						t.Errorf("sent with outer class %#x for inner %#x", p.TOS, dscp|in)
					}
					p.TOS = p.TOS&^3 | uint8(out)
					drops := hosts[1].Drops()[hnv.DropECN]
					if err := hosts[0].Send(p); err != nil {
						t.Fatal(err)
					}
					if want == dropped {
						testenv.Eventually(t, "the packet is dropped", func() bool { return hosts[1].Drops()[hnv.DropECN] == drops+1 })
						continue
					}
					expected := inner(t, x.source, x.dest, dscp|want)
					if got := vm.next(t); !bytes.Equal(got, expected) {
						t.Errorf("inner %d, outer %d: got %x, want ECN %d, %x", in, out, got, want, expected)
					}
				}
			}
		})
	}
}
