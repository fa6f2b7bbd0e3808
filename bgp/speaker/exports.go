package speaker

import (
	"net/netip"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
)

// exports are the statements that the best routes go through before a peer is told: communities that forbid it (RFC
// 1997), transit, next hops that a peer can use, and the peer's policies. GoBGP has put our own number before the path by
// then, where the peer is external.
func (b *policyBuilder) exports() []*api.Statement {
	var internal, external []bgp.Peer
	for _, peer := range b.want.Peers {
		if peer.ASN == b.want.ASN {
			internal = append(internal, peer)
		} else {
			external = append(external, peer)
		}
	}
	var statements []*api.Statement
	if !b.want.Transit { // First, since it is cheap, and GoBGP asks for every route and every peer.
		statements = append(statements, statement(api.RouteAction_ROUTE_ACTION_REJECT,
			&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_EXTERNAL}))
		if len(external) > 0 {
			statements = append(statements, statement(api.RouteAction_ROUTE_ACTION_REJECT, &api.Conditions{
				RouteType:   api.Conditions_ROUTE_TYPE_INTERNAL,
				NeighborSet: b.neighbors(external, api.MatchSet_TYPE_ANY),
			}))
		}
	}
	statements = append(statements, b.wellKnown(external)...)
	statements = append(statements, b.nextHops(internal)...)
	for _, g := range groups(b.want.Peers, func(p bgp.Peer) []string { return p.Export }) {
		statements = append(statements, b.declared(g, func(s *api.Statement, _ bgp.Statement) *api.Statement { return s })...)
	}
	return append(statements, statement(api.RouteAction_ROUTE_ACTION_ACCEPT, &api.Conditions{}))
}

// wellKnown keeps what must not be told further: NO_ADVERTISE to nobody, NO_EXPORT and NO_EXPORT_SUBCONFED to no external
// peer. What we originate ourselves has no community yet.
func (b *policyBuilder) wellKnown(external []bgp.Peer) []*api.Statement {
	refuse := func(neighbors *api.MatchSet, communities ...string) *api.Statement {
		return statement(api.RouteAction_ROUTE_ACTION_REJECT, &api.Conditions{NeighborSet: neighbors,
			CommunitySet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY,
				Name: b.set(api.DefinedType_DEFINED_TYPE_COMMUNITY, communities, nil)}})
	}
	statements := []*api.Statement{refuse(nil, "no-advertise")}
	if len(external) > 0 {
		statements = append(statements,
			refuse(b.neighbors(external, api.MatchSet_TYPE_ANY), "no-export", "no-export-subconfed"))
	}
	return statements
}

// nextHops names ourselves where GoBGP does not do it as it is needed: for internal peers that ask for it, and in the
// route's family where the session is of the other one (RFC 4760, 3), by the address that the compartment's routes carry.
func (b *policyBuilder) nextHops(internal []bgp.Peer) []*api.Statement {
	var statements []*api.Statement
	change := func(conditions *api.Conditions, next *api.NexthopAction) {
		statements = append(statements, &api.Statement{Conditions: conditions, Actions: &api.Actions{Nexthop: next}})
	}
	var self []bgp.Peer
	for _, peer := range internal {
		if peer.NextHopSelf {
			self = append(self, peer)
		}
	}
	if len(self) > 0 {
		change(&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_EXTERNAL,
			NeighborSet: b.neighbors(self, api.MatchSet_TYPE_ANY)}, &api.NexthopAction{Self: true})
	}
	for _, is4 := range []bool{true, false} {
		source := b.source(is4)
		family := familyOf(is4)
		if !source.IsValid() {
			continue
		}
		for _, internalPeers := range []bool{false, true} {
			var peers []bgp.Peer
			for _, peer := range b.want.Peers {
				if peer.Address.Is4() != is4 && carries(peer, is4) && (peer.ASN == b.want.ASN) == internalPeers {
					peers = append(peers, peer)
				}
			}
			if len(peers) == 0 {
				continue
			}
			conditions := &api.Conditions{AfiSafiIn: []*api.Family{family},
				NeighborSet: b.neighbors(peers, api.MatchSet_TYPE_ANY)}
			if internalPeers {
				// What other peers told keeps its next hop.
				conditions.RouteType = api.Conditions_ROUTE_TYPE_LOCAL
			}
			change(conditions, &api.NexthopAction{Address: source.String()})
		}
	}
	return statements
}

// source is the address of a family that the compartment's routes carry; not valid: there is none.
func (b *policyBuilder) source(is4 bool) netip.Addr {
	for _, addr := range b.want.Sources {
		if addr.Is4() == is4 {
			return addr
		}
	}
	return netip.Addr{}
}

// carries says that routes of a family are exchanged with peer.
func carries(peer bgp.Peer, is4 bool) bool {
	if is4 {
		return peer.IPv4
	}
	return peer.IPv6
}

// familyOf is unicast of IPv4 or IPv6.
func familyOf(is4 bool) *api.Family {
	if is4 {
		return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}
