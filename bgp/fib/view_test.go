package fib

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func prefixes(text string) (all []netip.Prefix) {
	for _, p := range strings.Fields(text) {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func addr(text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(text)
}

// Links of the tests: IfWi1 towards the VMs, two tunnels, an Ethernet link, lo and one that is down.
var testLinks = map[int]link{
	1: {1, "lo", true, false, true},
	2: {2, "IfWi1", true, true, false},
	3: {3, "IfWe1", true, true, false},
	4: {4, "IfWe2", true, true, false},
	5: {5, "eth", true, false, false},
	6: {6, "gone", false, true, false},
}

func unicast(prefix string, metric uint32, ways ...way) foundRoute {
	return foundRoute{netip.MustParsePrefix(prefix), metric, true, ways}
}

func refused(prefix string, metric uint32) foundRoute {
	return foundRoute{prefix: netip.MustParsePrefix(prefix), metric: metric}
}

var door = way{via: addr("169.254.0.1")}

func on(link int) way { return way{link: link, via: door.via} }

func view1(down ...string) *view {
	routes := []foundRoute{
		unicast("0.0.0.0/0", 4294967295, on(2)),
		unicast("10.0.0.0/24", 0, way{link: 2}),
		unicast("10.1.0.1/32", 10, on(3)), refused("10.1.0.1/32", 4294967294),
		unicast("10.2.0.0/16", 20, on(4)), unicast("10.2.0.0/16", 10, on(3)), refused("10.2.0.0/16", 4294967294),
		refused("10.2.9.0/24", 4294967294),
		unicast("172.16.0.0/24", 0, way{link: 5}),
		unicast("172.17.0.0/16", 0, way{5, addr("172.16.0.9")}),
		unicast("172.18.0.0/16", 0, on(6)),
		unicast("172.19.0.0/16", 0, on(3), on(4)),
		unicast("127.1.0.0/16", 0, way{link: 1}),
		unicast("2001:db8:1::/48", 10, way{3, addr("fe80::1")}),
		unicast("fe80::/64", 256, way{link: 5}),
	}
	set := map[string]bool{}
	for _, name := range down {
		set[name] = true
	}
	return newView(routes, testLinks, []netip.Addr{addr("10.0.0.2"), addr("172.16.0.1")}, set)
}

func TestNextHopsResolveThroughTheBestRouteThatIsNotBGPs(t *testing.T) {
	for _, c := range []struct {
		name, hop string
		down      []string
		want      []way
	}{
		{"host route of a peer", "10.1.0.1", nil, []way{on(3)}},
		{"its tunnel is down: unreachable, not another tunnel (law 6)", "10.1.0.1", []string{"IfWe1"}, nil},
		{"lower metric first", "10.2.0.1", nil, []way{on(3)}},
		{"the next metric while the first tunnel is down", "10.2.0.1", []string{"IfWe1"}, []way{on(4)}},
		{"both are down", "10.2.0.1", []string{"IfWe1", "IfWe2"}, nil},
		{"a hole", "10.2.9.1", nil, nil},
		{"the default route leads nowhere in particular", "8.8.8.8", nil, nil},
		{"connected, Ethernet", "172.16.0.7", nil, []way{{5, addr("172.16.0.7")}}},
		{"connected, a link that resolves nothing", "10.0.0.7", nil, []way{on(2)}},
		{"our own address", "172.16.0.1", nil, nil},
		{"by a gateway", "172.17.1.1", nil, []way{{5, addr("172.16.0.9")}}},
		{"the link is down", "172.18.1.1", nil, nil},
		{"two links", "172.19.1.1", nil, []way{on(3), on(4)}},
		{"one of two is down", "172.19.1.1", []string{"IfWe2"}, []way{on(3)}},
		{"loopback", "127.1.0.1", nil, nil},
		{"IPv6", "2001:db8:1::1", nil, []way{{3, addr("fe80::1")}}},
		{"link-local", "fe80::9", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := view1(c.down...).resolve([]netip.Addr{addr(c.hop)}); !slices.Equal(got, c.want) {
				t.Errorf("%s resolves to %v, want %v", c.hop, got, c.want)
			}
		})
	}
}

// The space says of each address just what resolving it does.
func TestSpaceIsWhereNextHopsResolve(t *testing.T) {
	for _, down := range [][]string{nil, {"IfWe1"}, {"IfWe1", "IfWe2"}} {
		v := view1(down...)
		for i, p := range v.space {
			if i > 0 && v.space[i-1].Overlaps(p) {
				t.Errorf("%v and %v overlap", v.space[i-1], p)
			}
		}
		for _, text := range strings.Fields(`10.0.0.0 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.255 10.0.1.0 10.1.0.0 10.1.0.1 10.1.0.2
			10.2.0.0 10.2.8.255 10.2.9.0 10.2.9.255 10.2.10.0 10.2.255.255 10.3.0.0 172.16.0.0 172.16.0.1 172.16.0.2
			172.17.0.0 172.18.0.0 172.19.0.0 172.20.0.0 127.0.0.1 127.1.0.1 0.0.0.0 255.255.255.255 8.8.8.8
			2001:db8:1:: 2001:db8:1:ffff:: 2001:db8:2:: :: fe80::1 ffff::`) {
			a := addr(text)
			in := slices.ContainsFunc(v.space, func(p netip.Prefix) bool { return p.Contains(a) })
			if resolves := len(v.resolve([]netip.Addr{a})) > 0; in != resolves {
				t.Errorf("%v, down %v: in the space %v, resolves %v", a, down, in, resolves)
			}
		}
	}
	want := prefixes(`10.0.0.0/31 10.0.0.3/32 10.0.0.4/30 10.0.0.8/29 10.0.0.16/28 10.0.0.32/27 10.0.0.64/26 10.0.0.128/25
		10.1.0.1/32 10.2.0.0/21 10.2.8.0/24 10.2.10.0/23 10.2.12.0/22 10.2.16.0/20 10.2.32.0/19 10.2.64.0/18 10.2.128.0/17
		172.16.0.0/32 172.16.0.2/31 172.16.0.4/30 172.16.0.8/29 172.16.0.16/28 172.16.0.32/27 172.16.0.64/26
		172.16.0.128/25 172.17.0.0/16 172.19.0.0/16 2001:db8:1::/48`)
	if diff := cmp.Diff(want, view1().space, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestHalvesThatAreInAreJoined(t *testing.T) {
	yes := []way{on(3)}
	got := spaceOf(map[netip.Prefix][]way{
		netip.MustParsePrefix("10.0.0.0/9"): yes, netip.MustParsePrefix("10.128.0.0/10"): yes,
		netip.MustParsePrefix("10.192.0.0/10"): yes, netip.MustParsePrefix("10.5.0.0/16"): yes,
	})
	if want := prefixes("10.0.0.0/8"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRoutesOfALinkAreThoseThatLeadOutByIt(t *testing.T) {
	v := view1()
	if got, want := v.routesOn([]string{"IfWe2"}), prefixes("10.2.0.0/16 172.19.0.0/16"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := v.routesOn([]string{"eth"}), prefixes("172.16.0.0/24 172.17.0.0/16"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
