package speaker_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// A prefix that is announced well and then badly is gone after the bad announcement, and the session stays: treat as
// withdraw (RFC 7606, 2). What the peer announced beside it stays too.
func TestMalformedUpdatesAreTreatedAsWithdrawals(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	path := rawpeer.Path(s.addr, s.asn)
	origin, systems, hop := path[0], path[1], path[2]
	attribute := rawpeer.Attribute
	bad := map[string][][]byte{
		"origin of length 2":            {attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_ORIGIN, []byte{0, 0}), systems, hop},
		"origin unknown":                {rawpeer.Origin(3), systems, hop},
		"origin missing":                {systems, hop},
		"origin of the wrong flags":     {attribute(rawpeer.Transitive, gobgp.BGP_ATTR_TYPE_ORIGIN, []byte{0}), systems, hop},
		"path missing":                  {origin, hop},
		"path of an unknown segment":    {origin, attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_AS_PATH, []byte{9, 1, 0, 0, 0, 1}), hop},
		"path cut short":                {origin, attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_AS_PATH, []byte{2, 3, 0, 0, 0, 1}), hop},
		"path of an empty segment":      {origin, attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_AS_PATH, []byte{2, 0}), hop},
		"path of a confederation":       {origin, attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_AS_PATH, append([]byte{3, 1}, rawpeer.Words(s.asn)...)), hop},
		"next hop missing":              {origin, systems},
		"next hop of length 3":          {origin, systems, attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_NEXT_HOP, []byte{10, 20, 1})},
		"next hop 0.0.0.0":              {origin, systems, rawpeer.NextHop(netip.IPv4Unspecified())},
		"next hop multicast":            {origin, systems, rawpeer.NextHop(netip.MustParseAddr("224.0.0.5"))},
		"next hop in loopback":          {origin, systems, rawpeer.NextHop(netip.MustParseAddr("127.0.0.1"))},
		"metric of length 3":            {origin, systems, hop, attribute(rawpeer.Optional, gobgp.BGP_ATTR_TYPE_MULTI_EXIT_DISC, []byte{0, 0, 1})},
		"communities of length 5":       {origin, systems, hop, attribute(rawpeer.Transitive, gobgp.BGP_ATTR_TYPE_COMMUNITIES, make([]byte, 5))},
		"extended communities of 7":     {origin, systems, hop, attribute(rawpeer.Transitive, gobgp.BGP_ATTR_TYPE_EXTENDED_COMMUNITIES, make([]byte, 7))},
		"large communities of 11":       {origin, systems, hop, attribute(rawpeer.Transitive, gobgp.BGP_ATTR_TYPE_LARGE_COMMUNITY, make([]byte, 11))},
		"well-known with the low flags": {attribute(0, gobgp.BGP_ATTR_TYPE_ORIGIN, []byte{0}), systems, hop},
	}
	r := start(t, config(all))
	peer := establish(t, s.options())
	good, beside := prefix("10.30.0.0/16"), prefix("10.31.0.0/16")
	send(t, peer, s.announce(beside))
	for name, attributes := range bad {
		send(t, peer, s.announce(good))
		testenv.Eventually(t, "the good route is there before: "+name, func() bool { return learned(t, good) && learned(t, beside) })
		before := r.peer(t, s.name).Received.WithdrawnUpdates
		send(t, peer, rawpeer.Update(nil, attributes, good))
		testenv.Eventually(t, "the route is withdrawn: "+name, func() bool { return !learned(t, good) })
		if !learned(t, beside) {
			t.Errorf("%s: the route beside it is gone", name)
		}
		testenv.Eventually(t, "it is counted: "+name, func() bool { return r.peer(t, s.name).Received.WithdrawnUpdates > before })
	}
	if n := peer.Notification(); n != nil {
		t.Errorf("the session was ended by %d/%d", n.ErrorCode, n.ErrorSubcode)
	}
	if state := r.peer(t, s.name); state.State != bgp.Established || state.Flaps != 0 {
		t.Errorf("the session is %s and ended %d times", state.State, state.Flaps)
	}
}

// What is wrong with an attribute that decides nothing is left out, and the route stays: attribute discard (RFC 7606, 2).
func TestMalformedAttributesThatDecideNothingAreLeftOut(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	start(t, config(all))
	peer := establish(t, s.options())
	attribute := rawpeer.Attribute
	number := byte(0)
	for name, extra := range map[string][]byte{
		"atomic aggregate of length 1": attribute(rawpeer.WellKnown, gobgp.BGP_ATTR_TYPE_ATOMIC_AGGREGATE, []byte{1}),
		"aggregator of length 1":       attribute(rawpeer.Transitive, gobgp.BGP_ATTR_TYPE_AGGREGATOR, []byte{1}),
		"unknown optional":             attribute(rawpeer.Transitive, 250, []byte{1, 2, 3}),
		"the origin twice":             rawpeer.Origin(1),
	} {
		number++
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 40, number, 0}), 24)
		send(t, peer, rawpeer.Update(nil, append(rawpeer.Path(s.addr, s.asn), extra), p))
		testenv.Eventually(t, "the route is there: "+name, func() bool { return learned(t, p) })
	}
	if n := peer.Notification(); n != nil {
		t.Errorf("the session was ended by %d/%d", n.ErrorCode, n.ErrorSubcode)
	}
}

// Where a message's own frame is wrong nothing can be trusted: the session ends with the code of RFC 4271, 6, and comes
// back; the other peer's session and routes do not notice.
func TestBrokenFramesEndTheSessionOfTheirPeerOnly(t *testing.T) {
	all := sites(t, 8) // GoBGP waits 5 s before it speaks to a peer again, so that each case has one of its own
	r := start(t, config(all))
	other := establish(t, all[7].options())
	send(t, other, all[7].announce(prefix("10.50.0.0/16")))
	testenv.Eventually(t, "the other peer's route is there", func() bool { return learned(t, prefix("10.50.0.0/16")) })

	short := rawpeer.Keepalive()
	binary.BigEndian.PutUint16(short[16:], 18)
	long := rawpeer.Message(gobgp.BGP_MSG_KEEPALIVE, make([]byte, 5000))
	marker := rawpeer.Keepalive()
	marker[3] = 0
	for i, c := range []struct {
		name          string
		message       []byte
		code, subcode uint8
	}{
		{"marker", marker, 1, 1},
		{"length below the header's", short, 1, 2},
		{"length above 4096", long, 1, 2},
		{"type unknown", rawpeer.Message(99, nil), 1, 3},
		{"withdrawn routes beyond the message", rawpeer.Message(gobgp.BGP_MSG_UPDATE, []byte{0xff, 0xff, 0, 0}), 3, 1},
		{"attributes beyond the message", rawpeer.Message(gobgp.BGP_MSG_UPDATE, []byte{0, 0, 0xff, 0xff}), 3, 1},
		{"prefix longer than an address", append(update(all[6].announce()), 33, 10, 0, 0, 0, 1), 3, 0},
	} {
		peer := establish(t, all[i].options())
		if c.subcode == 0 { // a prefix is appended, so the length has to be put right
			binary.BigEndian.PutUint16(c.message[16:], uint16(len(c.message)))
		}
		send(t, peer, c.message)
		over(t, peer)
		n := peer.Notification()
		if n == nil || n.ErrorCode != c.code || c.subcode != 0 && n.ErrorSubcode != c.subcode {
			t.Errorf("%s: the session ended with %+v, want %d/%d", c.name, n, c.code, c.subcode)
		}
		testenv.Eventually(t, "the reason is told: "+c.name, func() bool { return r.peer(t, all[i].name).LastError != "" })
	}
	if !learned(t, prefix("10.50.0.0/16")) || other.Notification() != nil {
		t.Error("the other peer was touched")
	}
	if state := r.peer(t, all[7].name); state.State != bgp.Established || state.Flaps != 0 {
		t.Errorf("the other session is %s and ended %d times", state.State, state.Flaps)
	}
}

// update is a copy that may be appended to.
func update(b []byte) []byte { return append([]byte(nil), b...) }

// An update that GoBGP looks at less closely, since one of its attributes is to be left out, brings in nothing that the
// peer has no right to: no route of a family that was not agreed on, none without a path or next hop.
func TestAnAttributeThatIsLeftOutOpensNoBackDoor(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	r := start(t, config(all))
	peer := establish(t, s.options())
	path := rawpeer.Path(s.addr, s.asn)
	discarded := rawpeer.Attribute(rawpeer.Transitive, gobgp.BGP_ATTR_TYPE_AGGREGATOR, []byte{1})
	six, four, marker := prefix("2001:db8:66::/48"), prefix("10.60.0.0/16"), prefix("10.61.0.0/16")
	send(t, peer,
		rawpeer.Update(nil, [][]byte{path[0], path[1], rawpeer.Reach(gobgp.RF_IPv6_UC, s.addr6, six), discarded}),
		rawpeer.Update(nil, [][]byte{discarded}, four),
		s.announce(marker))
	testenv.Eventually(t, "what came after is there", func() bool { return learned(t, marker) })
	if learned(t, six) || learned(t, four) {
		t.Error("the kernel has a route that came by the back door:", kernel(t))
	}
	for _, p := range []netip.Prefix{six, four} {
		for _, route := range r.paths(t, p) {
			if route.Best || route.Used {
				t.Errorf("%s is used: %+v", p, route)
			}
		}
	}
}
