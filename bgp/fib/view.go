package fib

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
)

// link is a link of the compartment, as far as routes need it.
type link struct {
	index int
	name  string
	// usable: it is up and has a carrier. noARP: nothing is resolved on it, as on tunnels and doors. loopback: lo.
	usable, noARP, loopback bool
}

// way is one kernel next hop: out by a link, by a gateway that is taken to be on it.
type way struct {
	link int
	via  netip.Addr
}

// foundRoute is a route of the main table that BGP did not make.
type foundRoute struct {
	prefix netip.Prefix
	metric uint32
	// unicast: not unreachable, blackhole or the like.
	unicast bool
	// ways may lack a gateway: the destination is on the link then.
	ways []way
}

func (r foundRoute) equal(other foundRoute) bool {
	return r.prefix == other.prefix && r.metric == other.metric && r.unicast == other.unicast && slices.Equal(r.ways, other.ways)
}

// view is what next hops resolve through: the compartment's routes but for BGP's (law 6). It never changes.
type view struct {
	links  map[int]link
	routes []foundRoute
	// decisions are the ways of each prefix; none: what is there cannot be reached.
	decisions map[netip.Prefix][]way
	// lengths of the prefixes that there are decisions on, longest first, of IPv4 and IPv6.
	lengths [2][]int
	space   []netip.Prefix
	// closed: there is a default route, of IPv4 or of IPv6, before NAT's. Nothing goes to the Internet.
	closed [2]bool
}

// metricNAT is the metric of the default route to the Internet (law 5).
const metricNAT = math.MaxUint32

// linkLocal are addresses that say nothing without a link (RFC 4291, 2.5.6). Every link has a route to them.
var linkLocal = netip.MustParsePrefix("fe80::/10")

// newView works out what can be reached. Default routes lead nowhere in particular and do not count. Links named in down
// carry nothing.
func newView(routes []foundRoute, links map[int]link, local []netip.Addr, down map[string]bool) *view {
	v := &view{links: links, routes: routes, decisions: map[netip.Prefix][]way{}}
	byPrefix := map[netip.Prefix][]foundRoute{}
	for _, r := range routes {
		switch {
		case r.prefix.Bits() == 0:
			f := family(r.prefix.Addr())
			v.closed[f] = v.closed[f] || r.metric < metricNAT
		case !linkLocal.Overlaps(r.prefix):
			byPrefix[r.prefix] = append(byPrefix[r.prefix], r)
		}
	}
	for prefix, alternatives := range byPrefix {
		v.decisions[prefix] = v.decide(alternatives, down)
	}
	for _, a := range local { // Our own addresses are nobody's next hop.
		v.decisions[netip.PrefixFrom(a, a.BitLen())] = nil
	}
	for prefix := range v.decisions {
		f := family(prefix.Addr())
		if !slices.Contains(v.lengths[f], prefix.Bits()) {
			v.lengths[f] = append(v.lengths[f], prefix.Bits())
		}
	}
	for _, lengths := range v.lengths {
		slices.SortFunc(lengths, func(a, b int) int { return b - a })
	}
	v.space = spaceOf(v.decisions)
	return v
}

// decide takes the best route that leads out by a usable link. One that refuses packets ends the search: a prefix that was
// made unreachable is (law 6), and the kernel does not try shorter prefixes either.
func (v *view) decide(alternatives []foundRoute, down map[string]bool) []way {
	slices.SortStableFunc(alternatives, func(a, b foundRoute) int { return cmp.Compare(a.metric, b.metric) })
	for _, r := range alternatives {
		if !r.unicast {
			return nil
		}
		var ways []way
		for _, w := range r.ways {
			if l := v.links[w.link]; l.usable && !l.loopback && !down[l.name] {
				ways = append(ways, w)
			}
		}
		if len(ways) > 0 {
			return ways
		}
	}
	return nil
}

// find is the decision on an address by the longest prefix.
func (v *view) find(a netip.Addr) []way {
	if !a.IsValid() || linkLocal.Contains(a) {
		return nil
	}
	for _, bits := range v.lengths[family(a)] {
		prefix, err := a.Prefix(bits)
		if err != nil {
			return nil
		}
		if ways, there := v.decisions[prefix]; there {
			return ways
		}
	}
	return nil
}

// resolve finds the kernel's next hops for those of BGP, sorted, each once.
func (v *view) resolve(hops []netip.Addr) []way {
	var ways []way
	for _, hop := range hops {
		for _, w := range v.find(hop) {
			switch {
			case w.via.IsValid():
			case v.links[w.link].noARP:
				w.via = anyHop(hop.Is6())
			default:
				w.via = hop
			}
			ways = append(ways, w)
		}
	}
	return sortWays(ways)
}

func sortWays(ways []way) []way {
	slices.SortFunc(ways, func(a, b way) int {
		return cmp.Or(cmp.Compare(a.link, b.link), a.via.Compare(b.via))
	})
	return slices.Compact(ways)
}

// anyHop is the next hop on a link that resolves nothing. Without one the kernel would keep a neighbour for each
// destination, in a table that all compartments share.
func anyHop(six bool) netip.Addr {
	if six {
		return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 1})
	}
	return netip.AddrFrom4([4]byte{169, 254, 0, 1})
}

// names of the links of ways, sorted, each once.
func (v *view) names(ways []way) []string {
	var names []string
	for _, w := range ways {
		names = append(names, v.links[w.link].name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// routesOn are the prefixes whose routes lead out by one of the links.
func (v *view) routesOn(names []string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, r := range v.routes {
		if !r.unicast || linkLocal.Overlaps(r.prefix) && r.prefix.Bits() > 0 {
			continue
		}
		if slices.ContainsFunc(r.ways, func(w way) bool { return slices.Contains(names, v.links[w.link].name) }) {
			prefixes = append(prefixes, r.prefix)
		}
	}
	return sortPrefixes(prefixes)
}

// covers tells whether a route that is not BGP's, and not NAT's, is there for what is in the prefix.
func (v *view) covers(p netip.Prefix) bool {
	if v.closed[family(p.Addr())] {
		return true // A site that declares the default route takes over what others withdraw.
	}
	for _, bits := range v.lengths[family(p.Addr())] {
		if bits > p.Bits() {
			continue
		}
		wider, err := p.Addr().Prefix(bits)
		if err != nil {
			return false
		}
		if _, there := v.decisions[wider]; there {
			return true // A refusal too keeps packets from the default route.
		}
	}
	return false
}

// family is 0 for IPv4 and 1 for IPv6.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func sortPrefixes(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return slices.Compact(prefixes)
}
