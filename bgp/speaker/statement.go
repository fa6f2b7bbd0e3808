package speaker

import (
	"net/netip"
	"strconv"
	"strings"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
)

// declared translates the statements of g's policies for g's peers. accept completes what accepts, since that must hold
// what the direction asks for too; it returns nil where that cannot hold.
func (b *policyBuilder) declared(g group, accept func(*api.Statement, bgp.Statement) *api.Statement) []*api.Statement {
	neighbors := b.neighbors(g.peers, api.MatchSet_TYPE_ANY)
	var statements []*api.Statement
	for _, name := range g.policies {
		for _, policy := range b.want.Policies {
			if policy.Name != name {
				continue
			}
			for _, declared := range policy.Statements {
				for _, conditions := range b.conditions(declared) {
					conditions.NeighborSet = neighbors
					s := &api.Statement{Conditions: conditions, Actions: b.actions(declared)}
					if declared.Action == bgp.Accept {
						s = accept(s, declared)
					}
					statements = append(statements, s)
				}
			}
		}
	}
	return statements
}

// conditions are the alternatives that declared's conditions come to: GoBGP's sets of prefixes are of one family.
func (b *policyBuilder) conditions(declared bgp.Statement) []*api.Conditions {
	base := func() *api.Conditions {
		c := &api.Conditions{}
		if len(declared.ASPath) > 0 {
			c.AsPathSet = &api.MatchSet{Type: api.MatchSet_TYPE_ANY,
				Name: b.set(api.DefinedType_DEFINED_TYPE_AS_PATH, declared.ASPath, nil)}
		}
		if declared.PathLengthAtMost > 0 {
			c.AsPathLength = &api.AsPathLength{Type: api.Comparison_COMPARISON_LE, Length: declared.PathLengthAtMost}
		}
		if len(declared.Communities) > 0 {
			c.CommunitySet = &api.MatchSet{Type: api.MatchSet_TYPE_ANY,
				Name: b.set(api.DefinedType_DEFINED_TYPE_COMMUNITY, declared.Communities, nil)}
		}
		if len(declared.LargeCommunities) > 0 {
			c.LargeCommunitySet = &api.MatchSet{Type: api.MatchSet_TYPE_ANY,
				Name: b.set(api.DefinedType_DEFINED_TYPE_LARGE_COMMUNITY, declared.LargeCommunities, nil)}
		}
		for _, prefix := range declared.NextHops {
			c.NextHopInList = append(c.NextHopInList, prefix.Masked().String())
		}
		return c
	}
	if len(declared.Prefixes) == 0 {
		return []*api.Conditions{base()}
	}
	var all []*api.Conditions
	for _, match := range b.prefixes(declared.Prefixes) {
		c := base()
		c.PrefixSet = match
		all = append(all, c)
	}
	return all
}

// actions are what declared decides and changes.
func (b *policyBuilder) actions(declared bgp.Statement) *api.Actions {
	a := &api.Actions{}
	switch declared.Action {
	case bgp.Accept:
		a.RouteAction = api.RouteAction_ROUTE_ACTION_ACCEPT
	case bgp.Reject:
		a.RouteAction = api.RouteAction_ROUTE_ACTION_REJECT
	}
	if declared.LocalPreference != nil {
		a.LocalPref = &api.LocalPrefAction{Value: *declared.LocalPreference}
	}
	if declared.MED != nil {
		a.Med = &api.MedAction{Type: api.MedAction_TYPE_REPLACE, Value: int64(*declared.MED)}
	}
	if declared.Prepend > 0 {
		a.AsPrepend = &api.AsPrependAction{Asn: b.want.ASN, Repeat: uint32(declared.Prepend)}
	}
	if declared.NextHop.IsValid() {
		a.Nexthop = &api.NexthopAction{Address: declared.NextHop.String()}
	}
	for _, change := range communityChanges(declared) {
		if change.large {
			a.LargeCommunity = change.action
		} else {
			a.Community = change.action
		}
	}
	return a
}

type communityChange struct {
	large  bool
	action *api.CommunityAction
}

// communityChanges splits what is done to communities by kind. A statement of GoBGP does one thing to each kind; which
// one, where several are declared, is fixed by the order here: what replaces all comes last and so wins.
func communityChanges(declared bgp.Statement) []communityChange {
	var changes []communityChange
	for _, kind := range []struct {
		list   []string
		action api.CommunityAction_Type
	}{
		{declared.RemoveCommunities, api.CommunityAction_TYPE_REMOVE},
		{declared.AddCommunities, api.CommunityAction_TYPE_ADD},
		{declared.SetCommunities, api.CommunityAction_TYPE_REPLACE},
	} {
		for _, large := range []bool{false, true} {
			action := &api.CommunityAction{Type: kind.action}
			for _, community := range kind.list {
				if isLarge(community) == large {
					action.Communities = append(action.Communities, community)
				}
			}
			if len(action.Communities) > 0 {
				changes = append(changes, communityChange{large: large, action: action})
			}
		}
	}
	return changes
}

// isLarge says that community is of RFC 8092, such as 65413:1:2.
func isLarge(community string) bool { return strings.Count(community, ":") == 2 }

// inSpace says that next hops of addr resolve.
func (b *policyBuilder) inSpace(addr netip.Addr) bool {
	for _, s := range b.space {
		if netip.MustParsePrefix(s).Contains(addr) {
			return true
		}
	}
	return false
}

// ownASN is the expression that paths match with our own number in them more than allowed times. GoBGP does not need the
// text of the path for the first.
func (b *policyBuilder) ownASN(allowed uint8) string {
	if allowed == 0 {
		return "_" + strconv.FormatUint(uint64(b.want.ASN), 10) + "_"
	}
	return `(\b` + strconv.FormatUint(uint64(b.want.ASN), 10) + `\b.*){` + strconv.Itoa(int(allowed)+1) + `}`
}
