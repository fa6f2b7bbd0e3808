package hnv_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"bulkhead/lab/hnv"
)

// sixes is a routing domain of IPv6 customer addresses on IPv6 provider addresses.
var (
	pa6A    = netip.MustParseAddr("fd00:a::22")
	pa6B    = netip.MustParseAddr("fd00:a::33")
	policy6 = hnv.Policy{
		Subnets: []hnv.Subnet{
			{RoutingDomain: "six", VSID: 7001, Prefix: netip.MustParsePrefix("fd00:1::/64")},
			{RoutingDomain: "six", VSID: 7002, Prefix: netip.MustParsePrefix("fd00:2::/64")},
		},
		Records: []hnv.Record{
			{RoutingDomain: "six", VSID: 7001, CA: netip.MustParseAddr("fd00:1::a"), MAC: macA, PA: pa6A},
			{RoutingDomain: "six", VSID: 7001, CA: netip.MustParseAddr("fd00:1::b"), MAC: macB, PA: pa6B},
			{RoutingDomain: "six", VSID: 7002, CA: netip.MustParseAddr("fd00:2::b"), MAC: macB, PA: pa6B},
		},
	}
)

func sixHosts(t *testing.T) (hosts []*hnv.Host, vmA, sameSubnet, other *cable) {
	t.Helper()
	vmA, sameSubnet, other = newCable(), newCable(), newCable()
	hosts = wire(t,
		hnv.Config{Name: "a", PA: pa6A, Policy: policy6, Ports: []hnv.Port{{VSID: 7001, MAC: macA, Device: vmA}}},
		hnv.Config{Name: "b", PA: pa6B, Policy: policy6, Ports: []hnv.Port{
			{VSID: 7001, MAC: macB, Device: sameSubnet}, {VSID: 7002, MAC: macB, Device: other}}})
	return hosts, vmA, sameSubnet, other
}

func TestIPv6IsCarriedOverIPv6WithinAndBetweenSubnets(t *testing.T) {
	hosts, vmA, sameSubnet, other := sixHosts(t)
	from := netip.MustParseAddr("fd00:1::a")
	vmA.sent <- hnv.EchoRequest(macA, macB, from, netip.MustParseAddr("fd00:1::b"), 1, 1)
	vmA.sent <- hnv.EchoRequest(macA, hnv.RouterMAC, from, netip.MustParseAddr("fd00:2::b"), 1, 1)
	for vsid, vm := range map[uint32]*cable{7001: sameSubnet, 7002: other} {
		got := vm.next(t)
		if parse(got).Layer(layers.LayerTypeICMPv6Echo) == nil || !bytes.Equal(got[:6], macB) {
			t.Errorf("%d: got %x", vsid, got)
		}
		o, err := hosts[1].Await(t.Context(), func(o hnv.Observation) bool { return o.VSID == vsid })
		if err != nil || o.Source != pa6A || o.Destination != pa6B || o.Dropped != "" {
			t.Errorf("%d: %v, %v", vsid, o, err)
		}
	}
}

func TestHostAnswersNDForTheRouterAndForRecordsAndNothingGoesToTheWire(t *testing.T) {
	hosts, vmA, _, _ := sixHosts(t)
	for target, want := range map[string][]byte{"fd00:1::1": hnv.RouterMAC, "fd00:1::b": macB} {
		vmA.sent <- solicit(t, macA, "fd00:1::a", target)
		got := vmA.next(t)
		if address, mac := advertised(t, got); address.String() != target || !bytes.Equal(mac, want) {
			t.Errorf("%s: %v is at %v", target, address, mac)
		}
	}
	vmA.sent <- solicit(t, macA, "fd00:1::a", "fd00:1::77")
	vmA.sent <- solicit(t, macA, "fd00:1::a", "fd00:2::b")
	vmA.sent <- solicit(t, macA, "::", "fd00:1::b") // is there another one?
	self, router := netip.MustParseAddr("fd00:1::a"), netip.MustParseAddr("fd00:1::1")
	vmA.sent <- hnv.EchoRequest(macA, hnv.RouterMAC, self, router, 3, 4)
	reply := parse(vmA.next(t))
	icmp, ok := reply.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if !ok || icmp.TypeCode.Type() != layers.ICMPv6TypeEchoReply || reply.ErrorLayer() != nil {
		t.Errorf("the router's echo reply is %v", reply)
	}
	if hosts[0].Drops()[hnv.DropARP] != 3 || len(hosts[0].Observations()) != 0 {
		t.Errorf("drops %v; on the wire %v", hosts[0].Drops(), hosts[0].Observations())
	}
}

// The bytes were worked out by hand from RFC 7637 section 3.2 and RFC 8200 section 3.
func TestOuterIPv6IsWrittenAndReadAsTheRFCsSay(t *testing.T) {
	p := hnv.Packet{
		SourceMAC: macA, DestinationMAC: macB, Source: pa6A, Destination: pa6B, TOS: 0xb9, Flags: hnv.Flags,
		Protocol: hnv.Protocol, VSID: 7001, FlowID: 0x5a, Inner: make([]byte, 14),
	}
	frame := p.Marshal()
	head := []byte{0x6b, 0x90, 0, 0x5a, 0, 22, 47, 128}
	if !bytes.Equal(frame[12:22], append([]byte{0x86, 0xdd}, head...)) ||
		!bytes.Equal(frame[54:62], []byte{0x20, 0, 0x65, 0x58, 0, 0x1b, 0x59, 0x5a}) {
		t.Errorf("got %x", frame)
	}
	got, err := hnv.Parse(frame)
	if err != nil || got.TOS != 0xb9 || got.Source != pa6A || got.Destination != pa6B || got.VSID != 7001 {
		t.Errorf("read %+v, %v", got, err)
	}
	for name, edit := range map[string]func(f []byte) []byte{
		"cut short":        func(f []byte) []byte { return f[:len(f)-1] },
		"fragment":         func(f []byte) []byte { f[20] = 44; return f },
		"extension header": func(f []byte) []byte { f[20] = 60; return f },
		"version 4":        func(f []byte) []byte { f[14] = 0x4b; return f },
	} {
		if _, err := hnv.Parse(edit(p.Marshal())); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
