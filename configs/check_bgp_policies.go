package configs

import (
	"net/netip"
	"slices"
	"strings"
)

// checkBGPPolicies gives the names of the policies; an empty one where a name did not decode.
func (t tenantDoc) checkBGPPolicies(p *path) (names []string) {
	var taken claims[string]
	for i := range t.BGP.Policies {
		policy, p := &t.BGP.Policies[i], p.item(i)
		names = append(names, policy.Name)
		t.checkBGPName(&taken, policy.Name, p.key("name"))
		for j := range policy.Statements {
			t.checkBGPStatement(&policy.Statements[j], p.key("statements").item(j))
			if j > 0 && policy.Statements[j-1].decidesAll(t.doc, p.key("statements").item(j-1)) {
				t.bad(p.key("statements").item(j), "is never reached, since the statement before it decides on all routes; want "+
					"it before that one, or a match there")
			}
		}
	}
	return names
}

// decidesAll tells whether no route passes a statement.
func (s *BGPStatement) decidesAll(doc *document, p *path) bool {
	m := doc.find(p.key("match"))
	return s.Action != "" && (!doc.has(p.key("match")) || m.kind == mappingNode && len(m.entries) == 0)
}

func (t tenantDoc) checkBGPStatement(s *BGPStatement, p *path) {
	action, set := t.doc.has(p.key("action")), t.doc.has(p.key("set"))
	switch {
	case !action && (!set || s.Set.isZero() && t.doc.nothingIn(p.key("set"))):
		t.bad(p, "does nothing; want an action, accept or reject, or something to set")
	case s.Action == BGPReject && !s.Set.isZero():
		t.bad(p.key("set"), "changes a route that is rejected; want action: accept, or nothing set")
	}
	t.checkNotEmpty(p.key("match"), "with which every route matches", "prefixes", "asPath", "communities", "largeCommunities",
		"nextHops")
	t.checkNotEmpty(p.key("set").key("communities"), "which changes nothing", "add", "remove", "set")
	for _, kind := range []struct {
		name   string
		colons int
	}{{"communities", 1}, {"large communities", 2}} {
		if s.Set.Communities.changes(kind.colons) > 1 {
			t.bad(p.key("set").key("communities"), "does more than one of add, remove and set to %s; want a statement for each",
				kind.name)
		}
	}
	t.checkSetNextHop(s, p)
}

// checkNotEmpty refuses lists without items, whose conditions would hold for every route.
func (t tenantDoc) checkNotEmpty(p *path, why string, keys ...string) {
	if !t.doc.has(p) {
		return
	}
	for _, key := range keys {
		if n := t.doc.find(p).get(key); n != nil && (n.kind == nullNode || n.kind == listNode && len(n.items) == 0) {
			t.bad(p.key(key), "is an empty list, %s; want at least one item, or the key left out", why)
		}
	}
}

// changes counts what is done to communities of the kind with so many colons.
func (c BGPSetCommunities) changes(colons int) (n int) {
	for _, list := range [][]AnyCommunity{c.Add, c.Remove, c.Set} {
		if slices.ContainsFunc(list, func(a AnyCommunity) bool { return strings.Count(string(a), ":") == colons }) {
			n++
		}
	}
	return n
}

// nothingIn tells whether a mapping has no keys.
func (d *document) nothingIn(p *path) bool { return len(d.find(p).entries) == 0 }

// checkSetNextHop holds the next hop that a statement sets to what a route's can be, and to the prefixes that it is set for.
func (t tenantDoc) checkSetNextHop(s *BGPStatement, p *path) {
	hop := s.Set.NextHop
	if !hop.IsValid() {
		return
	}
	p = p.key("set").key("nextHop")
	other := func(p netip.Prefix) bool { return p.IsValid() && p.Addr().Is4() != hop.Is4() }
	i := slices.IndexFunc(s.Match.Prefixes, func(r PrefixRange) bool { return other(r.Prefix) })
	switch {
	case hop.IsLinkLocalUnicast():
		t.bad(p, "%s is of one link only, and does not say of which; want a router's address in a subnet", hop)
	case i >= 0:
		t.bad(p, "%s cannot be the next hop of %s in match; want prefixes and next hop of one family", hop,
			s.Match.Prefixes[i].Prefix)
	case slices.ContainsFunc(s.Match.NextHops, other):
		t.bad(p, "%s is not of the family of the nextHops in match; want both IPv4 or both IPv6", hop)
	}
}

// checkPolicyNames holds what a peer names to the declared policies.
func (t tenantDoc) checkPolicyNames(names, declared []string, p *path) {
	var seen claims[string]
	for i, name := range names {
		p := p.item(i)
		if name == "" {
			continue
		}
		if taken, ok := seen.take(name, t.doc, p); !ok {
			t.bad(p, "%s stands in %s already; keep one", name, taken)
		}
		if slices.Contains(declared, name) || slices.Contains(declared, "") {
			continue
		}
		if near := nearest(name, declared); near != "" {
			t.bad(p, "bgp.policies has none called %q; did you mean %q?", shorten(name), near)
			continue
		}
		t.bad(p, "bgp.policies has none called %q; it has: %s", shorten(name), orNone(declared))
	}
}

// checkNextHopsOf refuses a peer policies that set a next hop which is not for all routes that the peer exchanges.
func (t tenantDoc) checkNextHopsOf(peer *BGPPeer, names []string, p *path) {
	for i, name := range names {
		for _, policy := range t.BGP.Policies {
			if policy.Name != name {
				continue
			}
			for _, s := range policy.Statements {
				hop := s.Set.NextHop
				if !hop.IsValid() || len(s.Match.Prefixes) > 0 {
					continue
				}
				for _, f := range peer.AddressFamilies {
					if f != "" && f != familyOf(hop) {
						t.bad(p.item(i), "%s sets the next hop %s for any route, and %s is exchanged with this peer; want prefixes of "+
							"%s in the statement's match", name, hop, f, familyOf(hop))
					}
				}
			}
		}
	}
}
