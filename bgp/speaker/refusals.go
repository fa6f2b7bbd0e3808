package speaker

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// refusals tell why a route was refused. GoBGP does not: this goes through what imports does, in its order.
type refusals struct {
	peers  map[netip.Addr]bgp.Peer
	asn    uint32
	inside []bgp.PrefixRange
	pinned []bgp.PrefixRange
	space  []netip.Prefix
}

func newRefusals(config *bgp.Config, space []netip.Prefix, pinned []bgp.PrefixRange) *refusals {
	r := &refusals{peers: map[netip.Addr]bgp.Peer{}, asn: config.ASN, pinned: pinned, space: space}
	for _, prefix := range config.Inside {
		r.inside = append(r.inside, whole(prefix))
	}
	for _, peer := range config.Peers {
		r.peers[peer.Address] = peer
	}
	return r
}

// Reasons for refusals that are told by a word of their own, so that they can be counted.
const (
	refusedMartian     = "no peer can have this prefix (martian)"
	refusedInside      = "it is in our own virtual subnets"
	refusedPinned      = "it leads to a peer's own address, whose route is declared"
	refusedDefault     = "default routes are not accepted from this peer"
	refusedLoop        = "our own AS number is in the path"
	refusedPathLength  = "the AS path is too long"
	refusedCommunities = "too many communities"
	refusedSet         = "a set is in the AS path (RFC 9774)"
	refusedAS0         = "AS 0 is in the path (RFC 7607)"
	refusedMachine     = "the next hop is a machine of the virtual network, whose hosts deliver by declared records only"
	refusedPolicy      = "refused by import policy"
	refusedNextHop     = "the next hop is reachable by no route but BGP's"
)

// reason is why path, which is shown as route, was refused.
func (r *refusals) reason(path *apiutil.Path, route bgp.Route) string {
	kind := r.kind(path, route)
	if kind == refusedNextHop {
		return fmt.Sprintf("next hop %s is reachable by no route but BGP's", route.NextHop)
	}
	return kind
}

// kind is why path was refused, without what differs from route to route.
func (r *refusals) kind(path *apiutil.Path, route bgp.Route) string {
	peer := r.peers[path.PeerAddress]
	var systems []uint32
	length, communities, sets := 0, 0, false
	for _, attribute := range path.Attrs {
		switch a := attribute.(type) {
		case *gobgp.PathAttributeAsPath:
			length = pathLength(a)
			for _, segment := range a.Value {
				systems = append(systems, segment.GetAS()...)
				sets = sets || segment.GetType() != gobgp.BGP_ASPATH_ATTR_TYPE_SEQ
			}
		case *gobgp.PathAttributeCommunities:
			communities = len(a.Value)
		}
	}
	own, zero := 0, false
	for _, asn := range systems {
		if asn == r.asn {
			own++
		}
		zero = zero || asn == 0
	}
	switch {
	case length > longestPath:
		return refusedPathLength
	case communities > mostCommunities:
		return refusedCommunities
	case sets:
		return refusedSet
	case zero:
		return refusedAS0
	case peer.ASN != r.asn && (len(systems) == 0 || systems[0] != peer.ASN):
		return fmt.Sprintf("the AS path does not begin with the peer's own number %d", peer.ASN)
	case within(route.Prefix, martians):
		return refusedMartian
	case within(route.Prefix, r.inside):
		return refusedInside
	case within(route.Prefix, r.pinned):
		return refusedPinned
	case !peer.AcceptDefault && within(route.Prefix, defaults):
		return refusedDefault
	case own > int(peer.AllowOwnASN):
		return refusedLoop
	case slices.ContainsFunc(r.inside, func(i bgp.PrefixRange) bool { return i.Prefix.Contains(route.NextHop) }):
		return refusedMachine
	}
	for _, prefix := range r.space {
		if prefix.Contains(route.NextHop) {
			return refusedPolicy
		}
	}
	return refusedNextHop
}

// within says that prefix is in one of ranges.
func within(prefix netip.Prefix, ranges []bgp.PrefixRange) bool {
	for _, r := range ranges {
		if r.Prefix.Overlaps(prefix) && prefix.Bits() >= r.Prefix.Bits() && prefix.Bits() >= r.Min && prefix.Bits() <= r.Max {
			return true
		}
	}
	return false
}
