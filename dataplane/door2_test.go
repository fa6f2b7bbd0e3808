package dataplane

import (
	"net"
	"net/netip"
	"slices"
	"testing"
)

// fromInternet is a frame from the Internet's router to the gateway.
func fromInternet(packet []byte) []byte { return ipFrame(externalMAC, routerMAC, packet) }

// fromCompartment is a frame as a compartment's external link sends it; no MAC address in it counts.
func fromCompartment(packet []byte) []byte { return ipFrame(extMAC, extMAC, packet) }

func ipFrame(dst, src net.HardwareAddr, packet []byte) []byte {
	proto := uint16(etherIPv4)
	if packet[0]>>4 == 6 {
		proto = etherIPv6
	}
	return ether(dst, src, proto, packet)
}

// delivered is what arrives in the compartment.
func delivered(frame []byte) []byte { return slices.Concat(extMAC, frame[6:]) }

// unreachable is an ICMP error about a packet.
func unreachable(src, dst netip.Addr, about []byte) []byte {
	return ip4(src, dst, 1, icmp(3, 1, 0, about[:28]))
}

func tooBig(src, dst netip.Addr, about []byte) []byte {
	return ip6(src, dst, 58, icmp6(src, dst, 2, 1280, about))
}

func TestDoor2LetsInWhatATenantOwns(t *testing.T) {
	d := fabrikamDoors(t)
	var cases []packetCase
	in := func(name string, packet []byte) {
		frame := fromInternet(packet)
		cases = append(cases, packetCase{name: name, frame: frame, verdict: verdictRedirect, out: delivered(frame)})
	}
	out := func(name, tenant, reason string, packet []byte) {
		cases = append(cases, packetCase{
			name: name, frame: fromInternet(packet), verdict: verdictDrop, tenant: tenant, reason: reason,
		})
	}
	echo := func(id uint32) []byte { return icmp(8, 0, id<<16|1, []byte("ping")) }
	in("TCP", ip4(internet, contosoNAT, 6, ports(80, 1)))
	in("any protocol of a whole address", ip4(internet, contosoNAT, 132, nil))
	in("first fragment", ip4Fragment(internet, contosoNAT, 17, 0x2000, ports(1, 2)))
	in("later fragment", ip4Fragment(internet, contosoNAT, 17, 2, []byte("rest")))
	in("options", ip4Options(internet, woodNAT, 6, ports(80, 1)))
	in("IPv6", ip6(internet6, contosoNAT6, 6, ports(80, 1)))
	in("IPv6 with extension headers", ip6(internet6, contosoNAT6, 0, slices.Concat(
		[]byte{60, 0, 1, 4, 0, 0, 0, 0}, []byte{17, 0, 1, 4, 0, 0, 0, 0}, ports(1, 2))))
	in("IPv6 later fragment", ip6(internet6, contosoNAT6, 44, []byte{17, 0, 0, 8, 0, 0, 0, 1}))
	for _, port := range []uint16{9000, 9007, 9008, 9500, 9999, 10000, 10999} {
		in("shared address TCP", ip4(internet, sharedNAT, 6, ports(80, port)))
		in("shared address UDP", ip4(internet, sharedNAT, 17, ports(80, port)))
		in("shared address ping reply", ip4(internet, sharedNAT, 1, icmp(0, 0, uint32(port)<<16|1, nil)))
	}
	in("shared address first fragment", ip4Fragment(internet, sharedNAT, 17, 0x2000, ports(80, 9000)))
	in("error about a packet of a whole address",
		unreachable(addr("7.7.7.7"), contosoNAT, ip4(contosoNAT, internet, 17, ports(1, 2))))
	in("error about a port of a shared address",
		unreachable(addr("7.7.7.7"), sharedNAT, ip4(sharedNAT, internet, 6, ports(9001, 80))))
	in("error about a ping from a shared address",
		unreachable(addr("7.7.7.7"), sharedNAT, ip4(sharedNAT, internet, 1, echo(10001))))
	in("IPv6 error", tooBig(addr("2001:db8:7::7"), contosoNAT6, ip6(contosoNAT6, internet6, 6, ports(1, 80))))

	out("nobody's address", "", "unowned-address", ip4(internet, unownedNAT, 6, ports(80, 9000)))
	out("nobody's port", "", "unowned-port", ip4(internet, sharedNAT, 6, ports(80, 8999)))
	out("the port after a range", "", "unowned-port", ip4(internet, sharedNAT, 6, ports(80, 11000)))
	out("another protocol of a shared address", "", "unowned-port", ip4(internet, sharedNAT, 132, ports(80, 9000)))
	out("nobody's ping", "", "unowned-port", ip4(internet, sharedNAT, 1, echo(1)))
	out("later fragment of a shared address", "", "fragment", ip4Fragment(internet, sharedNAT, 17, 2, []byte("rest")))
	out("error about another's packet", "", "icmp-embedded",
		unreachable(internet, contosoNAT, ip4(woodNAT, internet, 17, ports(1, 2))))
	out("error about nobody's port", "", "unowned-port",
		unreachable(internet, sharedNAT, ip4(sharedNAT, internet, 6, ports(1, 2))))
	out("error about nothing", "", "icmp-embedded", ip4(internet, contosoNAT, 1, icmp(3, 1, 0, []byte{0x45, 0})))
	out("UDP header cut", "Contoso", "malformed", ip4(internet, contosoNAT, 17, []byte{0, 1}))
	out("header length below the header's", "Contoso", "malformed",
		slices.Concat([]byte{0x44}, ip4(internet, contosoNAT, 6, ports(80, 1))[1:]))
	out("longer than its frame", "Contoso", "malformed",
		slices.Concat([]byte{0x45, 0, 0x05, 0}, ip4(internet, contosoNAT, 6, ports(80, 1))[4:]))
	out("IPv6 longer than its frame", "Contoso", "malformed",
		slices.Concat(be32(6<<28), be16(1000), ip6(internet6, contosoNAT6, 6, ports(80, 1))[6:]))
	out("neighbour advertisement", "", "neighbour", advertise(internet6, contosoNAT6, internet6, 0, routerMAC))
	cases = append(cases, []packetCase{
		{name: "broadcast frame", frame: ipFrame(broadcast, routerMAC, ip4(internet, contosoNAT, 6, ports(80, 1))),
			verdict: verdictDrop, tenant: "Contoso", reason: "not-unicast"},
		{name: "IKE to the gateway", frame: fromInternet(ip4(internet, ownAddress, 17, ports(500, 500))),
			verdict: verdictNext},
		{name: "to an address beyond the pool", frame: fromInternet(ip4(internet, addr("131.107.10.21"), 17, ports(1, 2))),
			verdict: verdictNext},
		{name: "error about the gateway's packet", verdict: verdictNext,
			frame: fromInternet(unreachable(internet, ownAddress, ip4(ownAddress, internet, 17, ports(1, 2))))},
		{name: "IPv6 router advertisement", verdict: verdictNext, frame: ipFrame(mac("33:33:00:00:00:01"), routerMAC,
			ip6Hops(addr("fe80::1"), addr("ff02::1"), 58, 255,
				icmp6(addr("fe80::1"), addr("ff02::1"), 134, 0, make([]byte, 8))))},
		{name: "IPv4 address in IPv6", verdict: verdictNext,
			frame: fromInternet(ip6(internet6, netip.AddrFrom16(contosoNAT.As16()), 17, ports(1, 2)))},
		{name: "IPv6 in the name of IPv4", verdict: verdictNext,
			frame: ether(externalMAC, routerMAC, etherIPv4, ip6(internet6, contosoNAT6, 17, ports(1, 2)))},
		{name: "to another machine", frame: ipFrame(hostMAC, routerMAC, ip4(internet, contosoNAT, 6, ports(80, 1))),
			verdict: verdictNext},
		{name: "another protocol than IP", frame: ether(externalMAC, routerMAC, 0x88cc, make([]byte, 40)),
			verdict: verdictNext},
	}...)
	d.check(t, d.objects.Door2Wire, "door2", "If2", cases)
}

func TestDoor2AnswersForTenantsAddressesOnly(t *testing.T) {
	d := fabrikamDoors(t)
	none := make(net.HardwareAddr, 6)
	router, router6 := addr("131.107.10.1"), addr("2001:db8:10::1")
	arpAnswer := func(target netip.Addr) []byte {
		return ether(routerMAC, externalMAC, etherARP, arp(2, externalMAC, target, routerMAC, router))
	}
	ask := func(sender, target netip.Addr) []byte {
		return ether(broadcast, routerMAC, etherARP, arp(1, routerMAC, sender, none, target))
	}
	multicast, group := mac("33:33:ff:00:00:12"), addr("ff02::1:ff00:12")
	d.check(t, d.objects.Door2Wire, "door2", "If2", []packetCase{
		{name: "whole address", frame: ask(router, contosoNAT), verdict: verdictRedirect, out: arpAnswer(contosoNAT)},
		{name: "shared address", frame: ask(router, sharedNAT), verdict: verdictRedirect, out: arpAnswer(sharedNAT)},
		{name: "unowned address", frame: ask(router, unownedNAT), verdict: verdictNext},
		{name: "the gateway's own", frame: ask(router, ownAddress), verdict: verdictNext},
		{name: "gratuitous", frame: ask(contosoNAT, contosoNAT), verdict: verdictNext},
		{name: "reply", frame: ether(externalMAC, routerMAC, etherARP, arp(2, routerMAC, router, externalMAC, contosoNAT)),
			verdict: verdictNext},
		{name: "solicitation", frame: ether(multicast, routerMAC, etherIPv6, solicit(router6, group, contosoNAT6)),
			verdict: verdictRedirect, out: ether(routerMAC, externalMAC, etherIPv6,
				advertise(contosoNAT6, router6, contosoNAT6, 0x60000000, externalMAC))},
		{name: "solicitation of another", verdict: verdictNext,
			frame: ether(multicast, routerMAC, etherIPv6, solicit(router6, group, addr("2001:db8:10::10")))},
	})
}

func TestDoor2LetsOutOnlyWhatTheTenantOwns(t *testing.T) {
	d := fabrikamDoors(t)
	var cases []packetCase
	out := func(name string, packet []byte) {
		frame := fromCompartment(packet)
		cases = append(cases, packetCase{name: name, frame: frame, verdict: verdictRedirect, out: frame})
	}
	hairpin := func(name string, packet []byte) {
		frame := fromCompartment(packet)
		cases = append(cases, packetCase{name: name, frame: frame, verdict: verdictRedirect, out: delivered(frame)})
	}
	stop := func(name, reason string, packet []byte) {
		cases = append(cases, packetCase{
			name: name, frame: fromCompartment(packet), verdict: verdictDrop, tenant: "Contoso", reason: reason,
		})
	}
	out("whole address", ip4(contosoNAT, internet, 6, ports(1, 80)))
	out("whole address, later fragment", ip4Fragment(contosoNAT, internet, 17, 2, []byte("rest")))
	out("IPv6", ip6(contosoNAT6, internet6, 6, ports(1, 80)))
	out("port of a shared address", ip4(sharedNAT, internet, 6, ports(9999, 80)))
	out("ping from a shared address", ip4(sharedNAT, internet, 1, icmp(8, 0, 9000<<16, nil)))
	out("error to a sender", unreachable(contosoNAT, internet, ip4(internet, contosoNAT, 17, ports(1, 2))))
	out("error to a sender of a shared address",
		unreachable(sharedNAT, internet, ip4(internet, sharedNAT, 17, ports(1, 9000))))
	out("IPv6 error", tooBig(contosoNAT6, internet6, ip6(internet6, contosoNAT6, 6, ports(80, 1))))
	hairpin("to the other tenant", ip4(contosoNAT, woodNAT, 6, ports(1, 80)))
	hairpin("to the other tenant's port", ip4(contosoNAT, sharedNAT, 6, ports(1, 10000)))
	hairpin("to itself", ip4(contosoNAT, contosoNAT, 6, ports(1, 80)))
	hairpin("error to the other tenant", unreachable(contosoNAT, woodNAT, ip4(woodNAT, contosoNAT, 6, ports(1, 2))))

	stop("private source", "source-not-owned", ip4(vmCA, internet, 6, ports(1, 80)))
	stop("the other tenant's address", "source-not-owned", ip4(woodNAT, internet, 6, ports(1, 80)))
	stop("nobody's address", "source-not-owned", ip4(unownedNAT, internet, 6, ports(1, 80)))
	stop("the gateway's address", "source-not-owned", ip4(ownAddress, internet, 17, ports(500, 500)))
	stop("IPv6 source", "source-not-owned", ip6(vmCA6, internet6, 6, ports(1, 80)))
	stop("the other tenant's port", "source-not-owned", ip4(sharedNAT, internet, 6, ports(10000, 80)))
	stop("nobody's port", "source-not-owned", ip4(sharedNAT, internet, 17, ports(53, 80)))
	stop("the other tenant's ping", "source-not-owned", ip4(sharedNAT, internet, 1, icmp(8, 0, 10000<<16, nil)))
	stop("another protocol from a shared address", "source-not-owned", ip4(sharedNAT, internet, 132, ports(9000, 80)))
	stop("later fragment of a shared address", "fragment", ip4Fragment(sharedNAT, internet, 17, 2, []byte("rest")))
	stop("error from a private source", "source-not-owned",
		unreachable(vmCA, internet, ip4(internet, contosoNAT, 17, ports(1, 2))))
	stop("error about another's packet", "source-not-owned",
		unreachable(contosoNAT, internet, ip4(internet, woodNAT, 17, ports(1, 2))))
	stop("error about the other tenant's port", "source-not-owned",
		unreachable(sharedNAT, internet, ip4(internet, sharedNAT, 17, ports(1, 10000))))
	stop("error from a shared address about a whole one", "source-not-owned",
		unreachable(sharedNAT, internet, ip4(internet, contosoNAT, 17, ports(1, 2))))
	stop("error about nothing", "source-not-owned", ip4(contosoNAT, internet, 1, icmp(3, 1, 0, []byte{0x45})))
	stop("to the gateway", "to-gateway", ip4(contosoNAT, ownAddress, 17, ports(1, 500)))
	stop("to the provider address", "to-gateway", ip4(contosoNAT, provider, 47, gre(6002, 0, nil)))
	stop("to nobody's address", "unowned-address", ip4(contosoNAT, unownedNAT, 6, ports(1, 80)))
	stop("to nobody's port", "unowned-port", ip4(contosoNAT, sharedNAT, 6, ports(1, 80)))
	stop("error about nobody's packet", "source-not-owned",
		unreachable(contosoNAT, sharedNAT, ip4(sharedNAT, woodNAT, 6, ports(80, 1))))
	stop("multicast", "link-scope", ip4(contosoNAT, addr("224.0.0.251"), 17, ports(5353, 5353)))
	stop("broadcast", "link-scope", ip4(contosoNAT, addr("255.255.255.255"), 17, ports(68, 67)))
	stop("router solicitation", "link-scope", ip6Hops(addr("fe80::1"), addr("ff02::2"), 58, 255, icmp6(addr("fe80::1"),
		addr("ff02::2"), 133, 0, nil)))
	stop("neighbour discovery", "link-scope", solicit(contosoNAT6, internet6, internet6))
	stop("IPv6 link-local", "link-scope", ip6(contosoNAT6, addr("fe80::1"), 17, ports(1, 2)))
	stop("TCP header cut", "malformed", ip4(contosoNAT, internet, 6, []byte{0}))
	stop("IPv4 address in IPv6", "malformed", ip6(netip.AddrFrom16(contosoNAT.As16()), internet6, 17, ports(1, 2)))
	stop("endless extension headers", "malformed", ip6(contosoNAT6, internet6, 0, make([]byte, 128)))
	cases = append(cases, []packetCase{
		{name: "ARP", frame: ether(broadcast, extMAC, etherARP, arp(1, extMAC, contosoNAT, make([]byte, 6), internet)),
			verdict: verdictDrop, tenant: "Contoso", reason: "not-ip"},
		{name: "IPv6 in the name of IPv4", verdict: verdictDrop, tenant: "Contoso", reason: "not-ip",
			frame: ether(extMAC, extMAC, etherIPv4, ip6(contosoNAT6, internet6, 17, ports(1, 2)))},
		{name: "from the other tenant's link", link: "bhx2", verdict: verdictDrop, tenant: "Woodgrove",
			reason: "source-not-owned", frame: fromCompartment(ip4(contosoNAT, internet, 6, ports(1, 80)))},
		{name: "from a link of nobody", link: "stray", verdict: verdictDrop, reason: "unknown-link",
			frame: fromCompartment(ip4(contosoNAT, internet, 6, ports(1, 80)))},
	}...)
	d.check(t, d.objects.Door2Tenant, "door2", "bhx1", cases)
}
