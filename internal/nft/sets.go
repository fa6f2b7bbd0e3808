package nft

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Names makes a set of link names.
func Names(name string, links []string) Set {
	links = slices.Clone(links)
	slices.Sort(links)
	s := Set{Name: name, Key: nftables.TypeIFName}
	for _, l := range slices.Compact(links) {
		s.Elements = append(s.Elements, nftables.SetElement{Key: interfaceName(l)})
	}
	return s
}

// Chains makes a map from link names to the chains that their packets go to, for [FromVerdict] and [ToVerdict].
func Chains(name string, byLink map[string]string) Set {
	s := Set{Name: name, Key: nftables.TypeIFName, Data: nftables.TypeVerdict}
	for _, l := range slices.Sorted(maps.Keys(byLink)) {
		s.Elements = append(s.Elements, nftables.SetElement{
			Key: interfaceName(l), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: byLink[l]},
		})
	}
	return s
}

// Protocols makes a set of transport protocol numbers.
func Protocols(name string, numbers ...byte) Set {
	s := Set{Name: name, Key: nftables.TypeInetProto}
	for _, n := range numbers {
		s.Elements = append(s.Elements, nftables.SetElement{Key: []byte{n}})
	}
	return s
}

// Ranges makes a set of addresses of the family from ranges in ascending order without overlap, as [Cover] gives them.
// Ranges of the other family are left out.
func (f Family) Ranges(name string, ranges []Range) Set {
	s := Set{Name: name, Key: nftables.TypeIPAddr, Interval: true}
	if f == IPv6 {
		s.Key = nftables.TypeIP6Addr
	}
	for _, r := range ranges {
		if r.First.Is4() != (f == IPv4) {
			continue
		}
		s.Elements = append(s.Elements, nftables.SetElement{Key: r.First.AsSlice()})
		// A range up to the last address of the family has no end: there is no address after it.
		if end := r.Last.Next(); end.IsValid() {
			s.Elements = append(s.Elements, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return s
}

// Range is a range of addresses of one family, both ends included.
type Range struct {
	// First address of the range.
	First netip.Addr
	// Last address of the range.
	Last netip.Addr
}

// Cover returns the addresses that lie in one of the prefixes and in none of the exceptions, as the fewest ranges in
// ascending order, IPv4 before IPv6.
func Cover(prefixes, exceptions []netip.Prefix) []Range {
	cover := merge(prefixes)
	for _, hole := range merge(exceptions) {
		cover = punch(cover, hole)
	}
	return cover
}

func merge(prefixes []netip.Prefix) []Range {
	ranges := make([]Range, 0, len(prefixes))
	for _, p := range prefixes {
		if p = p.Masked(); !p.IsValid() {
			continue
		}
		ranges = append(ranges, Range{p.Addr(), lastOf(p)})
	}
	slices.SortFunc(ranges, func(a, b Range) int { return a.First.Compare(b.First) })
	merged := ranges[:0]
	for _, r := range ranges {
		if n := len(merged); n > 0 && touches(merged[n-1], r) {
			if merged[n-1].Last.Less(r.Last) {
				merged[n-1].Last = r.Last
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// touches tells whether b, which does not start before a, overlaps a or follows it without a gap.
func touches(a, b Range) bool {
	if a.First.BitLen() != b.First.BitLen() {
		return false
	}
	next := a.Last.Next()
	return !next.IsValid() || b.First.Compare(next) <= 0
}

func punch(ranges []Range, hole Range) []Range {
	var left []Range
	for _, r := range ranges {
		if r.First.BitLen() != hole.First.BitLen() || hole.Last.Less(r.First) || r.Last.Less(hole.First) {
			left = append(left, r)
			continue
		}
		if r.First.Less(hole.First) {
			left = append(left, Range{r.First, hole.First.Prev()})
		}
		if hole.Last.Less(r.Last) {
			left = append(left, Range{hole.Last.Next(), r.Last})
		}
	}
	return left
}

// lastOf is the highest address of a masked prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}
