package filters

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"bulkhead/internal/nft"
)

const tableName = "bulkhead-filters"

// The reasons for which packets are dropped.
const (
	// notAllowed: no rule of a filter names it that drops all except its list.
	notAllowed = "not-allowed"
	// forbidden: a rule of a filter names it that passes all except its list.
	forbidden = "forbidden"
)

var reasons = []string{notAllowed, forbidden}

var families = []nft.Family{nft.IPv4, nft.IPv6}

// linkScope are the groups of the link itself (RFC 5771, section 4; RFC 4291, 2.7). The kernel's reports go there by which
// it tells switches and routers what it listens to.
var linkScope = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/24"), netip.MustParsePrefix("ff02::/16")}

// The priorities of the hooks. What arrives is judged when its connection is known, and before its destination is
// translated; what leaves before anything else is done about it, such as dialling the tunnel that it leaves by.
var (
	arrivingPriority = *nftables.ChainPriorityMangle
	leavingPriority  = *nftables.ChainPriorityFilter - 20
)

// table is the declaration as rules. A packet costs one lookup, however many links have filters, and then the rules of
// its own.
func table(all []Filter) nft.Table {
	arriving, leaving := map[string]string{}, map[string]string{}
	t := nft.Table{Name: tableName, Counters: slices.Clone(reasons)}
	for _, f := range all {
		chain := chainName(f.Link, f.Arriving)
		if f.Arriving {
			arriving[f.Link] = chain
		} else {
			leaving[f.Link] = chain
		}
		t.Chains = append(t.Chains, nft.Chain{Name: chain, Rules: f.rules()})
		for _, h := range f.hits() {
			t.Counters = append(t.Counters, h.counter())
		}
	}
	t.Sets = []nft.Set{nft.Chains("arriving", arriving), nft.Chains("leaving", leaving)}
	t.Chains = append(t.Chains,
		// Fragments are judged together: only the first has ports.
		nft.Chain{Name: "defragmented", Rules: []nft.Rule{nft.Join(nft.Defragment())}},
		nft.Chain{
			Name: "arrive", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPrerouting,
			Priority: arrivingPriority, Rules: arrive(),
		},
		nft.Chain{
			Name: "forward", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward,
			Priority: leavingPriority, Rules: []nft.Rule{nft.Join(nft.ToVerdict("leaving"))},
		},
		nft.Chain{
			Name: "own", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookOutput,
			Priority: leavingPriority, Rules: own(),
		},
	)
	return t
}

func chainName(link string, arriving bool) string {
	if arriving {
		return "arriving-" + link
	}
	return "leaving-" + link
}

// arrive judges what comes in by a link, except for what finds our neighbours: no filter would pass IPv6 without it
// (RFC 4890, 4.4.1). It is for us alone: nobody can send such a packet through.
func arrive() []nft.Rule {
	return []nft.Rule{
		nft.Join(nft.NeighbourDiscovery(), nft.ToUs(), nft.Return()),
		nft.Join(nft.NeighbourDiscovery(), nft.ToGroup(), nft.Return()),
		nft.Join(nft.FromVerdict("arriving")),
	}
}

// own judges what the compartment itself sends, except for what it has to say to the link itself.
func own() []nft.Rule {
	rules := []nft.Rule{nft.Join(nft.NeighbourDiscovery(), nft.Return())}
	for _, groups := range linkScope {
		rules = append(rules, nft.Join(nft.DestinationWithin(groups), nft.Return()))
	}
	return append(rules, nft.Join(nft.ToVerdict("leaving")))
}

// rules are the chain of one filter. What it returns from passes.
func (f Filter) rules() []nft.Rule {
	var rules []nft.Rule
	for _, family := range families {
		if !f.governs(family) {
			rules = append(rules, nft.Join(family.Is(), nft.Return()))
		}
	}
	if f.Established {
		count := nft.Count(f.established().counter())
		rules = append(rules,
			nft.Join(nft.State(nft.Established), nft.Reply(), count, nft.Return()),
			nft.Join(nft.State(nft.Related), count, nft.Return()),
		)
	}
	for _, r := range f.Rules {
		judged := nft.Return()
		if f.Pass {
			judged = nft.DropAs(forbidden)
		}
		rules = append(rules, nft.Join(r.match(), nft.Count(f.hit(r).counter()), judged))
	}
	if !f.Pass {
		rules = append(rules, nft.Join(nft.Count(f.rest().counter()), nft.DropAs(notAllowed)))
	}
	return rules
}

// match matches what the rule names.
func (r Rule) match() []expr.Any {
	var parts []expr.Any
	if family, _ := r.family(); family != 0 && !r.Source.IsValid() && !r.Destination.IsValid() {
		parts = family.Is()
	}
	if r.Source.IsValid() {
		parts = append(parts, nft.SourceWithin(r.Source)...)
	}
	if r.Destination.IsValid() {
		parts = append(parts, nft.DestinationWithin(r.Destination)...)
	}
	if r.Protocol != 0 {
		parts = append(parts, nft.Protocol(r.Protocol)...)
	}
	if p := r.SourcePorts; p != (Ports{}) {
		parts = append(parts, nft.SourcePorts(p.First, p.Last)...)
	}
	if p := r.DestinationPorts; p != (Ports{}) {
		parts = append(parts, nft.DestinationPorts(p.First, p.Last)...)
	}
	if r.ICMP != nil {
		parts = append(parts, nft.ICMP(r.ICMP.Type, r.ICMP.Code)...)
	}
	return parts
}
