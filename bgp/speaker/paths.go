package speaker

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// routeOf is a path of GoBGP's as we show it, and what the selection sees of it.
func routeOf(path *apiutil.Path, asn uint32) (bgp.Route, candidate) {
	r := bgp.Route{NextHop: nextHopOf(path.Attrs), Stale: path.Stale, Since: time.Unix(path.Age, 0)}
	r.Prefix, _ = prefixOf(path.Nlri)
	c := candidate{
		local: !path.PeerAddress.IsValid(), external: path.PeerASN != asn || !path.PeerAddress.IsValid(),
		preference: defaultPreference, since: path.Age, identifier: path.PeerID, address: path.PeerAddress,
	}
	for _, attribute := range path.Attrs {
		switch a := attribute.(type) {
		case *gobgp.PathAttributeOrigin:
			c.origin, r.Origin = a.Value, originName(a.Value)
		case *gobgp.PathAttributeAsPath:
			c.pathLength = pathLength(a)
			r.ASPath = asPath(a)
			if len(a.Value) > 0 && len(a.Value[0].GetAS()) > 0 {
				c.neighborAS = a.Value[0].GetAS()[0]
			}
		case *gobgp.PathAttributeMultiExitDisc:
			c.med, r.MED = a.Value, &a.Value
		case *gobgp.PathAttributeLocalPref:
			c.preference, r.LocalPreference = a.Value, &a.Value
		case *gobgp.PathAttributeCommunities:
			for _, community := range a.Value {
				r.Communities = append(r.Communities, communityName(community))
			}
		case *gobgp.PathAttributeLargeCommunities:
			for _, community := range a.Values {
				r.Communities = append(r.Communities,
					fmt.Sprintf("%d:%d:%d", community.ASN, community.LocalData1, community.LocalData2))
			}
		}
	}
	return r, c
}

func originName(origin uint8) string {
	switch origin {
	case gobgp.BGP_ORIGIN_ATTR_TYPE_IGP:
		return "igp"
	case gobgp.BGP_ORIGIN_ATTR_TYPE_EGP:
		return "egp"
	}
	return "incomplete"
}

func communityName(community uint32) string {
	if name, ok := gobgp.WellKnownCommunityNameMap[gobgp.WellKnownCommunity(community)]; ok {
		return name
	}
	return fmt.Sprintf("%d:%d", community>>16, community&0xffff)
}

// asPath is the path from the nearest system on, sets in braces.
func asPath(path *gobgp.PathAttributeAsPath) []string {
	var systems []string
	for _, segment := range path.Value {
		var numbers []string
		for _, asn := range segment.GetAS() {
			numbers = append(numbers, strconv.FormatUint(uint64(asn), 10))
		}
		if segment.GetType() == gobgp.BGP_ASPATH_ATTR_TYPE_SEQ {
			systems = append(systems, numbers...)
			continue
		}
		systems = append(systems, "{"+strings.Join(numbers, ",")+"}")
	}
	return systems
}
