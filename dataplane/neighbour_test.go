package dataplane

import (
	"net"
	"net/netip"
	"testing"
)

func TestDoor1AnswersACompartmentsQuestionsFromTheRecords(t *testing.T) {
	d := fabrikamDoors(t)
	none := make(net.HardwareAddr, 6)
	ask := func(target netip.Addr) []byte {
		return ether(broadcast, gatewayMAC, etherARP, arp(1, gatewayMAC, gatewayCA, none, target))
	}
	answer := func(target netip.Addr, m net.HardwareAddr) []byte {
		return ether(gatewayMAC, m, etherARP, arp(2, m, target, gatewayMAC, gatewayCA))
	}
	group := addr("ff02::1:ff00:10")
	d.check(t, d.objects.Door1Tenant, "door1", "bhi6002", []packetCase{
		{name: "ARP", frame: ask(vmCA), verdict: verdictRedirect, out: answer(vmCA, vmMAC)},
		{name: "ARP for what only one tenant has", frame: ask(addr("10.0.0.100")), verdict: verdictRedirect,
			out: answer(addr("10.0.0.100"), mac("60:00:60:00:02:02"))},
		{name: "the other tenant does not have it", link: "bhi6001", frame: ask(addr("10.0.0.100")), verdict: verdictDrop,
			tenant: "Contoso", reason: "neighbour"},
		{name: "gratuitous ARP", frame: ask(gatewayCA), verdict: verdictDrop, tenant: "Woodgrove", reason: "neighbour"},
		{name: "ARP reply", frame: ether(vmMAC, gatewayMAC, etherARP, arp(2, gatewayMAC, gatewayCA, vmMAC, vmCA)),
			verdict: verdictDrop, tenant: "Woodgrove", reason: "neighbour"},
		{name: "ARP cut", frame: ask(vmCA)[:40], verdict: verdictDrop, tenant: "Woodgrove", reason: "neighbour"},
		{name: "solicitation", verdict: verdictRedirect,
			frame: ether(mac("33:33:ff:00:00:10"), gatewayMAC, etherIPv6, solicit(gatewayCA6, group, vmCA6)),
			out:   ether(gatewayMAC, vmMAC, etherIPv6, advertise(vmCA6, gatewayCA6, vmCA6, 0x60000000, vmMAC))},
		{name: "solicitation for another", verdict: verdictDrop, tenant: "Woodgrove", reason: "neighbour",
			frame: ether(mac("33:33:ff:00:00:11"), gatewayMAC, etherIPv6, solicit(gatewayCA6, group, addr("fd00::11")))},
	})
}
