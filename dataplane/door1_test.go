package dataplane

import (
	"net"
	"net/netip"
	"slices"
	"testing"
)

// nvgre is a frame from a host to the gateway.
func nvgre(from netip.Addr, vsid uint32, frame []byte) []byte {
	return ether(backendMAC, hostMAC, etherIPv4, ip4(from, provider, 47, gre(vsid, 0x5a, frame)))
}

// answered is the outer packet of an answer to nvgre.
func answered(vsid uint32, frame []byte) []byte {
	return ether(hostMAC, backendMAC, etherIPv4, outer(provider, host, gre(vsid, 0x5a, frame)))
}

// outer is an IPv4 header as the doors write it.
func outer(src, dst netip.Addr, payload []byte) []byte {
	packet := ip4Fragment(src, dst, 47, 0x4000, payload)
	packet[8] = 128
	packet[10], packet[11] = 0, 0
	sum := checksum(packet[:20])
	packet[10], packet[11] = byte(sum>>8), byte(sum)
	return packet
}

func TestDoor1LetsInOnlyWhatATenantsHostsSentToIt(t *testing.T) {
	d := fabrikamDoors(t)
	inner4 := ip4(vmCA, gatewayCA, 17, ports(1, 2))
	inner6 := ip6(vmCA6, gatewayCA6, 17, ports(1, 2))
	good := nvgre(host, 6001, ether(gatewayMAC, vmMAC, etherIPv4, inner4))
	with := func(at int, bytes ...byte) []byte {
		f := slices.Clone(good)
		copy(f[at:], bytes)
		return f
	}
	toProvider := func(payload []byte) []byte { return ether(backendMAC, hostMAC, etherIPv4, payload) }
	frame := func(dst net.HardwareAddr, proto uint16, payload []byte) []byte {
		return nvgre(host, 6001, ether(dst, vmMAC, proto, payload))
	}
	const outerIP, greHeader = 14, 34
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "IPv4", frame: good, verdict: verdictRedirect, out: ether(gatewayMAC, vmMAC, etherIPv4, inner4)},
		{name: "IPv6", frame: frame(gatewayMAC, etherIPv6, inner6), verdict: verdictRedirect,
			out: ether(gatewayMAC, vmMAC, etherIPv6, inner6)},
		{name: "Ethernet padding", frame: append(slices.Clone(good), 0, 0, 0), verdict: verdictRedirect},
		{name: "another FlowID", frame: with(greHeader+7, 0xff), verdict: verdictRedirect},
		{name: "the other tenant alike", frame: nvgre(host, 6002, ether(gatewayMAC, vmMAC, etherIPv4, inner4)),
			verdict: verdictRedirect, out: ether(gatewayMAC, vmMAC, etherIPv4, inner4)},
		{name: "ARP on the provider network", verdict: verdictNext,
			frame: ether(broadcast, hostMAC, etherARP, arp(1, hostMAC, host, make([]byte, 6), provider))},
		{name: "tagged", frame: ether(backendMAC, hostMAC, etherVLAN, append([]byte{0, 5}, good[12:]...)),
			verdict: verdictNext},
		{name: "to another address", verdict: verdictNext,
			frame: toProvider(ip4(host, addr("192.168.0.12"), 47, gre(6001, 1, good)))},
		{name: "to another machine", frame: with(0, hostMAC...), verdict: verdictNext},
		{name: "IPv6 provider network", verdict: verdictNext,
			frame: ether(backendMAC, hostMAC, etherIPv6, ip6(vmCA6, gatewayCA6, 47, nil))},
		{name: "ping", frame: toProvider(ip4(host, provider, 1, icmp(8, 0, 1, nil))), verdict: verdictNext},
		{name: "ping reply", frame: toProvider(ip4(host, provider, 1, icmp(0, 0, 1, nil))), verdict: verdictNext},
		{name: "other ICMP", frame: toProvider(ip4(host, provider, 1, icmp(5, 0, 1, nil))), verdict: verdictDrop,
			reason: "not-nvgre"},
		{name: "TCP", frame: toProvider(ip4(host, provider, 6, ports(1, 22))), verdict: verdictDrop, reason: "not-nvgre"},
		{name: "broadcast frame", frame: with(0, broadcast...), verdict: verdictDrop, reason: "not-unicast"},
		{name: "first fragment", frame: with(outerIP+6, 0x20, 0), verdict: verdictDrop, reason: "outer-fragment"},
		{name: "later fragment", frame: with(outerIP+6, 0, 1), verdict: verdictDrop, reason: "outer-fragment"},
		{name: "options", frame: toProvider(ip4Options(host, provider, 47, good[34:])), verdict: verdictDrop,
			reason: "outer-options"},
		{name: "truncated", frame: good[:len(good)-1], verdict: verdictDrop, reason: "outer-length"},
		{name: "half a GRE header", frame: toProvider(ip4(host, provider, 47, []byte{0x20, 0, 0x65, 0x58})),
			verdict: verdictDrop, reason: "outer-length"},
		{name: "outer length too small", frame: with(outerIP+2, 0, 30), verdict: verdictDrop, reason: "outer-length"},
		{name: "no key", frame: with(greHeader, 0), verdict: verdictDrop, reason: "gre-header"},
		{name: "sequence number", frame: with(greHeader, 0x30), verdict: verdictDrop, reason: "gre-header"},
		{name: "checksum", frame: with(greHeader, 0xa0), verdict: verdictDrop, reason: "gre-header"},
		{name: "version 1", frame: with(greHeader+1, 1), verdict: verdictDrop, reason: "gre-header"},
		{name: "GRE without Ethernet", frame: with(greHeader+2, 8, 0), verdict: verdictDrop, reason: "gre-protocol"},
		{name: "unknown VSID", frame: nvgre(host, 6003, good), verdict: verdictDrop, reason: "unknown-vsid"},
		{name: "a VSID without an interface", verdict: verdictDrop, tenant: "Contoso", reason: "inner-mac",
			frame: nvgre(host, 5001, ether(gatewayMAC, vmMAC, etherIPv4, inner4))},
		{name: "unlisted host", verdict: verdictDrop, tenant: "Contoso", reason: "unlisted-provider",
			frame: nvgre(addr("192.168.0.44"), 6001, ether(gatewayMAC, vmMAC, etherIPv4, inner4))},
		{name: "the other tenant's host", verdict: verdictDrop, tenant: "Contoso", reason: "unlisted-provider",
			frame: nvgre(addr("192.168.0.33"), 6001, ether(gatewayMAC, vmMAC, etherIPv4, inner4))},
		{name: "inner tag", frame: frame(gatewayMAC, etherVLAN, inner4), verdict: verdictDrop, tenant: "Contoso",
			reason: "inner-vlan"},
		{name: "inner MAC", frame: frame(hostMAC, etherIPv4, inner4), verdict: verdictDrop, tenant: "Contoso",
			reason: "inner-mac"},
		{name: "inner broadcast", frame: frame(broadcast, etherIPv4, inner4), verdict: verdictDrop, tenant: "Contoso",
			reason: "inner-mac"},
		{name: "inner IPv6 multicast", frame: frame(mac("33:33:00:00:00:01"), etherIPv6, inner6), verdict: verdictDrop,
			tenant: "Contoso", reason: "inner-mac"},
		{name: "other inner protocol", frame: frame(gatewayMAC, 0x88cc, inner4), verdict: verdictDrop, tenant: "Contoso",
			reason: "inner-ethertype"},
		{name: "inner header cut", frame: frame(gatewayMAC, etherIPv4, inner4[:19]), verdict: verdictDrop,
			tenant: "Contoso", reason: "inner-length"},
		{name: "inner packet cut", frame: frame(gatewayMAC, etherIPv4, inner4[:len(inner4)-1]), verdict: verdictDrop,
			tenant: "Contoso", reason: "inner-length"},
		{name: "inner IPv6 cut", frame: frame(gatewayMAC, etherIPv6, inner6[:len(inner6)-1]), verdict: verdictDrop,
			tenant: "Contoso", reason: "inner-length"},
		{name: "inner version", frame: frame(gatewayMAC, etherIPv4, inner6), verdict: verdictDrop, tenant: "Contoso",
			reason: "inner-length"},
	})
}

func TestDoor1AnswersForTheGatewaysAddressesInTheSubnet(t *testing.T) {
	d := fabrikamDoors(t)
	none := make(net.HardwareAddr, 6)
	ask := func(dst net.HardwareAddr, payload []byte) []byte {
		return nvgre(host, 6001, ether(dst, vmMAC, etherARP, payload))
	}
	question := arp(1, vmMAC, vmCA, none, gatewayCA)
	reply := ether(vmMAC, gatewayMAC, etherARP, arp(2, gatewayMAC, gatewayCA, vmMAC, vmCA))
	answer := answered(6001, reply)
	multicast, group := mac("33:33:ff:00:00:02"), addr("ff02::1:ff00:2")
	ask6 := func(dst net.HardwareAddr, packet []byte) []byte {
		return nvgre(host, 6001, ether(dst, vmMAC, etherIPv6, packet))
	}
	answer6 := answered(6001, ether(vmMAC, gatewayMAC, etherIPv6,
		advertise(gatewayCA6, vmCA6, gatewayCA6, 0x60000000, gatewayMAC)))
	lla := append([]byte{1, 1}, vmMAC...)
	nonce := []byte{14, 1, 1, 2, 3, 4, 5, 6}
	wrong := arp(1, vmMAC, vmCA, none, gatewayCA)
	wrong[4] = 8
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "ARP by broadcast", frame: ask(broadcast, question), verdict: verdictRedirect, out: answer},
		{name: "ARP by unicast", frame: ask(gatewayMAC, question), verdict: verdictRedirect, out: answer},
		{name: "ARP in the other tenant's subnet",
			frame:   nvgre(host, 6002, ether(broadcast, vmMAC, etherARP, question)),
			verdict: verdictRedirect, out: answered(6002, reply)},
		{name: "ARP for another", frame: ask(broadcast, arp(1, vmMAC, vmCA, none, addr("10.0.254.3"))),
			verdict: verdictDrop, tenant: "Contoso", reason: "inner-arp"},
		{name: "gratuitous ARP", frame: ask(broadcast, arp(1, vmMAC, gatewayCA, none, gatewayCA)),
			verdict: verdictDrop, tenant: "Contoso", reason: "inner-arp"},
		{name: "ARP reply", frame: ask(gatewayMAC, arp(2, vmMAC, vmCA, gatewayMAC, gatewayCA)),
			verdict: verdictDrop, tenant: "Contoso", reason: "inner-arp"},
		{name: "ARP of another hardware", frame: ask(broadcast, wrong), verdict: verdictDrop, tenant: "Contoso",
			reason: "inner-arp"},
		{name: "ARP cut", frame: ask(broadcast, question[:20]), verdict: verdictDrop, tenant: "Contoso", reason: "inner-arp"},
		{name: "ARP to another MAC", frame: ask(hostMAC, question), verdict: verdictDrop, tenant: "Contoso",
			reason: "inner-mac"},
		{name: "solicitation", frame: ask6(multicast, solicit(vmCA6, group, gatewayCA6, lla...)),
			verdict: verdictRedirect, out: answer6},
		{name: "solicitation by unicast without option", frame: ask6(gatewayMAC, solicit(vmCA6, gatewayCA6, gatewayCA6)),
			verdict: verdictRedirect, out: answer6},
		{name: "solicitation with two options", verdict: verdictRedirect, out: answer6,
			frame: ask6(multicast, solicit(vmCA6, group, gatewayCA6, append(lla, nonce...)...))},
		{name: "duplicate address detection", frame: ask6(multicast, solicit(netip.IPv6Unspecified(), group, gatewayCA6)),
			verdict: verdictRedirect, out: answered(6001, ether(vmMAC, gatewayMAC, etherIPv6,
				advertise(gatewayCA6, addr("ff02::1"), gatewayCA6, 0x20000000, gatewayMAC)))},
		{name: "solicitation of another", frame: ask6(multicast, solicit(vmCA6, group, addr("fd00:254::3"))),
			verdict: verdictDrop, tenant: "Contoso", reason: "inner-nd"},
		{name: "solicitation from beyond the link", verdict: verdictDrop, tenant: "Contoso", reason: "inner-nd",
			frame: ask6(multicast, ip6Hops(vmCA6, group, 58, 254, icmp6(vmCA6, group, 135, 0, gatewayCA6.AsSlice())))},
		{name: "router advertisement", verdict: verdictDrop, tenant: "Contoso", reason: "inner-nd",
			frame: ask6(gatewayMAC, ip6Hops(vmCA6, gatewayCA6, 58, 255, icmp6(vmCA6, gatewayCA6, 134, 0, make([]byte, 8))))},
	})
}

func TestDoor1SendsACompartmentsPacketWhereItsRecordSays(t *testing.T) {
	d := fabrikamDoors(t)
	// The veth of a compartment writes any MAC addresses; none of them counts.
	from := func(proto uint16, packet []byte) []byte { return ether(gatewayMAC, gatewayMAC, proto, packet) }
	marked := ip4(gatewayCA, vmCA, 17, ports(1, 2))
	marked[1] = 0xb9
	stray := from(etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1, 2)))
	d.check(t, d.objects.Door1Tenant, "door1", "bhi6001", []packetCase{
		{name: "no record", frame: from(etherIPv4, ip4(gatewayCA, addr("10.0.0.100"), 17, ports(1, 2))),
			verdict: verdictDrop, tenant: "Contoso", reason: "no-record"},
		{name: "no IPv6 record", frame: from(etherIPv6, ip6(gatewayCA6, addr("fd00::11"), 17, ports(1, 2))),
			verdict: verdictDrop, tenant: "Contoso", reason: "no-record"},
		{name: "another protocol than IP", frame: from(0x88cc, make([]byte, 40)), verdict: verdictDrop,
			tenant: "Contoso", reason: "not-ip"},
		{name: "IPv4 multicast", frame: from(etherIPv4, ip4(gatewayCA, addr("224.0.0.22"), 2, make([]byte, 8))),
			verdict: verdictDrop, tenant: "Contoso", reason: "link-scope"},
		{name: "broadcast", frame: from(etherIPv4, ip4(gatewayCA, addr("255.255.255.255"), 17, ports(68, 67))),
			verdict: verdictDrop, tenant: "Contoso", reason: "link-scope"},
		{name: "router solicitation", frame: from(etherIPv6, ip6(addr("fe80::1"), addr("ff02::2"), 58, make([]byte, 8))),
			verdict: verdictDrop, tenant: "Contoso", reason: "link-scope"},
		{name: "link-local", frame: from(etherIPv6, ip6(addr("fe80::1"), addr("fe80::2"), 58, make([]byte, 8))),
			verdict: verdictDrop, tenant: "Contoso", reason: "link-scope"},
		{name: "IPv4 address in IPv6", verdict: verdictDrop, tenant: "Contoso", reason: "link-scope",
			frame: from(etherIPv6, ip6(gatewayCA6, netip.AddrFrom16(vmCA.As16()), 17, ports(1, 2)))},
		{name: "wrong version", frame: from(etherIPv6, slices.Concat(marked, marked)), verdict: verdictDrop,
			tenant: "Contoso", reason: "malformed"},
		{name: "a link of nobody", frame: stray, link: "stray", verdict: verdictDrop, reason: "unknown-link"},
	})
	for _, c := range []struct {
		name, link  string
		frame       []byte
		vsid        uint32
		proto       uint16
		destination string
	}{
		{name: "IPv4", link: "bhi6001", frame: stray, vsid: 5001, proto: etherIPv4},
		{name: "IPv4 of the other tenant", link: "bhi6002", frame: stray, vsid: 5002, proto: etherIPv4},
		{name: "DSCP and ECN", link: "bhi6001", frame: from(etherIPv4, marked), vsid: 5001, proto: etherIPv4},
		{name: "the gateway's own VSID", link: "bhi6001", vsid: 6001, proto: etherIPv4,
			frame: from(etherIPv4, ip4(gatewayCA, addr("10.0.254.9"), 17, ports(1, 2)))},
		{name: "IPv6", link: "bhi6001", frame: from(etherIPv6, ip6(gatewayCA6, vmCA6, 17, ports(1, 2))), vsid: 5001,
			proto: etherIPv6},
	} {
		t.Run(c.name, func(t *testing.T) {
			verdict, out := d.run(t, d.objects.Door1Tenant, c.link, c.frame)
			if verdict != verdictRedirect || len(out) < 42 {
				t.Fatalf("verdict %d, %d bytes", verdict, len(out))
			}
			// The outer Ethernet header is the neighbour's, written after the program; the FlowID is any.
			packet := outer(provider, host, gre(c.vsid, out[41], ether(vmMAC, gatewayMAC, c.proto, c.frame[14:])))
			if c.proto == etherIPv4 && c.frame[15] != 0 {
				packet[1], packet[10], packet[11] = c.frame[15], 0, 0
				sum := checksum(packet[:20])
				packet[10], packet[11] = byte(sum>>8), byte(sum)
			}
			if !slices.Equal(packet, out[14:]) {
				t.Errorf("got  %x\nwant %x", out[14:], packet)
			}
		})
	}
}

func TestDoor1GivesFlowsDifferentFlowIDs(t *testing.T) {
	d := fabrikamDoors(t)
	flows := make(map[byte]int)
	for port := range uint16(256) {
		frame := ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1024+port, 80)))
		_, first := d.run(t, d.objects.Door1Tenant, "bhi6001", frame)
		_, again := d.run(t, d.objects.Door1Tenant, "bhi6001", frame)
		if first[41] != again[41] {
			t.Fatalf("one flow has FlowIDs %d and %d", first[41], again[41])
		}
		flows[first[41]]++
	}
	// 256 draws of 256 values leave about 162 different ones.
	if len(flows) < 120 {
		t.Errorf("256 flows have only %d FlowIDs", len(flows))
	}
}

func TestDoor1DropsUntilTheGatewayIsSet(t *testing.T) {
	d := fabrikamDoors(t)
	d.do(t, func() error { return d.SetGateway(Gateway{}) })
	frame := ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1, 2)))
	d.check(t, d.objects.Door1Tenant, "door1", "bhi6001", []packetCase{
		{name: "to a host", frame: frame, verdict: verdictDrop, tenant: "Contoso", reason: "not-ready"},
	})
	d.check(t, d.objects.Door2Tenant, "door2", "bhx1", []packetCase{
		{name: "to the Internet", frame: ether(extMAC, extMAC, etherIPv4, ip4(contosoNAT, internet, 17, ports(1, 2))),
			verdict: verdictDrop, tenant: "Contoso", reason: "not-ready"},
	})
}
