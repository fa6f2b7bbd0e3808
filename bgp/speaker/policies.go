package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
	"google.golang.org/protobuf/proto"
)

// chain is the policy of one direction and the sets that it needs. Both have the chain's generation in their names, so that a
// new one can be put beside the one in force and take its place at once: no route sees half of a change. (GoBGP's own
// exchange of all policies, SetPolicies, loses the lengths of next hops' prefixes.)
type chain struct {
	generation int
	direction  api.PolicyDirection
	policy     *api.Policy
	sets       []*api.DefinedSet
}

// equal says that two chains do the same. They are of one generation.
func (c chain) equal(other chain) bool {
	return proto.Equal(c.policy, other.policy) &&
		slices.EqualFunc(c.sets, other.sets, func(a, b *api.DefinedSet) bool { return proto.Equal(a, b) })
}

// importChain is what GoBGP is to do with routes from all peers of want, where next hops resolve in space only and no peer
// may claim what is in pinned.
func importChain(want *bgp.Config, space []netip.Prefix, pinned []bgp.PrefixRange, generation int) chain {
	list := make([]string, 0, len(space)+1)
	for _, prefix := range space {
		list = append(list, prefix.String())
	}
	// An empty list would be no condition at all. No peer's next hop is in the discard prefix (RFC 6666).
	list = append(list, "100::/128")
	b := &policyBuilder{want: want, name: fmt.Sprintf("import-%d", generation), space: list, sets: map[string]string{}}
	return b.chain(generation, api.PolicyDirection_POLICY_DIRECTION_IMPORT, b.imports(pinned))
}

// exportChain is what GoBGP is to do with routes to all peers of want.
func exportChain(want *bgp.Config, generation int) chain {
	b := &policyBuilder{want: want, name: fmt.Sprintf("export-%d", generation), sets: map[string]string{}}
	return b.chain(generation, api.PolicyDirection_POLICY_DIRECTION_EXPORT, b.exports())
}

// policyBuilder collects the sets that the conditions of statements name.
type policyBuilder struct {
	want    *bgp.Config
	name    string
	space   []string
	defined []*api.DefinedSet
	// sets has the names of what is defined, by content: the same set is defined once.
	sets map[string]string
}

func (b *policyBuilder) chain(generation int, direction api.PolicyDirection, statements []*api.Statement) chain {
	for i, statement := range statements {
		statement.Name = fmt.Sprintf("%s-statement-%d", b.name, i)
	}
	policy := &api.Policy{Name: b.name, Statements: statements}
	return chain{generation: generation, direction: direction, policy: policy, sets: b.defined}
}

func (b *policyBuilder) set(kind api.DefinedType, list []string, prefixes []*api.Prefix) string {
	var key strings.Builder
	fmt.Fprintf(&key, "%d %q", kind, list)
	for _, prefix := range prefixes {
		fmt.Fprintf(&key, " %s %d %d", prefix.IpPrefix, prefix.MaskLengthMin, prefix.MaskLengthMax)
	}
	name, ok := b.sets[key.String()]
	if !ok {
		name = fmt.Sprintf("%s-set-%d", b.name, len(b.sets))
		b.sets[key.String()] = name
		b.defined = append(b.defined, &api.DefinedSet{DefinedType: kind, Name: name, List: list, Prefixes: prefixes})
	}
	return name
}

// neighbors is the condition that a route comes from, or goes to, one of peers.
func (b *policyBuilder) neighbors(peers []bgp.Peer, kind api.MatchSet_Type) *api.MatchSet {
	list := make([]string, 0, len(peers))
	for _, peer := range peers {
		list = append(list, netip.PrefixFrom(peer.Address, peer.Address.BitLen()).String())
	}
	return &api.MatchSet{Type: kind, Name: b.set(api.DefinedType_DEFINED_TYPE_NEIGHBOR, list, nil)}
}

// prefixes are the conditions, one for each family that ranges are of, that a route's prefix is in one of ranges.
func (b *policyBuilder) prefixes(ranges []bgp.PrefixRange) []*api.MatchSet {
	var matches []*api.MatchSet
	for _, is4 := range []bool{true, false} {
		var list []*api.Prefix
		for _, r := range ranges {
			if r.Prefix.Addr().Is4() == is4 {
				list = append(list, &api.Prefix{IpPrefix: r.Prefix.Masked().String(),
					MaskLengthMin: uint32(r.Min), MaskLengthMax: uint32(r.Max)})
			}
		}
		if len(list) > 0 {
			matches = append(matches, &api.MatchSet{Type: api.MatchSet_TYPE_ANY,
				Name: b.set(api.DefinedType_DEFINED_TYPE_PREFIX, nil, list)})
		}
	}
	return matches
}

// refuse are the statements that refuse what is in ranges, from peers where there are conditions on those.
func (b *policyBuilder) refuse(ranges []bgp.PrefixRange, neighbors *api.MatchSet) []*api.Statement {
	var statements []*api.Statement
	for _, match := range b.prefixes(ranges) {
		statements = append(statements, statement(api.RouteAction_ROUTE_ACTION_REJECT,
			&api.Conditions{PrefixSet: match, NeighborSet: neighbors}))
	}
	return statements
}

func statement(action api.RouteAction, conditions *api.Conditions) *api.Statement {
	return &api.Statement{Conditions: conditions, Actions: &api.Actions{RouteAction: action}}
}

// group is a list of policies and the peers that it applies to.
type group struct {
	policies []string
	peers    []bgp.Peer
}

// groups puts peers with the same policies together, in the order of their first: rules are evaluated for every route, so
// there are to be few.
func groups(peers []bgp.Peer, policies func(bgp.Peer) []string) []group {
	var all []group
	for _, peer := range peers {
		names := policies(peer)
		if len(names) == 0 {
			continue
		}
		i := slices.IndexFunc(all, func(g group) bool { return slices.Equal(g.policies, names) })
		if i < 0 {
			all, i = append(all, group{policies: names}), len(all)
		}
		all[i].peers = append(all[i].peers, peer)
	}
	return all
}

// whole is the range of prefix and all in it.
func whole(prefix netip.Prefix) bgp.PrefixRange {
	return bgp.PrefixRange{Prefix: prefix, Min: prefix.Bits(), Max: prefix.Addr().BitLen()}
}
