package speaker_test

import (
	"net/netip"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// Routes that no peer may have us use are refused: counted, shown with the reason, not in the kernel, not told to others.
// Those beside them stay.
func TestRoutesThatNoPeerMayClaimAreRefused(t *testing.T) {
	all := sites(t, 2)
	s := all[0]
	want := config(all)
	want.Transit = true
	r := start(t, want)
	other := establish(t, all[1].options())
	peer := establish(t, s.options())
	many := func(n int, asn uint32) []uint32 {
		path := []uint32{s.asn}
		for len(path) < n {
			path = append(path, asn)
		}
		return path
	}
	set := rawpeer.Attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_AS_PATH,
		append(append([]byte{2, 1}, rawpeer.Words(s.asn)...), append([]byte{1, 2}, rawpeer.Words(65001, ownASN)...)...))
	aggregated := rawpeer.Attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_AS_PATH,
		append(append([]byte{2, 1}, rawpeer.Words(s.asn)...), append([]byte{1, 2}, rawpeer.Words(65001, 65002)...)...))
	good := rawpeer.Path(s.addr, s.asn)
	through := func(path []byte) [][]byte { return [][]byte{good[0], path, good[2]} }
	for _, c := range []struct {
		name       string
		prefix     string
		attributes [][]byte
	}{
		{"next hop that nothing resolves", "10.70.0.0/16", rawpeer.Path(netip.MustParseAddr("10.99.9.9"), s.asn)},
		{"next hop that is ourselves", "10.70.1.0/24", rawpeer.Path(s.own, s.asn)},
		{"default route", "0.0.0.0/0", good},
		{"half of the default route", "128.0.0.0/1", good},
		{"the virtual subnet", "10.0.0.0/24", good},
		{"a part of the virtual subnet", "10.0.0.128/25", good},
		{"a host in the virtual subnet", "10.0.0.7/32", good},
		{"a peer's own address", "10.20.2.1/32", good},
		{"loopback", "127.0.0.0/8", good},
		{"a part of loopback", "127.1.2.0/24", good},
		{"link-local", "169.254.0.0/16", good},
		{"multicast", "224.0.0.0/24", good},
		{"reserved", "240.0.0.0/4", good},
		{"this network", "0.1.0.0/16", good},
		{"AS loop", "10.71.0.0/24", through(rawpeer.ASPath(s.asn, ownASN, 65001))},
		{"a set in the path (RFC 9774)", "10.71.7.0/24", through(aggregated)},
		{"AS loop in a set", "10.71.1.0/24", through(set)},
		{"AS 0 in the path", "10.71.2.0/24", through(rawpeer.ASPath(s.asn, 0, 65001))},
		{"path that does not begin with the peer's AS", "10.71.3.0/24", through(rawpeer.ASPath(65099, s.asn))},
		{"empty path from outside", "10.71.4.0/24", through(rawpeer.ASPath())},
		{"path of 300 systems", "10.71.5.0/24", through(rawpeer.ASPath(many(300, 65001)...))},
		{"1000 communities", "10.71.6.0/24", append(rawpeer.Path(s.addr, s.asn), rawpeer.Communities(many(1000, 7)...))},
	} {
		p := prefix(c.prefix)
		testenv.Eventually(t, "nothing is refused before: "+c.name, func() bool { return r.refused(t, s.name) == 0 })
		send(t, peer, rawpeer.Update(nil, c.attributes, p))
		marker := prefix("10.79.0.0/24")
		send(t, peer, s.announce(marker))
		testenv.Eventually(t, "what came after is there: "+c.name, func() bool { return learned(t, marker) })
		send(t, peer, rawpeer.Update([]netip.Prefix{marker}, nil))
		testenv.Eventually(t, "it is withdrawn again: "+c.name, func() bool { return !learned(t, marker) })
		if learned(t, p) {
			t.Errorf("%s: %s is in the kernel", c.name, p)
		}
		testenv.Eventually(t, "it is counted: "+c.name, func() bool { return r.refused(t, s.name) == 1 })
		shown := r.paths(t, p)
		refused := false
		for _, route := range shown {
			if route.Peer == s.name {
				refused = !route.Best && !route.Used && route.Why != ""
			}
		}
		if !refused {
			t.Errorf("%s: it is not shown as refused with a reason: %+v", c.name, shown)
		}
		send(t, peer, rawpeer.Update([]netip.Prefix{p}, nil))
	}
	for _, p := range told(other) {
		if p != prefix("10.0.0.0/24") && p != prefix("10.79.0.0/24") {
			t.Errorf("the other peer was told of %s", p)
		}
	}
	if state := r.peer(t, s.name); state.State != bgp.Established || state.Flaps != 0 {
		t.Errorf("the session is %s and ended %d times", state.State, state.Flaps)
	}
}

// told are the prefixes that a peer was told of, withdrawn ones included.
func told(peer *rawpeer.Peer) []netip.Prefix {
	var all []netip.Prefix
	for _, m := range peer.Heard() {
		u, ok := m.Body.(*gobgp.BGPUpdate)
		if !ok {
			continue
		}
		for _, n := range u.NLRI {
			all = append(all, netip.MustParsePrefix(n.NLRI.String()))
		}
	}
	return all
}

// The local preference is for internal peers to say. An external one does not win by it.
func TestAnExternalPeerDoesNotWinByLocalPreference(t *testing.T) {
	all := sites(t, 2)
	r := start(t, config(all))
	long, short := establish(t, all[0].options()), establish(t, all[1].options())
	p := prefix("10.30.0.0/16")
	preference := rawpeer.Attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_LOCAL_PREF, rawpeer.Words(4000000000))
	send(t, long, rawpeer.Update(nil, append(rawpeer.Path(all[0].addr, all[0].asn, 65001, 65002), preference), p))
	send(t, short, all[1].announce(p))
	testenv.Eventually(t, "the shorter path is the best", func() bool {
		for _, route := range r.paths(t, p) {
			if route.Best {
				return route.Peer == all[1].name
			}
		}
		return false
	})
}

// A peer that took back the default route to what it may not claim keeps none: a route into the virtual subnets is refused
// also where it came before that was declared.
func TestARouteIntoANewVirtualSubnetGoes(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	want := config(all)
	r := start(t, want)
	peer := establish(t, s.options())
	p := prefix("10.30.5.0/24")
	send(t, peer, s.announce(p))
	testenv.Eventually(t, "the route is there", func() bool { return learned(t, p) })
	changed := config(all)
	changed.Inside = append(changed.Inside, prefix("10.30.0.0/16"))
	if err := r.Set(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the route is gone", func() bool { return !learned(t, p) })
	if err := r.Set(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the route is back", func() bool { return learned(t, p) })
	if flaps := r.peer(t, s.name).Flaps; flaps != 0 {
		t.Errorf("the session ended %d times", flaps)
	}
}

// A peer that is allowed a default route has it, and nobody else.
func TestADefaultRouteIsTakenFromWhoMayHaveIt(t *testing.T) {
	all := sites(t, 2)
	want := config(all)
	want.Peers[1].AcceptDefault = true
	r := start(t, want)
	no, yes := establish(t, all[0].options()), establish(t, all[1].options())
	zero := prefix("0.0.0.0/0")
	send(t, no, all[0].announce(zero))
	testenv.Eventually(t, "it is refused", func() bool { return r.refused(t, all[0].name) > 0 })
	if defaultBy(t, r) != "" {
		t.Fatal("the default route is used")
	}
	send(t, yes, all[1].announce(zero))
	testenv.Eventually(t, "the other's is used", func() bool { return defaultBy(t, r) == all[1].name })
}

// defaultBy is the peer whose default route is used.
func defaultBy(t *testing.T, r *running) string {
	for _, route := range r.paths(t, prefix("0.0.0.0/0")) {
		if route.Best {
			return route.Peer
		}
	}
	return ""
}

// What comes in while routes are listed is not shown as refused.
func TestARouteThatComesInWhileRoutesAreListedIsNotRefused(t *testing.T) {
	const routes = 5000
	all := sites(t, 1)
	r := start(t, config(all))
	peer := establish(t, all[0].options())
	go func() {
		for n := range routes {
			if peer.Send(all[0].announce(numbered(n))) != nil {
				return
			}
		}
	}()
	for number := 0; number < routes; {
		number = 0
		err := r.Routes(t.Context(), bgp.RouteQuery{Peer: all[0].name}, func(route bgp.Route) bool {
			if route.Refused {
				t.Errorf("%s is shown as refused: %s", route.Prefix, route.Why)
			}
			number++
			return true
		})
		if err != nil || t.Failed() {
			t.Fatal(err)
		}
	}
}
