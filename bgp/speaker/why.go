package speaker

import (
	"cmp"
	"net/netip"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// candidate is what the selection looks at of a path (RFC 4271, 9.1.2.2, in GoBGP's order).
type candidate struct {
	local, external bool
	preference      uint32
	pathLength      int
	origin          uint8
	med             uint32
	neighborAS      uint32
	since           int64
	identifier      netip.Addr
	address         netip.Addr
}

// defaultPreference is that of a path without a LOCAL_PREF.
const defaultPreference = 100

// step is one comparison of the selection: negative where a wins. won and lost are what is said of the path that won by
// it, and of one that lost.
type step struct {
	won, lost string
	compare   func(a, b candidate, alwaysMED bool) int
}

func flag(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

var steps = []step{
	{"higher local preference", "lower local preference", func(a, b candidate, _ bool) int {
		return cmp.Compare(b.preference, a.preference)
	}},
	{"our own route", "we have a route of our own", func(a, b candidate, _ bool) int { return flag(a.local, b.local) }},
	{"shorter AS path", "longer AS path", func(a, b candidate, _ bool) int {
		return cmp.Compare(a.pathLength, b.pathLength)
	}},
	{"better origin", "worse origin", func(a, b candidate, _ bool) int { return cmp.Compare(a.origin, b.origin) }},
	{"lower MED", "higher MED", func(a, b candidate, always bool) int {
		internal := a.pathLength == 0 && b.pathLength == 0
		if !always && !internal && (a.neighborAS == 0 || a.neighborAS != b.neighborAS) {
			return 0
		}
		return cmp.Compare(a.med, b.med)
	}},
	{"external peer", "internal peer", func(a, b candidate, _ bool) int { return flag(a.external, b.external) }},
	{"older", "newer", func(a, b candidate, _ bool) int {
		if !a.external || !b.external {
			return 0
		}
		return cmp.Compare(a.since, b.since)
	}},
	{"lower BGP identifier", "higher BGP identifier", func(a, b candidate, _ bool) int {
		if a.external || b.external {
			return 0
		}
		return a.identifier.Compare(b.identifier)
	}},
	{"lower peer address", "higher peer address", func(a, b candidate, _ bool) int {
		return a.address.Compare(b.address)
	}},
}

// why tells what the best of candidates, which is the first, won by against the next, and what each other lost by against
// it. used are those that packets go by: one of them beside the best is as good as it.
func why(candidates []candidate, used []bool, alwaysMED bool) []string {
	reasons := make([]string, len(candidates))
	for i := range candidates {
		other := 0
		switch {
		case len(candidates) == 1:
			reasons[i] = "only path"
			continue
		case i == 0:
			other = 1
		case used[i]:
			reasons[i] = "as good as the best"
			continue
		}
		for _, step := range steps {
			order := step.compare(candidates[i], candidates[other], alwaysMED)
			if order == 0 {
				continue
			}
			// The selection puts paths in one after the other, so that a MED that not all share can turn the order of two.
			if (order < 0) == (i == 0) {
				reasons[i] = step.won
				if i > 0 {
					reasons[i] = step.lost
				}
				break
			}
		}
		if reasons[i] == "" {
			reasons[i] = "first that came"
			if i > 0 {
				reasons[i] = "came later"
			}
		}
	}
	return reasons
}

// pathLength counts systems, a set as one (RFC 4271, 9.1.2.2).
func pathLength(path *gobgp.PathAttributeAsPath) int {
	length := 0
	for _, segment := range path.Value {
		length += segment.ASLen()
	}
	return length
}
