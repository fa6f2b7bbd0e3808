package dataplane

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAHostIsReachedFromTheProviderAddressAndByTheNextHopThatFit(t *testing.T) {
	own := func(address, link string, ifindex uint32, vsids ...uint32) ownProvider {
		p := Provider{Address: netip.MustParsePrefix(address), Link: link, VSIDs: vsids}
		return ownProvider{Provider: p, ifindex: ifindex, mtu: 1600}
	}
	u := &underlay{
		providers: []ownProvider{
			own("192.168.9.9/24", "backend0.9", 9, 5009), own("192.168.0.11/24", "backend0", 1),
			own("192.168.1.11/24", "backend0.1", 2), own("192.168.0.12/24", "backend0", 1),
			own("2001:db8:168::11/64", "backend0", 1),
		},
		routes: []ProviderRoute{
			{netip.MustParsePrefix("10.1.0.0/16"), addr("192.168.0.1")},
			{netip.MustParsePrefix("10.1.2.0/24"), addr("192.168.1.1")},
			{netip.MustParsePrefix("192.168.1.0/24"), addr("192.168.0.1")},
			{netip.MustParsePrefix("0.0.0.0/0"), addr("192.168.9.1")},
			{netip.MustParsePrefix("::/0"), addr("2001:db8:168::1")},
		},
	}
	bound := addr("192.168.9.9")
	for _, c := range []struct {
		pa, bound      netip.Addr
		local, nextHop netip.Addr
		ifindex        uint32
	}{
		{pa: addr("192.168.0.22"), local: addr("192.168.0.11"), nextHop: addr("192.168.0.22"), ifindex: 1},
		{pa: addr("192.168.1.22"), local: addr("192.168.1.11"), nextHop: addr("192.168.1.22"), ifindex: 2},
		{pa: addr("10.1.1.1"), local: addr("192.168.0.11"), nextHop: addr("192.168.0.1"), ifindex: 1},
		{pa: addr("10.1.2.1"), local: addr("192.168.1.11"), nextHop: addr("192.168.1.1"), ifindex: 2},
		{pa: addr("2001:db8:168::22"), local: provider6, nextHop: addr("2001:db8:168::22"), ifindex: 1},
		{pa: addr("2001:db8::22"), local: provider6, nextHop: addr("2001:db8:168::1"), ifindex: 1},
		{pa: addr("192.168.0.22"), bound: bound, local: bound, nextHop: addr("192.168.9.1"), ifindex: 9},
		{pa: addr("192.168.9.22"), bound: bound, local: bound, nextHop: addr("192.168.9.22"), ifindex: 9},
		{pa: addr("192.168.0.12"), local: addr("192.168.0.12")}, // the gateway itself: nothing is sent
	} {
		h, err := u.path(hostKey{pa: c.pa, bound: c.bound})
		if err != nil {
			t.Errorf("%v: %v", c.pa, err)
			continue
		}
		hop := fromAddress(h.NextHop)
		if c.ifindex == 0 {
			hop = netip.Addr{}
		}
		if fromAddress(h.Local) != c.local || hop != c.nextHop || h.Ifindex != c.ifindex {
			t.Errorf("%v: from %v by %v on link %d, want %v, %v, %d", c.pa, fromAddress(h.Local), hop, h.Ifindex, c.local,
				c.nextHop, c.ifindex)
		}
	}
	for want, k := range map[string]hostKey{
		"provider address 10.9.9.9 has no route: it lies in no subnet of the gateway's provider": {pa: addr("10.9.9.9")},
		"of 192.168.9.9, the gateway's provider address for that virtual":                        {pa: host6, bound: bound},
	} {
		if _, err := u.path(k); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want one with %q", k, err, want)
		}
	}
}

func TestGatewayIsRefusedWhenItsDeclarationIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Gateway){
		"needs a unicast address and a link": func(g *Gateway) { g.Providers[0].Link = "" },
		"VLAN 4095 is not within 0 to 4094":  func(g *Gateway) { g.Providers[0].VLAN = 4095 },
		"VSID 7 is not within":               func(g *Gateway) { g.Providers[0].VSIDs = []uint32{7} },
		"both name VSID 5001":                func(g *Gateway) { g.Providers[0].VSIDs = []uint32{5001, 5001} },
		"a next hop of one family": func(g *Gateway) {
			g.ProviderRoutes = []ProviderRoute{{netip.MustParsePrefix("::/0"), host}}
		},
		"is not an address that it can have": func(g *Gateway) { g.OwnAddresses[0] = addr("::") },
		"invalid pool prefix":                func(g *Gateway) { g.PoolPrefixes[0] = netip.Prefix{} },
	} {
		g := fabrikam()
		change(&g)
		if err := g.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
