package dataplane

import (
	"fmt"
	"testing"
)

// RFC 6040, figure 4: what the inner packet's ECN becomes of its own (row) and the outer packet's (column), in the order
// of their numbers: not capable, capable (1), capable (0), congestion experienced; -1: dropped.
var outOfTunnel = [4][4]int{
	{0, 0, 0, -1},
	{1, 1, 1, 3},
	{2, 1, 2, 3},
	{3, 3, 3, 3},
}

func TestDoor1CarriesCongestionOutOfTheTunnel(t *testing.T) {
	d := dualDoors(t)
	const dscp = 0xb8
	var cases []packetCase
	for inner, row := range outOfTunnel {
		for outer, want := range row {
			for _, proto := range []uint16{etherIPv4, etherIPv6} {
				packet := ip4(vmCA, gatewayCA, 17, ports(1, 2))
				if proto == etherIPv6 {
					packet = ip6(vmCA6, gatewayCA6, 17, ports(1, 2))
				}
				frame := ether(gatewayMAC, vmMAC, proto, withClass(packet, dscp|byte(inner)))
				over4, over6 := nvgre(host, 6001, frame), nvgre6(host6, 6001, frame)
				copy(over4[14:], withClass(over4[14:], byte(outer)))
				copy(over6[14:], withClass(over6[14:], byte(outer)))
				c := packetCase{verdict: verdictDrop, tenant: "Contoso", reason: "inner-congestion"}
				if want >= 0 {
					out := ether(gatewayMAC, vmMAC, proto, withClass(packet, dscp|byte(want)))
					c = packetCase{verdict: verdictRedirect, out: out}
				}
				for version, f := range map[int][]byte{4: over4, 6: over6} {
					c.name, c.frame = fmt.Sprintf("inner %x of %d and outer %x over %d", proto, inner, outer, version), f
					cases = append(cases, c)
				}
			}
		}
	}
	d.check(t, d.objects.Door1Wire, "door1", "backend0", cases)
}
