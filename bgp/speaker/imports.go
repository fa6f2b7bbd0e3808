package speaker

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
)

func prefixRange(prefix string, lowest, highest int) bgp.PrefixRange {
	return bgp.PrefixRange{Prefix: netip.MustParsePrefix(prefix), Min: lowest, Max: highest}
}

// martians are prefixes that no peer can have: this network, loopback, link-local, multicast and reserved (RFC 6890).
var martians = []bgp.PrefixRange{
	prefixRange("0.0.0.0/8", 8, 32),
	prefixRange("127.0.0.0/8", 8, 32),
	prefixRange("169.254.0.0/16", 16, 32),
	prefixRange("224.0.0.0/3", 3, 32),
	prefixRange("::/8", 8, 15),
	prefixRange("::/16", 16, 128),
	prefixRange("fe80::/10", 10, 128),
	prefixRange("ff00::/8", 8, 128),
}

// defaults are the default routes, and those so short that a few of them are as good as one: the longest is half of what
// anybody was ever given.
var defaults = []bgp.PrefixRange{prefixRange("0.0.0.0/0", 0, 7), prefixRange("::/0", 0, 3)}

// imports are the statements that routes go through before they can be the best: what no peer may claim is refused, then
// the peer's policies decide, and what they do not refuse must have a next hop that resolves. Refused routes are kept by
// GoBGP beside the table, as received.
func (b *policyBuilder) imports(pinned []bgp.PrefixRange) []*api.Statement {
	statements := []*api.Statement{statement(api.RouteAction_ROUTE_ACTION_ACCEPT,
		&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL})}
	statements = append(statements, b.shape()...)
	statements = append(statements, b.refuse(martians, nil)...)
	var inside []bgp.PrefixRange
	for _, prefix := range b.want.Inside {
		inside = append(inside, whole(prefix))
	}
	statements = append(statements, b.refuse(append(inside, pinned...), nil)...)
	statements = append(statements, b.refuse(defaults, b.notAcceptingDefault())...)
	statements = append(statements, b.loops()...)
	statements = append(statements, b.machines()...)
	for _, g := range groups(b.want.Peers, func(p bgp.Peer) []string { return p.Import }) {
		statements = append(statements, b.declared(g, b.resolvable)...)
	}
	return append(statements, statement(api.RouteAction_ROUTE_ACTION_ACCEPT, &api.Conditions{NextHopInList: b.space}))
}

// machines refuses next hops in the virtual network: its hosts deliver to machines by what is declared, and would drop what
// a machine is to send on.
func (b *policyBuilder) machines() []*api.Statement {
	var list []string
	for _, prefix := range b.want.Inside {
		list = append(list, prefix.String())
	}
	if len(list) == 0 {
		return nil // which would be no condition at all
	}
	return []*api.Statement{statement(api.RouteAction_ROUTE_ACTION_REJECT, &api.Conditions{NextHopInList: list})}
}

// Bounds of what a route may carry. Expressions run over the whole of it, and every other peer waits meanwhile.
const (
	longestPath     = 255
	mostCommunities = 255
)

// shape refuses what no route of a peer can look like: of a family that is not exchanged with it, which malformed updates
// can get past GoBGP, with a path or communities beyond reason, with sets in the path (RFC 9774), with AS 0 (RFC 7607), or
// not from the peer's own system.
func (b *policyBuilder) shape() []*api.Statement {
	reject := func(conditions *api.Conditions) *api.Statement {
		return statement(api.RouteAction_ROUTE_ACTION_REJECT, conditions)
	}
	statements := []*api.Statement{
		reject(&api.Conditions{AsPathLength: &api.AsPathLength{Type: api.Comparison_COMPARISON_GE, Length: longestPath + 1}}),
		reject(&api.Conditions{CommunityCount: &api.CommunityCount{
			Type: api.Comparison_COMPARISON_GE, Count: mostCommunities + 1}}),
	}
	for _, is4 := range []bool{true, false} {
		var without []bgp.Peer
		for _, peer := range b.want.Peers {
			if !carries(peer, is4) {
				without = append(without, peer)
			}
		}
		if len(without) > 0 {
			statements = append(statements, reject(&api.Conditions{AfiSafiIn: []*api.Family{familyOf(is4)},
				NeighborSet: b.neighbors(without, api.MatchSet_TYPE_ANY)}))
		}
	}
	paths := func(expression string, kind api.MatchSet_Type, peers []bgp.Peer) *api.Statement {
		conditions := &api.Conditions{AsPathSet: &api.MatchSet{Type: kind,
			Name: b.set(api.DefinedType_DEFINED_TYPE_AS_PATH, []string{expression}, nil)}}
		if len(peers) > 0 {
			conditions.NeighborSet = b.neighbors(peers, api.MatchSet_TYPE_ANY)
		}
		return reject(conditions)
	}
	statements = append(statements, paths(`[{\[(]`, api.MatchSet_TYPE_ANY, nil), paths("_0_", api.MatchSet_TYPE_ANY, nil))
	for _, system := range b.systems() {
		statements = append(statements, paths(fmt.Sprintf("^%d_", system.asn), api.MatchSet_TYPE_INVERT, system.peers))
	}
	return statements
}

// system is a neighbouring autonomous system.
type system struct {
	asn   uint32
	peers []bgp.Peer
}

// systems are the external ones, in the order of their first peers.
func (b *policyBuilder) systems() []system {
	var all []system
	for _, peer := range b.want.Peers {
		if peer.ASN == b.want.ASN {
			continue
		}
		i := slices.IndexFunc(all, func(s system) bool { return s.asn == peer.ASN })
		if i < 0 {
			all, i = append(all, system{asn: peer.ASN}), len(all)
		}
		all[i].peers = append(all[i].peers, peer)
	}
	return all
}

// notAcceptingDefault is the condition on peers that may not advertise default routes; nil: all.
func (b *policyBuilder) notAcceptingDefault() *api.MatchSet {
	var accepting []bgp.Peer
	for _, peer := range b.want.Peers {
		if peer.AcceptDefault {
			accepting = append(accepting, peer)
		}
	}
	if len(accepting) == 0 {
		return nil
	}
	return b.neighbors(accepting, api.MatchSet_TYPE_INVERT)
}

// loops refuses paths that our own number is in (RFC 4271, 9.1.2). GoBGP has a check of its own, which is switched off: it
// only drops such a path, so that one which it replaces would stay the best. Paths with sets have been refused before.
func (b *policyBuilder) loops() []*api.Statement {
	byAllowed := map[uint8][]bgp.Peer{}
	var order []uint8
	for _, peer := range b.want.Peers {
		if _, ok := byAllowed[peer.AllowOwnASN]; !ok {
			order = append(order, peer.AllowOwnASN)
		}
		byAllowed[peer.AllowOwnASN] = append(byAllowed[peer.AllowOwnASN], peer)
	}
	var statements []*api.Statement
	for _, allowed := range order {
		conditions := &api.Conditions{AsPathSet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY,
			Name: b.set(api.DefinedType_DEFINED_TYPE_AS_PATH, []string{b.ownASN(allowed)}, nil)}}
		if len(order) > 1 {
			conditions.NeighborSet = b.neighbors(byAllowed[allowed], api.MatchSet_TYPE_ANY)
		}
		statements = append(statements, statement(api.RouteAction_ROUTE_ACTION_REJECT, conditions))
	}
	return statements
}

// resolvable makes s, which accepts, accept what resolves only. Where the statement replaces the next hop that is known
// now; where it has a condition on it that is narrowed.
func (b *policyBuilder) resolvable(s *api.Statement, declared bgp.Statement) *api.Statement {
	switch {
	case declared.NextHop.IsValid():
		if !b.inSpace(declared.NextHop) {
			s.Actions = &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_REJECT}
		}
	case len(declared.NextHops) > 0:
		s.Conditions.NextHopInList = b.intersect(declared.NextHops)
	default:
		s.Conditions.NextHopInList = b.space
	}
	return s
}

// intersect is what of prefixes is in the space that resolves; never empty.
func (b *policyBuilder) intersect(prefixes []netip.Prefix) []string {
	var both []string
	for _, s := range b.space {
		space := netip.MustParsePrefix(s)
		for _, prefix := range prefixes {
			switch {
			case !space.Overlaps(prefix):
			case space.Bits() >= prefix.Bits():
				both = append(both, space.String())
			default:
				both = append(both, prefix.Masked().String())
			}
		}
	}
	if len(both) == 0 {
		both = b.space[len(b.space)-1:]
	}
	return both
}
