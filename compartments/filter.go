package compartments

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
)

const (
	tableName = "bulkhead-compartment"
	// spoofedSource counts packets from outside that claim an address of the tenant's own network.
	spoofedSource = "spoofed-source"
)

// loopback can be nobody's source on a wire (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3).
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// sourceFilter is the compartment's own table: what comes from outside claims no inside address (law 7), checked
// before a connection is tracked for it; and TCP announces segments that fit the path.
func sourceFilter(c Config) nft.Table {
	var outside []string
	inside := slices.Concat(c.VirtualPrefixes, loopback)
	for _, l := range c.Links {
		if l.Outside {
			outside = append(outside, l.Name)
		}
		for _, a := range l.Addresses {
			inside = append(inside, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	}
	ranges := nft.Cover(inside, nil)
	return nft.Table{
		Name:     tableName,
		Counters: []string{spoofedSource},
		Sets: []nft.Set{
			nft.Names("outside", outside),
			nft.IPv4.Ranges("inside4", ranges),
			nft.IPv6.Ranges("inside6", ranges),
		},
		Chains: []nft.Chain{
			{
				Name: "arriving", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookPrerouting,
				Priority: *nftables.ChainPriorityRaw,
				Rules: []nft.Rule{
					nft.Join(nft.FromAny("outside"), nft.IPv4.SourceIn("inside4"), nft.DropAs(spoofedSource)),
					nft.Join(nft.FromAny("outside"), nft.IPv6.SourceIn("inside6"), nft.DropAs(spoofedSource)),
				},
			},
			{
				Name: "segments", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookForward,
				Priority: *nftables.ChainPriorityMangle,
				Rules:    []nft.Rule{nft.Join(nft.ClampMSS())},
			},
		},
	}
}

// Drops reads the compartment's drop counters. The caller fills in the tenant.
func Drops(ns *netns.Namespace) ([]drops.Drop, error) {
	counters, err := nft.Counters(ns, tableName)
	if err != nil {
		return nil, fmt.Errorf("drops of a compartment: %w", err)
	}
	var out []drops.Drop
	for reason, c := range counters {
		out = append(out, drops.Drop{Where: "compartment", Reason: reason, Packets: c.Packets, Bytes: c.Bytes})
	}
	return out, nil
}
