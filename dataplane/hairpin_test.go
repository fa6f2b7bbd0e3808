package dataplane

import (
	"net/netip"
	"slices"
	"testing"
)

var (
	externalRouterMAC = mac("02:00:00:00:0f:01")
	farCA             = addr("10.0.3.30") // of a VM in another virtual subnet, at farHost
	farCA6            = addr("fd00:3::30")
	farMAC            = mac("60:00:60:00:03:30")
	farHost           = addr("192.168.0.33")
)

// routed makes the gateway the tenant's external router, with another virtual subnet.
func routed(tenant Tenant, vsid uint32) Tenant {
	tenant.Router = &Router{MAC: externalRouterMAC}
	tenant.Subnets = append(tenant.Subnets, Subnet{vsid, netip.MustParsePrefix("10.0.3.0/24")})
	for _, ca := range []netip.Addr{farCA, farCA6} {
		tenant.Records = append(tenant.Records, Record{CA: ca, VSID: vsid, MAC: farMAC, PA: farHost})
	}
	return tenant
}

// routerDoors are dualDoors whose tenants, alike in everything, have the gateway as their external router.
func routerDoors(t testing.TB) *doors {
	t.Helper()
	d := dualDoors(t)
	d.set(t, routed(contoso(), 5003), routed(woodgrove(), 5004))
	return d
}

func TestTheExternalRouterRoutesBetweenVirtualSubnetsWithoutTheCompartment(t *testing.T) {
	d := routerDoors(t)
	for _, c := range []struct {
		name     string
		from, to uint32
		proto    uint16
		packet   []byte
	}{
		{"IPv4", 5001, 5003, etherIPv4, ip4(vmCA, farCA, 17, ports(1, 2))},
		{"IPv6", 5001, 5003, etherIPv6, ip6(vmCA6, farCA6, 17, ports(1, 2))},
		{"the other tenant alike", 5002, 5004, etherIPv4, ip4(vmCA, farCA, 17, ports(1, 2))},
		{"from the gateway's own subnet", 6001, 5003, etherIPv4, ip4(vmCA, farCA, 17, ports(1, 2))},
		{"DSCP and ECN", 5001, 5003, etherIPv4, withClass(ip4(vmCA, farCA, 17, ports(1, 2)), 0xb9)},
		{"IPv6 DSCP and ECN", 5001, 5003, etherIPv6, withClass(ip6(vmCA6, farCA6, 17, ports(1, 2)), 0xb9)},
		{"the last hop but one", 5001, 5003, etherIPv4, withTTL(ip4(vmCA, farCA, 17, ports(1, 2)), 2)},
		{"a checksum at the edge", 5001, 5003, etherIPv4, ip4Fragment(vmCA, farCA, 17, 0x4000, make([]byte, 8))},
		{"a later fragment", 5001, 5003, etherIPv4, ip4Fragment(vmCA, farCA, 17, 100, []byte("rest"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := nvgre(host, c.from, ether(externalRouterMAC, vmMAC, c.proto, c.packet))
			verdict, out := d.run(t, d.objects.Door1Wire, "backend0", frame)
			if verdict != verdictRedirect {
				t.Fatalf("verdict %d", int32(verdict))
			}
			class, ttl := c.packet[1], c.packet[8]
			if c.proto == etherIPv6 {
				class, ttl = c.packet[0]<<4|c.packet[1]>>4, c.packet[7]
			}
			inner := ether(farMAC, externalRouterMAC, c.proto, withTTL(c.packet, ttl-1))
			want := withClass(outer(provider, farHost, gre(c.to, 0x5a, inner)), class)
			if !slices.Equal(want, out[14:]) {
				t.Errorf("got  %x\nwant %x", out[14:], want)
			}
		})
	}
	for _, s := range []struct {
		rdid     Tenant
		from, to uint32
		packets  uint64
	}{{contoso(), 5001, 5003, 7}, {woodgrove(), 5002, 5004, 1}} {
		stats, err := d.Stats(s.rdid.RoutingDomain)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range stats {
			if x.VSID == s.from && (x.InPackets != s.packets || x.OutPackets != 0) ||
				x.VSID == s.to && (x.OutPackets < s.packets || x.InPackets != 0) {
				t.Errorf("traffic of %s: %+v", s.rdid.Name, x)
			}
		}
	}
}

func TestTheExternalRouterLeavesToTheCompartmentWhatIsNotPlainForwarding(t *testing.T) {
	d := routerDoors(t)
	options := ip4Options(vmCA, farCA, 17, ports(1, 2))
	large := ip4(vmCA, farCA, 17, make([]byte, providerMTU-42-20+1))
	hop := slices.Concat([]byte{17, 0, 1, 4, 0, 0, 0, 0}, ports(1, 2))
	var cases []packetCase
	in := func(name string, proto uint16, packet []byte) {
		frame := nvgre(host, 5001, ether(externalRouterMAC, vmMAC, proto, packet))
		cases = append(cases, packetCase{
			name: name, frame: frame, verdict: verdictRedirect, out: ether(gatewayMAC, vmMAC, proto, packet),
		})
	}
	in("TTL 1", etherIPv4, withTTL(ip4(vmCA, farCA, 17, ports(1, 2)), 1))
	in("hop limit 1", etherIPv6, withTTL(ip6(vmCA6, farCA6, 17, ports(1, 2)), 1))
	in("TTL 0", etherIPv4, withTTL(ip4(vmCA, farCA, 17, ports(1, 2)), 0))
	in("the default gateway itself", etherIPv4, ip4(vmCA, addr("10.0.0.1"), 1, icmp(8, 0, 1, nil)))
	in("the gateway's own address", etherIPv4, ip4(vmCA, gatewayCA, 17, ports(1, 2)))
	in("no record", etherIPv4, ip4(vmCA, addr("10.0.3.99"), 17, ports(1, 2)))
	in("the Internet", etherIPv4, ip4(vmCA, internet, 17, ports(1, 2)))
	in("options", etherIPv4, options)
	in("hop-by-hop options", etherIPv6, ip6(vmCA6, farCA6, 0, hop))
	in("a host on another family of the provider network", etherIPv4, ip4(vmCA, vmOver6, 17, ports(1, 2)))
	in("larger than the provider network's MTU", etherIPv4, large)
	d.set(t, func() Tenant {
		c := routed(contoso(), 5003)
		c.Records = append(c.Records, Record{CA: vmOver6, VSID: 5001, MAC: vmMAC, PA: host6})
		return c
	}())
	drops := []packetCase{
		{name: "the interface's MAC address where it has none", verdict: verdictDrop, tenant: "Contoso", reason: "inner-mac",
			frame: nvgre(host, 5001, ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmCA, farCA, 17, ports(1, 2))))},
		{name: "another machine's MAC address", verdict: verdictDrop, tenant: "Contoso", reason: "inner-mac",
			frame: nvgre(host, 5001, ether(farMAC, vmMAC, etherIPv4, ip4(vmCA, farCA, 17, ports(1, 2))))},
		{name: "congestion that nobody can tell", verdict: verdictDrop, tenant: "Contoso", reason: "inner-congestion",
			frame: func() []byte {
				f := nvgre(host, 5001, ether(externalRouterMAC, vmMAC, etherIPv4, ip4(vmCA, farCA, 17, ports(1, 2))))
				copy(f[14:], withClass(f[14:], 3))
				return f
			}()},
	}
	d.check(t, d.objects.Door1Wire, "door1", "backend0", append(cases, drops...))

	filtered := routed(contoso(), 5003)
	filtered.Router.Through = true
	d.set(t, filtered)
	cases = nil
	in("filters", etherIPv4, ip4(vmCA, farCA, 17, ports(1, 2)))
	d.check(t, d.objects.Door1Wire, "door1", "backend0", cases)
}

func TestTheExternalRouterAnswersForTheDefaultGatewayOfEverySubnet(t *testing.T) {
	d := routerDoors(t)
	none := make([]byte, 6)
	for _, s := range []struct {
		vsid    uint32
		gateway string
		mac     []byte
	}{
		{5001, "10.0.0.1", externalRouterMAC}, {5003, "10.0.3.1", externalRouterMAC}, {6001, "10.0.254.1", externalRouterMAC},
		{6001, "10.0.254.2", gatewayMAC}, {5002, "10.0.0.1", externalRouterMAC},
	} {
		question := ether(broadcast, vmMAC, etherARP, arp(1, vmMAC, vmCA, none, addr(s.gateway)))
		want := answered(s.vsid, ether(vmMAC, s.mac, etherARP, arp(2, s.mac, addr(s.gateway), vmMAC, vmCA)))
		verdict, out := d.run(t, d.objects.Door1Wire, "backend0", nvgre(host, s.vsid, question))
		if verdict != verdictRedirect || !slices.Equal(want, out) {
			t.Errorf("VSID %d, %s: verdict %d, got %x", s.vsid, s.gateway, int32(verdict), out)
		}
	}
	c := contoso()
	d.set(t, c)
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "no router any more", verdict: verdictDrop, tenant: "Contoso", reason: "inner-arp",
			frame: nvgre(host, 5001, ether(broadcast, vmMAC, etherARP, arp(1, vmMAC, vmCA, none, addr("10.0.0.1"))))},
	})
}

func TestTheExternalRoutersCompartmentSpeaksWithTheRoutersAddress(t *testing.T) {
	d := routerDoors(t)
	for _, c := range []struct {
		dst netip.Addr
		mac []byte
	}{{vmCA, externalRouterMAC}, {addr("10.0.254.9"), gatewayMAC}} {
		_, out := d.run(t, d.objects.Door1Tenant, "bhi6001",
			ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(gatewayCA, c.dst, 17, ports(1, 2))))
		if len(out) < 54 || !slices.Equal(out[48:54], c.mac) {
			t.Errorf("to %v: frame %x, want one from %x", c.dst, out, c.mac)
		}
	}
}
