package nat

import (
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"bulkhead/internal/nft"
)

const tableName = "bulkhead-nat"

// The reasons for which packets are dropped.
const (
	// fromInternet: neither part of a session nor to a mapping.
	fromInternet = "from-internet"
	// privateSource: from the Internet with a source that cannot be there.
	privateSource = "private-source"
	// privateDestination: towards the Internet with a destination that cannot be there.
	privateDestination = "private-destination"
	// siteInClear: for one of the tenant's sites, but on its way to the Internet (law 1).
	siteInClear = "site-in-clear"
	// invalidState: towards the Internet, of no connection, and hence without translation.
	invalidState = "invalid-state"
	// untranslated: towards the Internet with a source that is not one of the tenant's.
	untranslated = "untranslated"
)

var reasons = []string{fromInternet, privateSource, privateDestination, siteInClear, invalidState, untranslated}

// private are the prefixes that nothing on the Internet has. 100.64.0.0/10 (RFC 6598) is not among them, because the
// provider's own access network may use it; neither are the prefixes for documentation, which laboratories use.
var private = func() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8",      // this network: RFC 1122, 3.2.1.3
		"10.0.0.0/8",     // private: RFC 1918
		"127.0.0.0/8",    // loopback: RFC 1122, 3.2.1.3
		"169.254.0.0/16", // link-local: RFC 3927
		"172.16.0.0/12",  // private: RFC 1918
		"192.168.0.0/16", // private: RFC 1918
		"224.0.0.0/4",    // multicast: RFC 5771
		"240.0.0.0/4",    // reserved, and limited broadcast: RFC 1112, section 4; RFC 919
		"::/128",         // unspecified: RFC 4291, 2.5.2
		"::1/128",        // loopback: RFC 4291, 2.5.3
		"::ffff:0:0/96",  // IPv4 in disguise: RFC 4291, 2.5.5.2
		"fc00::/7",       // unique local: RFC 4193
		"fe80::/10",      // link-local: RFC 4291, 2.5.6
		"ff00::/8",       // multicast: RFC 4291, 2.7
	} {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}()

// multicast is where the kernel itself sends to unasked: IGMP, MLD, router solicitations.
var multicast = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8")}

// families pairs each family with the suffix of its sets' names.
var families = []struct {
	nft.Family
	suffix string
}{{nft.IPv4, "4"}, {nft.IPv6, "6"}}

// guardPriority is just after the translation of destinations, where a mapped packet can be told from the others, and
// before routing, so that the rest neither reaches a socket nor bounces nor causes an error message.
var guardPriority = *nftables.ChainPriorityNATDest + 10

// table is the declaration as rules. The order of hooks is the order in which a packet meets them.
func (c Config) table() nft.Table {
	return nft.Table{
		Name:     tableName,
		Counters: reasons,
		Sets:     c.sets(),
		Chains: []nft.Chain{
			{
				Name: "arriving", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPrerouting,
				Priority: *nftables.ChainPriorityRaw, Rules: c.arriving(),
			},
			{
				Name: "map", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookPrerouting,
				Priority: *nftables.ChainPriorityNATDest, Rules: mapDestinations(),
			},
			{
				Name: "entering", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPrerouting,
				Priority: guardPriority, Rules: c.entering(),
			},
			{Name: "leaving", Rules: leaving()},
			{
				Name: "forwarded", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward,
				Priority: *nftables.ChainPriorityFilter,
				Rules:    []nft.Rule{nft.Join(nft.To(c.Link), nft.Goto("leaving"))},
			},
			{
				Name: "own", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookOutput,
				Priority: *nftables.ChainPriorityFilter, Rules: c.own(),
			},
			{Name: "translate", Rules: c.translate()},
			{
				Name: "source", Type: nftables.ChainTypeNAT, Hook: nftables.ChainHookPostrouting,
				Priority: *nftables.ChainPriorityNATSource, Rules: c.translateSources(),
			},
			{
				Name: "departing", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPostrouting,
				Priority: *nftables.ChainPriorityNATSource + 10, Rules: c.departing(),
			},
		},
	}
}

func (c Config) sets() []nft.Set {
	nowhere := nft.Cover(private, c.PrivateDestinations)
	sites := nft.Cover(c.Protected, nil)
	groups := nft.Cover(multicast, nil)
	var own []netip.Prefix
	for _, a := range c.Addresses {
		own = append(own, netip.PrefixFrom(a.Address, a.Address.BitLen()))
	}
	public := nft.Cover(own, nil)
	sets := []nft.Set{nft.Protocols("ported", ported[:]...)}
	for _, f := range families {
		sets = append(sets,
			f.Ranges("private"+f.suffix, nowhere),
			f.Ranges("sites"+f.suffix, sites),
			f.Ranges("groups"+f.suffix, groups),
			f.Ranges("public"+f.suffix, public),
			mappings(f.Family, "mappings"+f.suffix, c.Mappings),
		)
	}
	return sets
}

// arriving drops what cannot come from the Internet, before a connection is tracked for it.
func (c Config) arriving() []nft.Rule {
	var rules []nft.Rule
	for _, f := range families {
		rules = append(rules,
			nft.Join(nft.From(c.Link), f.SourceIn("private"+f.suffix), nft.DropAs(privateSource)))
	}
	return rules
}

// entering lets in what belongs to a session or was just mapped, for the compartment itself and for those behind it.
func (c Config) entering() []nft.Rule {
	return []nft.Rule{
		nft.Join(nft.NotFrom(c.Link), nft.Return()),
		nft.Join(nft.State(nft.Established|nft.Related), nft.Return()),
		nft.Join(nft.Status(nft.DestinationTranslated), nft.Return()),
		nft.Join(nft.DropAs(fromInternet)),
	}
}

// leaving refuses what must not go to the Internet. It looks at sessions too: one that was translated while a site's
// route was away must end when the site is declared.
func leaving() []nft.Rule {
	var rules []nft.Rule
	for _, f := range families {
		rules = append(rules,
			nft.Join(f.DestinationIn("sites"+f.suffix), nft.RejectAs(siteInClear)),
			nft.Join(f.DestinationIn("private"+f.suffix), nft.RejectAs(privateDestination)),
		)
	}
	return append(rules, nft.Join(nft.State(nft.Invalid), nft.DropAs(invalidState)))
}

// own is for what the compartment itself sends. Its unasked multicast is nobody's packet and is not counted.
func (c Config) own() []nft.Rule {
	var rules []nft.Rule
	for _, f := range families {
		rules = append(rules, nft.Join(nft.To(c.Link), f.DestinationIn("groups"+f.suffix), nft.Drop()))
	}
	return append(rules, nft.Join(nft.To(c.Link), nft.Goto("leaving")))
}

// departing is the last word: whatever the reason that a packet has another source, it does not leave with it.
func (c Config) departing() []nft.Rule {
	var rules []nft.Rule
	for _, f := range families {
		rules = append(rules, nft.Join(nft.To(c.Link), f.SourceNotIn("public"+f.suffix), nft.DropAs(untranslated)))
	}
	return rules
}

// ported are the protocols whose sessions share an address by port or identifier.
var ported = [...]byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6}
