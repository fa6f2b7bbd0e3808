package rawpeer

import (
	"net/netip"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// What the peer sends when it is told nothing wrong is what a parser of BGP understands.
func TestWellFormedMessagesAreUnderstood(t *testing.T) {
	options := Options{
		ASN: 4200000000, Identifier: netip.MustParseAddr("10.1.0.1"), HoldTime: 90,
		Families: []bgp.Family{bgp.RF_IPv4_UC, bgp.RF_IPv6_UC},
	}
	four, six := netip.MustParsePrefix("10.1.0.0/17"), netip.MustParsePrefix("2001:db8:1::/48")
	long := make([]uint32, 300)
	for i := range long {
		long[i] = uint32(i) + 1
	}
	path := Path(netip.MustParseAddr("10.1.0.1"), long...)
	for name, b := range map[string][]byte{
		"open":         options.Open(),
		"keepalive":    Keepalive(),
		"refresh":      Refresh(bgp.RF_IPv4_UC),
		"notification": Notify(6, 2),
		"update":       Update([]netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}, append(path, Communities(1, 2)), four),
		"reach":        Update(nil, [][]byte{path[0], path[1], Reach(bgp.RF_IPv6_UC, netip.MustParseAddr("2001:db8::1"), six)}),
		"unreach":      Update(nil, [][]byte{Unreach(bgp.RF_IPv6_UC, six)}),
		"end of RIB":   EndOfRIB(),
	} {
		m, err := bgp.ParseBGPMessage(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		u, ok := m.Body.(*bgp.BGPUpdate)
		if !ok {
			continue
		}
		families := map[bgp.Family]bgp.BGPAddPathMode{bgp.RF_IPv4_UC: 0, bgp.RF_IPv6_UC: 0}
		if ok, err := bgp.ValidateUpdateMsg(u, families, true, false, false); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
