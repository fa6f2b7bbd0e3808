package dataplane

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
)

var noMAC = make(net.HardwareAddr, 6)

// sourceOption is the ND option with the MAC address of who asks.
func sourceOption(m net.HardwareAddr) []byte { return append([]byte{1, 1}, m...) }

func TestNeighbourMessagesSayWhoHasAnAddress(t *testing.T) {
	group := addr("ff02::1:ff00:2")
	v4, v6 := heard{ca: vmCA, mac: hardware(vmMAC)}, heard{ca: vmCA6, mac: hardware(vmMAC)}
	arpFrom := func(message []byte) []byte { return ether(broadcast, vmMAC, etherARP, message) }
	v6From := func(packet []byte) []byte { return ether(gatewayMAC, vmMAC, etherIPv6, packet) }
	request := arpFrom(arp(1, vmMAC, vmCA, noMAC, gatewayCA))
	advert := advertise(vmCA6, gatewayCA6, vmCA6, 0x60000000, vmMAC)
	with := func(frame []byte, at int, b byte) []byte {
		frame = slices.Clone(frame)
		frame[at] = b
		return frame
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  heard
	}{
		{"ARP request", request, v4},
		{"ARP reply", arpFrom(arp(2, vmMAC, vmCA, gatewayMAC, gatewayCA)), v4},
		{"gratuitous ARP", arpFrom(arp(1, vmMAC, vmCA, noMAC, vmCA)), v4},
		{"padded", append(slices.Clone(request), make([]byte, 18)...), v4},
		{"solicitation", v6From(solicit(vmCA6, group, gatewayCA6, sourceOption(vmMAC)...)), v6},
		{"solicitation without option", v6From(solicit(vmCA6, group, gatewayCA6)), v6},
		{"advertisement", v6From(advert), v6},
		{"ARP probe", arpFrom(arp(1, vmMAC, addr("0.0.0.0"), noMAC, vmCA)), heard{}},
		{"ARP for another", arpFrom(arp(2, hostMAC, vmCA, gatewayMAC, gatewayCA)), heard{}},
		{"ARP of a group", ether(gatewayMAC, broadcast, etherARP, arp(2, broadcast, vmCA, gatewayMAC, gatewayCA)), heard{}},
		{"ARP of a multicast address", arpFrom(arp(2, vmMAC, addr("224.0.0.1"), gatewayMAC, gatewayCA)), heard{}},
		{"reverse ARP", arpFrom(arp(3, vmMAC, vmCA, gatewayMAC, gatewayCA)), heard{}},
		{"ARP of other hardware", with(request, 15, 6), heard{}},
		{"ARP cut", request[:41], heard{}},
		{"solicitation that names another", v6From(solicit(vmCA6, group, gatewayCA6, sourceOption(hostMAC)...)), heard{}},
		{"advertisement that names another", v6From(advertise(vmCA6, gatewayCA6, vmCA6, 0, hostMAC)), heard{}},
		{"duplicate address detection", v6From(solicit(netip.IPv6Unspecified(), group, vmCA6)), heard{}},
		{"link-local", v6From(solicit(addr("fe80::1"), group, gatewayCA6)), heard{}},
		{"from beyond the link", with(v6From(advert), 21, 254), heard{}},
		{"wrong checksum", with(v6From(advert), 56, 1), heard{}},
		{"option of no length", v6From(solicit(vmCA6, group, gatewayCA6, 1, 0, 0, 0, 0, 0, 0, 0)), heard{}},
		{"advertisement cut", v6From(advert)[:80], heard{}},
		{"router advertisement", v6From(ip6Hops(vmCA6, gatewayCA6, 58, 255,
			icmp6(vmCA6, gatewayCA6, 134, 0, make([]byte, 16)))), heard{}},
		{"UDP", ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmCA, gatewayCA, 17, ports(1, 2))), heard{}},
		{"nothing", nil, heard{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := parseNeighbour(c.frame)
			if ok != (c.want != heard{}) || ok && got != c.want {
				t.Errorf("got %v, %v; want %v", got, ok, c.want)
			}
		})
	}
}

func TestDestinationIsWhatAFrameIsForOrAsksFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		want  netip.Addr
	}{
		{"IPv4", ether(vmMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1, 2))[:20]), vmCA},
		{"IPv6", ether(vmMAC, gatewayMAC, etherIPv6, ip6(gatewayCA6, vmCA6, 17, nil)), vmCA6},
		{"ARP request", ether(broadcast, gatewayMAC, etherARP, arp(1, gatewayMAC, gatewayCA, noMAC, vmCA)), vmCA},
		{"solicitation", ether(broadcast, gatewayMAC, etherIPv6, solicit(gatewayCA6, addr("ff02::1:ff00:10"), vmCA6)), vmCA6},
		{"multicast", ether(broadcast, gatewayMAC, etherIPv4, ip4(gatewayCA, addr("224.0.0.1"), 17, nil)), netip.Addr{}},
		{"IPv4 address in IPv6", ether(vmMAC, gatewayMAC, etherIPv6,
			ip6(gatewayCA6, netip.AddrFrom16(vmCA.As16()), 17, nil)), netip.Addr{}},
		{"cut", ether(vmMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, nil)[:19]), netip.Addr{}},
		{"other", ether(vmMAC, gatewayMAC, 0x88cc, ip4(gatewayCA, vmCA, 17, nil)), netip.Addr{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := destinationOf(c.frame)
			if ok != c.want.IsValid() || ok && got != c.want {
				t.Errorf("got %v, %v; want %v", got, ok, c.want)
			}
		})
	}
}

func TestQuestionsAndAnnouncementsAreAsTheRFCsSay(t *testing.T) {
	vm, gw := hardware(vmMAC), hardware(gatewayMAC)
	for _, c := range []struct {
		name      string
		got, want []byte
	}{
		{"ARP request", question(vm, gw, gatewayCA, vmCA),
			ether(vmMAC, gatewayMAC, etherARP, arp(1, gatewayMAC, gatewayCA, noMAC, vmCA))},
		{"solicitation", question(vm, gw, gatewayCA6, vmCA6),
			ether(vmMAC, gatewayMAC, etherIPv6, solicit(gatewayCA6, vmCA6, vmCA6, sourceOption(gatewayMAC)...))},
		{"gratuitous ARP", announcement(gw, gatewayCA),
			ether(broadcast, gatewayMAC, etherARP, arp(1, gatewayMAC, gatewayCA, noMAC, gatewayCA))},
		{"unsolicited advertisement", announcement(gw, gatewayCA6), ether(mac("33:33:00:00:00:01"), gatewayMAC, etherIPv6,
			advertise(gatewayCA6, addr("ff02::1"), gatewayCA6, 0x20000000, gatewayMAC))},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s:\ngot  %x\nwant %x", c.name, c.got, c.want)
		}
	}
}

func TestControlMessagesAreReadAsTheyAreSent(t *testing.T) {
	vm4 := ether(vmMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1, 2)))
	vm6 := ether(vmMAC, gatewayMAC, etherIPv6, ip6(gatewayCA6, vmCA6, 17, ports(1, 2)))
	to, from := hardware(backendMAC), hardware(hostMAC)
	for _, c := range []struct {
		name  string
		frame []byte
		want  notice
	}{
		{"REDIRECT", redirectFrame(to, from, host, addr("192.168.0.33"), vm4),
			notice{redirect: true, from: host, to: addr("192.168.0.33"), ca: vmCA}},
		{"REDIRECT of an IPv6 address", redirectFrame(to, from, host, addr("192.168.0.33"), vm6),
			notice{redirect: true, from: host, to: addr("192.168.0.33"), ca: vmCA6}},
		{"REDIRECT over IPv6", redirectFrame(to, from, host6, addr("2001:db8:168::33"), vm4),
			notice{redirect: true, from: host6, to: addr("2001:db8:168::33"), ca: vmCA}},
		{"UNREACHABLE", unreachableFrame(to, from, host, provider, vm4), notice{from: host, to: provider, ca: vmCA}},
		{"UNREACHABLE over IPv6", unreachableFrame(to, from, host6, provider6, vm6),
			notice{from: host6, to: provider6, ca: vmCA6}},
		{"a copy that begins with the IP header", unreachableFrame(to, from, host, provider, vm4[14:]),
			notice{from: host, to: provider, ca: vmCA}},
		{"cut behind the addresses", unreachableFrame(to, from, host, provider, vm4)[:14+20+8+14+20],
			notice{from: host, to: provider, ca: vmCA}},
		{"cut before the addresses", unreachableFrame(to, from, host, provider, vm4)[:14+20+8+14+19], notice{}},
		{"without a copy", unreachableFrame(to, from, host, provider, nil), notice{}},
		{"a tenant's own redirect", ether(backendMAC, hostMAC, etherIPv4, ip4(host, provider, 1, icmp(5, 1, 0, vm4))),
			notice{}},
		{"a tenant's own unreachable", ether(backendMAC, hostMAC, etherIPv4, ip4(host, provider, 1, icmp(3, 1, 0, vm4))),
			notice{}},
		{"a fragment", ether(backendMAC, hostMAC, etherIPv4,
			ip4Fragment(host, provider, 1, 1, icmp(3, 10, 0, vm4))), notice{}},
		{"UDP", vm4, notice{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := parseNotice(c.frame)
			if ok != (c.want != notice{}) || ok && got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, ok, c.want)
			}
		})
	}
	whole := redirectFrame(to, from, host, addr("192.168.0.33"), vm4)
	for at := etherHeader; at < len(whole); at++ {
		wrong := slices.Clone(whole)
		wrong[at] ^= 0x10
		if n, ok := parseNotice(wrong); ok {
			t.Errorf("a wrong byte %d makes %+v", at, n)
		}
	}
}

// FuzzLearner checks that what the learner reads stands in the frame, and that the learner holds its rules whatever it
// hears.
func FuzzLearner(f *testing.F) {
	vm4 := ether(vmMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, vmCA, 17, ports(1, 2)))
	for _, seed := range [][]byte{
		vm4,
		ether(broadcast, vmMAC, etherARP, arp(1, vmMAC, vmCA, noMAC, vmCA)),
		ether(gatewayMAC, vmMAC, etherIPv6, advertise(vmCA6, gatewayCA6, vmCA6, 0x60000000, vmMAC)),
		redirectFrame(hardware(backendMAC), hardware(hostMAC), host, addr("192.168.0.33"), vm4),
		unreachableFrame(hardware(backendMAC), hardware(hostMAC), host, provider, vm4),
		unreachableFrame(hardware(backendMAC), hardware(hostMAC), host6, provider6, vm4),
	} {
		f.Add(seed, uint32(0))
		f.Add(seed, uint32(1))
	}
	f.Fuzz(func(t *testing.T, frame []byte, kind uint32) {
		if h, ok := parseNeighbour(frame); ok && (!unicast(h.ca) || h.mac != hardware(frame[6:12])) {
			t.Errorf("%x says %v", frame, h)
		}
		if n, ok := parseNotice(frame); ok && (!unicast(n.ca) || !slices.Equal(frame[26:30], n.from.AsSlice()) &&
			!slices.Equal(frame[22:38], n.from.AsSlice())) {
			t.Errorf("%x says %+v", frame, n)
		}
		s := newSchool()
		s.l.take(s.now, doorsEvent{
			Kind: doorsEventKind(kind % 6), Tenant: 1, Vsid: 5001, Length: uint32(min(len(frame), 256)),
			Pa: toAddress(host), Local: toAddress(provider), Frame: padded(frame),
		}, hardware(backendMAC))
		for ca, r := range s.records[1] {
			if ca == vmCA && (r.Type != Static || r.VSID != 5001) || r.VSID != 5001 || !unicast(r.PA) {
				t.Errorf("%x makes record %+v", frame, r)
			}
			if r.Type == Dynamic && r.PA != host {
				t.Errorf("%x, from %v, makes record %+v", frame, host, r)
			}
		}
		if len(s.records[2]) != 1 {
			t.Errorf("%x teaches another tenant", frame)
		}
	})
}

// padded is a frame as an event holds it.
func padded(frame []byte) (all [256]byte) {
	copy(all[:], frame)
	return all
}

func TestGREHeaderHasTheVSIDAndNoFlowID(t *testing.T) {
	h := greHeader(0xabcdef)
	if !slices.Equal(h[:4], []byte{0x20, 0, 0x65, 0x58}) || binary.BigEndian.Uint32(h[4:]) != 0xabcdef00 {
		t.Errorf("%x", h)
	}
}
