// Package filters are the static packet filters of a compartment's links: for each link and direction a list of rules,
// and whether the list names what passes or what is dropped. They stand in nftables of the compartment's namespace.
//
// The rules go by the link's name, so that they can stand before the link comes up.
package filters

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
)

// Filter is the filter of one link and direction.
type Filter struct {
	// Link by name.
	Link string
	// Arriving is for packets that come in by the link; else it is for those that leave by it, the compartment's own
	// included.
	Arriving bool
	// Pass passes all packets except those that the rules name; else all are dropped except those.
	Pass bool
	// Established passes replies as well: packets of a connection whose first packet passed in the other direction, and
	// ICMP errors about a connection.
	Established bool
	// Rules govern the address families that occur in them, and no other; a rule without a family governs both, and so
	// does an empty list.
	Rules []Rule
}

// Rule names packets. Its zero fields name all.
type Rule struct {
	// Source and Destination as the inside knows them: before a source is translated, and after a destination was.
	Source, Destination netip.Prefix
	// Protocol is the IP protocol number, 0 for any.
	Protocol uint8
	// SourcePorts and DestinationPorts of TCP and UDP.
	SourcePorts, DestinationPorts Ports
	// ICMP is a type and code of ICMP or ICMPv6.
	ICMP *ICMP
	// Text is the rule as it was declared; its counter goes by it.
	Text string
}

// Ports is a range of ports, both ends included; the zero Ports are all.
type Ports struct{ First, Last uint16 }

// ICMP is a type and code of ICMP (RFC 792) or ICMPv6 (RFC 4443).
type ICMP struct{ Type, Code uint8 }

// Set makes the compartment's filters what is declared, in one transaction; with nothing changed it writes nothing. The
// counters of rules that stay go on. It is to be called before the links come up.
func Set(ctx context.Context, ns *netns.Namespace, want []Filter) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(want) == 0 {
		_, err := nft.Remove(ns, tableName)
		return err
	}
	if err := check(want); err != nil {
		return fmt.Errorf("filters: %w", err)
	}
	_, err := nft.Apply(ns, table(want))
	return err
}

// check finds what would make rules that do not do what the declaration says.
func check(all []Filter) error {
	var errs []error
	seen := map[string]bool{}
	for _, f := range all {
		name := chainName(f.Link, f.Arriving)
		switch {
		case f.Link == "" || len(f.Link) >= unix.IFNAMSIZ:
			errs = append(errs, fmt.Errorf("%q is no name of a link", f.Link))
		case seen[name]:
			errs = append(errs, fmt.Errorf("%s: two filters; want one for each link and direction", name))
		}
		seen[name] = true
		for i, r := range f.Rules {
			err := r.check()
			if slices.ContainsFunc(f.Rules[:i], func(other Rule) bool { return other.Text == r.Text && !other.equal(r) }) {
				err = errors.Join(err, errors.New("another rule of the filter has the same text"))
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s, rule %d, %q: %w", name, i+1, r.Text, err))
			}
		}
	}
	return errors.Join(errs...)
}

// longestText leaves room in a counter's name, of at most 255 octets, for what else it says.
const longestText = 200

func (r Rule) check() error {
	_, err := r.family()
	ported := r.Protocol == unix.IPPROTO_TCP || r.Protocol == unix.IPPROTO_UDP
	for _, p := range []Ports{r.SourcePorts, r.DestinationPorts} {
		if p.Last < p.First || p != (Ports{}) && !ported {
			err = errors.Join(err, fmt.Errorf("ports %d-%d: want them in order, and for TCP and UDP only", p.First, p.Last))
		}
	}
	if r.ICMP != nil && r.Protocol != unix.IPPROTO_ICMP && r.Protocol != unix.IPPROTO_ICMPV6 {
		err = errors.Join(err, errors.New("a type and code for a protocol that is neither ICMP nor ICMPv6"))
	}
	if r.Text == "" || len(r.Text) > longestText {
		err = errors.Join(err, fmt.Errorf("a text of %d octets; want 1 to %d", len(r.Text), longestText))
	}
	return err
}

// equal tells whether two rules name the same packets in the same words.
func (r Rule) equal(other Rule) bool {
	sameICMP := r.ICMP == other.ICMP || r.ICMP != nil && other.ICMP != nil && *r.ICMP == *other.ICMP
	r.ICMP, other.ICMP = nil, nil
	return sameICMP && r == other
}

// family is the one that the rule governs, or 0 for both.
func (r Rule) family() (nft.Family, error) {
	var families []nft.Family
	for _, p := range []netip.Prefix{r.Source, r.Destination} {
		if p.IsValid() {
			families = append(families, nft.FamilyOf(p.Addr()))
		}
	}
	switch r.Protocol {
	case unix.IPPROTO_ICMP:
		families = append(families, nft.IPv4)
	case unix.IPPROTO_ICMPV6:
		families = append(families, nft.IPv6)
	}
	families = slices.Compact(families)
	switch len(families) {
	case 0:
		return 0, nil
	case 1:
		return families[0], nil
	}
	return 0, errors.New("IPv4 and IPv6 in one rule")
}

// governs tells whether packets of a family are the filter's business.
func (f Filter) governs(family nft.Family) bool {
	return len(f.Rules) == 0 || slices.ContainsFunc(f.Rules, func(r Rule) bool {
		of, err := r.family()
		return err == nil && (of == 0 || of == family)
	})
}
