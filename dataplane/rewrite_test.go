package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var (
	ownStandIn  = addr("192.168.0.41") // for Contoso's gatewayCA
	woodStandIn = addr("192.168.0.42") // for Woodgrove's
	ownStandIn6 = addr("2001:db8:168::41")
	vmStandIn   = addr("192.168.0.51") // for Contoso's rewriteCA
	vmStandIn2  = addr("192.168.0.52") // for Woodgrove's
	vmStandIn6  = addr("2001:db8:168::51")
	rewriteCA   = addr("10.0.0.51")
	rewriteCA6  = addr("fd00::51")
)

// rewriteDoors are dualDoors with machines, alike in both tenants, whose records have the rule rewrite.
func rewriteDoors(t testing.TB) *doors {
	t.Helper()
	d := dualDoors(t)
	g := fabrikam()
	g.Providers = slices.Concat(g.Providers, on(provider6), on(ownStandIn), on(woodStandIn), on(ownStandIn6))
	d.do(t, func() error { return d.SetGateway(g) })
	c, w := contoso(), woodgrove()
	c.Interfaces[0].Provider, w.Interfaces[0].Provider = ownStandIn, woodStandIn
	c.Records = append(c.Records, Record{Rule: Rewrite, CA: rewriteCA, VSID: 5001, MAC: vmMAC, PA: vmStandIn})
	w.Records = append(w.Records, Record{Rule: Rewrite, CA: rewriteCA, VSID: 5002, MAC: vmMAC, PA: vmStandIn2})
	d.set(t, c, w)
	return d
}

// sealedUp is a packet whose TCP, UDP or ICMPv6 checksum is right.
func sealedUp(make func(src, dst netip.Addr, proto byte, payload []byte) []byte, src, dst netip.Addr, proto byte,
	payload []byte) []byte {
	at := map[byte]int{6: 16, 17: 6, 58: 2}[proto]
	p := slices.Clone(payload)
	p[at], p[at+1] = 0, 0
	sum := checksum(src.AsSlice(), dst.AsSlice(), be32(uint32(len(p))), be32(uint32(proto)), p)
	binary.BigEndian.PutUint16(p[at:], sum)
	return make(src, dst, proto, p)
}

func TestIPRewriteChangesAddressesAndChecksumsAndNothingElse(t *testing.T) {
	d := rewriteDoors(t)
	tcp := slices.Concat(be16(1), be16(2), make([]byte, 16), []byte("data!"))
	udp := slices.Concat(be16(1), be16(2), be16(12), be16(0), []byte("data"))
	ping := icmp(8, 0, 7, []byte("ping"))
	first := func(src, dst netip.Addr, proto byte, payload []byte) []byte {
		return ip4Fragment(src, dst, proto, 0x2000, payload)
	}
	plain := func(src, dst netip.Addr) []byte { return ip4(src, dst, 17, udp) } // no checksum
	for _, c := range []struct {
		name string
		make func(src, dst netip.Addr) []byte
	}{
		{"TCP", func(src, dst netip.Addr) []byte { return sealedUp(ip4, src, dst, 6, tcp) }},
		{"UDP", func(src, dst netip.Addr) []byte { return sealedUp(ip4, src, dst, 17, udp) }},
		{"UDP without a checksum", plain},
		{"ping", func(src, dst netip.Addr) []byte { return ip4(src, dst, 1, ping) }},
		{"first fragment", func(src, dst netip.Addr) []byte { return sealedUp(first, src, dst, 17, udp) }},
		{"later fragment", func(src, dst netip.Addr) []byte { return ip4Fragment(src, dst, 17, 185, udp) }},
		{"options", func(src, dst netip.Addr) []byte { return sealedUp(ip4Options, src, dst, 6, tcp) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, tenant := range []struct {
				link     string
				own, far netip.Addr
			}{{"bhi6001", ownStandIn, vmStandIn}, {"bhi6002", woodStandIn, vmStandIn2}} {
				verdict, out := d.run(t, d.objects.Door1Tenant, tenant.link,
					ether(gatewayMAC, gatewayMAC, etherIPv4, c.make(gatewayCA, rewriteCA)))
				if want := c.make(tenant.own, tenant.far); verdict != verdictRedirect || !bytes.Equal(out[14:], want) {
					t.Errorf("out of %s: verdict %d\ngot  %x\nwant %x", tenant.link, int32(verdict), out[14:], want)
				}
				verdict, out = d.run(t, d.objects.Door1Wire, "backend0",
					ether(backendMAC, hostMAC, etherIPv4, c.make(tenant.far, tenant.own)))
				want := ether(gatewayMAC, hostMAC, etherIPv4, c.make(rewriteCA, gatewayCA))
				if verdict != verdictRedirect || !bytes.Equal(out, want) {
					t.Errorf("into %s: verdict %d\ngot  %x\nwant %x", tenant.link, int32(verdict), out, want)
				}
			}
		})
	}
}

func TestIPRewriteOfIPv6(t *testing.T) {
	d := rewriteDoors(t)
	c := contoso()
	c.Interfaces[0].Provider = ownStandIn6
	c.Records = append(c.Records, Record{Rule: Rewrite, CA: rewriteCA6, VSID: 5001, MAC: vmMAC, PA: vmStandIn6})
	d.set(t, c)
	udp := slices.Concat(be16(1), be16(2), be16(12), be16(0), []byte("data"))
	extended := func(src, dst netip.Addr, proto byte, payload []byte) []byte {
		return ip6(src, dst, 60, slices.Concat([]byte{44, 0, 1, 4, 0, 0, 0, 0}, []byte{proto, 0, 0, 1, 0, 0, 0, 9}, payload))
	}
	later := ip6(rewriteCA6, gatewayCA6, 44, slices.Concat([]byte{17, 0, 0, 9, 0, 0, 0, 9}, udp))
	for name, make := range map[string]func(src, dst netip.Addr) []byte{
		"UDP":            func(src, dst netip.Addr) []byte { return sealedUp(ip6, src, dst, 17, udp) },
		"ping":           func(src, dst netip.Addr) []byte { return sealedUp(ip6, src, dst, 58, icmp(128, 0, 7, nil)) },
		"first fragment": func(src, dst netip.Addr) []byte { return sealedUp(extended, src, dst, 17, udp) },
		"later fragment": func(src, dst netip.Addr) []byte {
			return slices.Concat(later[:8], src.AsSlice(), dst.AsSlice(), later[40:])
		},
	} {
		_, out := d.run(t, d.objects.Door1Tenant, "bhi6001",
			ether(gatewayMAC, gatewayMAC, etherIPv6, make(gatewayCA6, rewriteCA6)))
		if want := make(ownStandIn6, vmStandIn6); !bytes.Equal(out[14:], want) {
			t.Errorf("%s out:\ngot  %x\nwant %x", name, out[14:], want)
		}
		_, out = d.run(t, d.objects.Door1Wire, "backend0",
			ether(backendMAC, hostMAC, etherIPv6, make(vmStandIn6, ownStandIn6)))
		if want := ether(gatewayMAC, hostMAC, etherIPv6, make(rewriteCA6, gatewayCA6)); !bytes.Equal(out, want) {
			t.Errorf("%s in:\ngot  %x\nwant %x", name, out, want)
		}
	}
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "the provider network's own solicitation", verdict: verdictNext,
			frame: ether(backendMAC, hostMAC, etherIPv6, solicit(host6, ownStandIn6, ownStandIn6))},
	})
}

func TestIPRewriteTakesNothingFromStrangersAndSendsNothingUnderAForeignAddress(t *testing.T) {
	d := rewriteDoors(t)
	in := func(src, dst netip.Addr) []byte {
		return ether(backendMAC, hostMAC, etherIPv4, ip4(src, dst, 17, ports(1, 2)))
	}
	inner := ether(gatewayMAC, vmMAC, etherIPv4, ip4(vmCA, gatewayCA, 17, ports(1, 2)))
	d.check(t, d.objects.Door1Wire, "door1", "backend0", []packetCase{
		{name: "the other tenant's machine", frame: in(vmStandIn2, ownStandIn), verdict: verdictDrop, tenant: "Contoso",
			reason: "unlisted-provider"},
		{name: "a host that encapsulates", frame: in(host, ownStandIn), verdict: verdictDrop, tenant: "Contoso",
			reason: "unlisted-provider"},
		{name: "to an address that stands for none", frame: in(vmStandIn, provider), verdict: verdictDrop, reason: "not-nvgre"},
		{name: "NVGRE from a machine that is rewritten", frame: nvgre(vmStandIn, 6001, inner), verdict: verdictDrop,
			tenant: "Contoso", reason: "unlisted-provider"},
		{name: "NVGRE to an address that stands for another", verdict: verdictRedirect, out: inner,
			frame: ether(backendMAC, hostMAC, etherIPv4, ip4(host, ownStandIn, 47, gre(6001, 1, inner)))},
	})
	out := func(src netip.Addr, size int) []byte {
		return ether(gatewayMAC, gatewayMAC, etherIPv4, ip4(src, rewriteCA, 17, make([]byte, size)))
	}
	d.check(t, d.objects.Door1Tenant, "door1", "bhi6001", []packetCase{
		{name: "from a site", frame: out(addr("10.1.0.5"), 8), verdict: verdictDrop, tenant: "Contoso", reason: "no-stand-in"},
		{name: "as large as the MTU", frame: out(gatewayCA, providerMTU-20), verdict: verdictRedirect},
		{name: "larger", frame: out(gatewayCA, providerMTU-19), verdict: verdictDrop, tenant: "Contoso", reason: "too-big"},
	})
}

func TestAProviderAddressStandsForOneAddressOnly(t *testing.T) {
	d := rewriteDoors(t)
	before := d.snapshot(t)
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	second := Record{Rule: Rewrite, CA: addr("10.0.0.52"), VSID: 5001, MAC: vmMAC, PA: vmStandIn}
	refused(d.SetRecord(contosoID, second), "192.168.0.51 stands for 10.0.0.51 already")
	c := contoso()
	c.Interfaces[0].Provider = woodStandIn
	refused(d.ns.Do(func() error { return d.SetTenant(c) }), "192.168.0.42 stands for an address of tenant Woodgrove")
	c.Interfaces[0].Provider = vmStandIn
	c.Records = append(c.Records, second)
	refused(c.validate(), "provider address 192.168.0.51 stands for another already: interface in VSID 6001")
	same(t, before, d.snapshot(t))
	c = contoso()
	c.Interfaces[0].Provider = host
	refused(d.ns.Do(func() error { return d.SetTenant(c) }), "192.168.0.22 is none of the gateway's provider addresses")

	// Two that swap, one that changes nothing but its MAC address, and one that goes.
	c = contoso()
	c.Interfaces[0].Provider = ownStandIn
	first := Record{Rule: Rewrite, CA: rewriteCA, VSID: 5001, MAC: vmMAC, PA: vmStandIn}
	second.PA = addr("192.168.0.53")
	c.Records = append(c.Records, first, second)
	d.set(t, c)
	n := len(c.Records)
	c.Records[n-1].PA, c.Records[n-2].PA = c.Records[n-2].PA, c.Records[n-1].PA
	d.set(t, c)
	c.Records[n-1].MAC = farMAC
	d.set(t, c)
	id, _ := d.id(contosoID)
	stand := func() map[netip.Addr]netip.Addr {
		m := make(map[netip.Addr]netip.Addr)
		for k, v := range dump[doorsTenantAddress, doorsStandIn](t, d.objects.Rewrites) {
			if k.Tenant == id {
				m[fromAddress(k.Ip)] = fromAddress(v.Ca)
			}
		}
		return m
	}
	if got := stand(); len(got) != 2 || got[vmStandIn] != second.CA || got[addr("192.168.0.53")] != rewriteCA {
		t.Errorf("after the swap: %v", got)
	}
	if err := d.DeleteRecord(contosoID, Record{CA: second.CA}); err != nil {
		t.Fatal(err)
	}
	if got := stand(); len(got) != 1 || got[addr("192.168.0.53")] != rewriteCA {
		t.Errorf("after a deletion: %v", got)
	}
	if err := d.RemoveTenant(contosoID); err != nil {
		t.Fatal(err)
	}
	if got := stand(); len(got) != 0 {
		t.Errorf("after the tenant is gone: %v", got)
	}
}

func TestIPRewriteCarriesTCPAndFragmentsBothWays(t *testing.T) {
	for _, way := range []struct{ local, remote string }{{"10.0.254.2", "10.0.0.10"}, {"fd00:254::2", "fd00::10"}} {
		a, b := pair(t)
		if strings.Contains(way.local, ":") {
			a.over6(t, 1)
			b.over6(t, 2)
		}
		for _, n := range []*node{a, b} {
			n.tenant.Interfaces[0].Provider = n.pa
			n.tenant.Interfaces[0].Addresses = slices.DeleteFunc(n.tenant.Interfaces[0].Addresses, func(x netip.Addr) bool {
				return x.Is4() != n.pa.Is4()
			})
		}
		for _, ends := range [][2]*node{{a, b}, {b, a}} {
			own := ends[1].tenant.Interfaces[0]
			ends[0].tenant.Subnets = []Subnet{{own.VSID, netip.PrefixFrom(own.Addresses[0], 24)}}
			ends[0].tenant.Records = []Record{{
				Rule: Rewrite, CA: own.Addresses[0], VSID: own.VSID, MAC: own.MAC, PA: ends[1].pa,
			}}
		}
		a.set(t, a.tenant)
		b.set(t, b.tenant)
		transfer(t, a.inside, b.inside, way.local, way.remote)
		transfer(t, b.inside, a.inside, way.remote, way.local)
		remote := netip.AddrPortFrom(netip.MustParseAddr(way.remote), 7).String()
		serve(t, b.inside, remote, "Contoso")
		question := strings.Repeat("x", 2000)
		answer, err := ask(dial(t, a.inside, "udp", way.local, remote), question)
		if err != nil || answer != "Contoso: "+question {
			t.Errorf("%s to %s in fragments: %d bytes came back, %v", way.local, way.remote, len(answer), err)
		}
		noSegmentation(t, a.ns)
		transfer(t, a.inside, b.inside, way.local, way.remote)
	}
}
