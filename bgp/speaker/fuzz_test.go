package speaker

import (
	"net/netip"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// What a peer's update says is read by us too: for the kernel's table, for what is shown, and for why it was refused.
// Nothing that it says ends the process.
func FuzzWhatIsReadOfAnUpdate(f *testing.F) {
	hop := netip.MustParseAddr("10.1.0.1")
	six := rawpeer.Reach(gobgp.RF_IPv6_UC, netip.MustParseAddr("2001:db8::1"), netip.MustParsePrefix("2001:db8:1::/48"))
	communities := rawpeer.Communities(65413<<16|100, uint32(gobgp.COMMUNITY_NO_EXPORT))
	for _, attributes := range [][][]byte{
		rawpeer.Path(hop, 65413, 0, 65412),
		append(rawpeer.Path(hop), communities),
		{rawpeer.Origin(9), rawpeer.ASPath(65413), six},
		append(rawpeer.Path(hop, 65413), rawpeer.Attribute(rawpeer.Transitive, gobgp.BGP_ATTR_TYPE_LARGE_COMMUNITY, make([]byte, 24))),
		append(rawpeer.Path(hop, 65413), rawpeer.Attribute(rawpeer.Optional, gobgp.BGP_ATTR_TYPE_MULTI_EXIT_DISC, rawpeer.Words(1))),
	} {
		f.Add(rawpeer.Update(nil, attributes, netip.MustParsePrefix("10.3.0.0/24")))
	}
	peer := netip.MustParseAddr("10.1.0.1")
	config := &bgp.Config{ASN: 65412, Inside: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
		Peers: []bgp.Peer{{Address: peer, ASN: 65413, IPv4: true}}}
	refuse := newRefusals(config, []netip.Prefix{netip.MustParsePrefix("10.1.0.1/32")}, nil)
	f.Fuzz(func(_ *testing.T, b []byte) {
		m, err := gobgp.ParseBGPMessage(b)
		if err != nil {
			return
		}
		update, ok := m.Body.(*gobgp.BGPUpdate)
		if !ok {
			return
		}
		prefixes := update.NLRI
		for _, attribute := range update.PathAttributes {
			if reach, ok := attribute.(*gobgp.PathAttributeMpReachNLRI); ok {
				prefixes = append(prefixes, reach.Value...)
			}
		}
		for _, n := range prefixes {
			path := &apiutil.Path{Nlri: n.NLRI, Attrs: update.PathAttributes, PeerAddress: peer, PeerASN: 65413}
			route, one := routeOf(path, config.ASN)
			refuse.reason(path, route)
			why([]candidate{one, {}}, []bool{true, false}, true)
		}
	})
}
