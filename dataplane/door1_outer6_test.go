package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

var (
	provider6 = addr("2001:db8:168::11")
	host6     = addr("2001:db8:168::22")
	vmOver6   = addr("10.0.0.60") // a customer address at host6
	vm6Over6  = addr("fd00::60")
)

// dualDoors are fabrikamDoors on a provider network that has IPv6 too, with machines of both tenants at host6.
func dualDoors(t testing.TB) *doors {
	t.Helper()
	d := fabrikamDoors(t)
	g := fabrikam()
	g.Providers = append(g.Providers, on(provider6)...)
	d.do(t, func() error { return d.SetGateway(g) })
	for _, tenant := range []Tenant{contoso(), woodgrove()} {
		for _, ca := range []netip.Addr{vmOver6, vm6Over6} {
			tenant.Records = append(tenant.Records, Record{CA: ca, VSID: tenant.Subnets[0].VSID, MAC: vmMAC, PA: host6})
		}
		d.set(t, tenant)
	}
	return d
}

// nvgre6 is a frame from an IPv6 host to the gateway.
func nvgre6(from netip.Addr, vsid uint32, frame []byte) []byte {
	return ether(backendMAC, hostMAC, etherIPv6, ip6(from, provider6, 47, gre(vsid, 0x5a, frame)))
}

func TestDoor1LetsInWhatCameOverIPv6(t *testing.T) {
	d := dualDoors(t)
	inner4 := ip4(vmOver6, gatewayCA, 17, ports(1, 2))
	inner6 := ip6(vm6Over6, gatewayCA6, 17, ports(1, 2))
	vm4, vm6 := ether(gatewayMAC, vmMAC, etherIPv4, inner4), ether(gatewayMAC, vmMAC, etherIPv6, inner6)
	toProvider := func(next byte, payload []byte) []byte {
		return ether(backendMAC, hostMAC, etherIPv6, ip6(host6, provider6, next, payload))
	}
	good := nvgre6(host6, 6001, vm4)
	short := slices.Clone(good)
	binary.BigEndian.PutUint16(short[18:], 20)
	tag := []byte{47, 0, 1, 4, 0, 0, 0, 0}
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "IPv4", frame: good, verdict: verdictRedirect, out: vm4},
		{name: "IPv6", frame: nvgre6(host6, 6001, vm6), verdict: verdictRedirect, out: vm6},
		{name: "the other tenant alike", frame: nvgre6(host6, 6002, vm6), verdict: verdictRedirect, out: vm6},
		{name: "an IPv4 host's VM", frame: nvgre(host, 6001, vm4), verdict: verdictRedirect, out: vm4},
		{name: "IPv6 over IPv4", frame: nvgre(host, 6001, vm6), verdict: verdictRedirect, out: vm6},
		{name: "a small IPv4 packet", verdict: verdictRedirect,
			frame: nvgre6(host6, 6001, ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmOver6, gatewayCA, 17, nil))),
			out:   ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmOver6, gatewayCA, 17, nil))},
		{name: "ping", frame: toProvider(58, icmp6(host6, provider6, 128, 1, nil)), verdict: verdictNext},
		{name: "the network's own solicitation", verdict: verdictNext,
			frame: ether(backendMAC, hostMAC, etherIPv6, solicit(host6, provider6, provider6))},
		{name: "to another address", verdict: verdictNext,
			frame: ether(backendMAC, hostMAC, etherIPv6, ip6(host6, addr("2001:db8:168::12"), 47, gre(6001, 1, vm4)))},
		{name: "packet too big", frame: toProvider(58, icmp6(host6, provider6, 2, 1280, nil)), verdict: verdictDrop,
			reason: "outer-too-big"},
		{name: "other ICMP", frame: toProvider(58, icmp6(host6, provider6, 1, 0, nil)), verdict: verdictDrop,
			reason: "not-nvgre"},
		{name: "IPv4 fragmentation needed", verdict: verdictDrop, reason: "outer-too-big",
			frame: ether(backendMAC, hostMAC, etherIPv4, ip4(host, provider, 1, icmp(3, 4, 1400, nil)))},
		{name: "fragment", frame: toProvider(44, slices.Concat([]byte{47, 0, 0, 1, 0, 0, 0, 1}, good[54:])),
			verdict: verdictDrop, reason: "outer-fragment"},
		{name: "hop-by-hop options", frame: toProvider(0, slices.Concat(tag, good[54:])), verdict: verdictDrop,
			reason: "outer-options"},
		{name: "destination options", frame: toProvider(60, slices.Concat(tag, good[54:])), verdict: verdictDrop,
			reason: "outer-options"},
		{name: "TCP", frame: toProvider(6, ports(1, 22)), verdict: verdictDrop, reason: "not-nvgre"},
		{name: "truncated", frame: good[:len(good)-1], verdict: verdictDrop, reason: "outer-length"},
		{name: "length too small", frame: short, verdict: verdictDrop, reason: "outer-length"},
		{name: "unlisted host", frame: nvgre6(addr("2001:db8:168::44"), 6001, vm4), verdict: verdictDrop, tenant: "Contoso",
			reason: "unlisted-provider"},
		{name: "the gateway's own address as source", frame: nvgre6(provider6, 6001, vm4), verdict: verdictDrop,
			tenant: "Contoso", reason: "unlisted-provider"},
		{name: "unknown VSID", frame: nvgre6(host6, 6003, vm4), verdict: verdictDrop, reason: "unknown-vsid"},
		{name: "inner MAC", frame: nvgre6(host6, 6001, ether(hostMAC, vmMAC, etherIPv4, inner4)), verdict: verdictDrop,
			tenant: "Contoso", reason: "inner-mac"},
		{name: "inner tag", frame: nvgre6(host6, 6001, ether(gatewayMAC, vmMAC, etherVLAN, inner4)), verdict: verdictDrop,
			tenant: "Contoso", reason: "inner-vlan"},
	})
}

func TestDoor1SendsToIPv6Hosts(t *testing.T) {
	d := dualDoors(t)
	for _, c := range []struct {
		name   string
		packet []byte
		proto  uint16
	}{
		{"IPv4", withClass(ip4(gatewayCA, vmOver6, 17, ports(1, 2)), 0xb9), etherIPv4},
		{"IPv6", withClass(ip6(gatewayCA6, vm6Over6, 17, ports(1, 2)), 0xb9), etherIPv6},
	} {
		t.Run(c.name, func(t *testing.T) {
			verdict, out := d.run(t, d.objects.Door1Tenant, "bhi6002", ether(gatewayMAC, gatewayMAC, c.proto, c.packet))
			if verdict != verdictRedirect || len(out) < 62 {
				t.Fatalf("verdict %d, %d bytes", verdict, len(out))
			}
			label := binary.BigEndian.Uint32(out[14:]) & 0xfffff
			if byte(label) != out[61] || label == 0 {
				t.Errorf("flow label %x with FlowID %x: both are to be of the flow", label, out[61])
			}
			want := withClass(ip6(provider6, host6, 47, gre(5002, out[61], ether(vmMAC, gatewayMAC, c.proto, c.packet))), 0xb9)
			want[1] |= byte(label >> 16)
			want[2], want[3], want[7] = byte(label>>8), byte(label), 128
			if !slices.Equal(want, out[14:]) {
				t.Errorf("got  %x\nwant %x", out[14:], want)
			}
		})
	}
}

func TestDoor1AnswersQuestionsThatCameOverIPv6(t *testing.T) {
	d := dualDoors(t)
	back := func(frame []byte) []byte {
		return ether(hostMAC, backendMAC, etherIPv6, withTTL(ip6(provider6, host6, 47, gre(6001, 0x5a, frame)), 128))
	}
	question := ether(broadcast, vmMAC, etherARP, arp(1, vmMAC, vmOver6, make([]byte, 6), gatewayCA))
	answer := ether(vmMAC, gatewayMAC, etherARP, arp(2, gatewayMAC, gatewayCA, vmMAC, vmOver6))
	question6 := ether(gatewayMAC, vmMAC, etherIPv6, solicit(vm6Over6, gatewayCA6, gatewayCA6))
	answer6 := ether(vmMAC, gatewayMAC, etherIPv6, advertise(gatewayCA6, vm6Over6, gatewayCA6, 0x60000000, gatewayMAC))
	for _, c := range [][2][]byte{{question, answer}, {question6, answer6}} {
		verdict, out := d.run(t, d.objects.Door1Wire, "backend0", nvgre6(host6, 6001, c[0]))
		if verdict != verdictRedirect || len(out) < 62 {
			t.Fatalf("verdict %d, %d bytes", int32(verdict), len(out))
		}
		// The label is any.
		out[15], out[16], out[17] = out[15]&0xf0, 0, 0
		if want := back(c[1]); !slices.Equal(want, out) {
			t.Errorf("got  %x\nwant %x", out, want)
		}
	}
}
