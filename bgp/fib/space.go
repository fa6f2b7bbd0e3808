package fib

import "net/netip"

// spaceNode is a prefix in a binary tree of prefixes.
type spaceNode struct {
	halves  [2]*spaceNode
	decided bool
	in      bool
}

// spaceOf are the addresses whose longest prefix has ways, as the fewest disjoint prefixes, sorted.
func spaceOf(decisions map[netip.Prefix][]way) []netip.Prefix {
	roots := [2]*spaceNode{{}, {}}
	for prefix, ways := range decisions {
		n := roots[family(prefix.Addr())]
		for bit := range prefix.Bits() {
			half := bitOf(prefix.Addr(), bit)
			if n.halves[half] == nil {
				n.halves[half] = &spaceNode{}
			}
			n = n.halves[half]
		}
		n.decided, n.in = true, len(ways) > 0
	}
	var space []netip.Prefix
	for i, all := range [2]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")} {
		if roots[i].collect(all, false, &space) {
			space = append(space, all)
		}
	}
	return sortPrefixes(space)
}

// collect adds those parts of the node's prefix that are in; in tells what holds where the tree says nothing. A prefix
// that is in as a whole is left to the caller, who may be able to join it with its other half.
func (n *spaceNode) collect(prefix netip.Prefix, in bool, space *[]netip.Prefix) (whole bool) {
	if n.decided {
		in = n.in
	}
	if n.halves[0] == nil && n.halves[1] == nil {
		return in
	}
	var wholes [2]bool
	for i, half := range n.halves {
		wholes[i] = in
		if half != nil {
			wholes[i] = half.collect(halfOf(prefix, i), in, space)
		}
	}
	if wholes[0] && wholes[1] {
		return true
	}
	for i, whole := range wholes {
		if whole {
			*space = append(*space, halfOf(prefix, i))
		}
	}
	return false
}

// bitOf is a bit of an address, counted from the first.
func bitOf(a netip.Addr, bit int) int {
	if a.Is4() {
		octets := a.As4()
		return int(octets[bit/8]>>(7-bit%8)) & 1
	}
	octets := a.As16()
	return int(octets[bit/8]>>(7-bit%8)) & 1
}

// halfOf is the lower (0) or upper (1) half of a prefix.
func halfOf(p netip.Prefix, half int) netip.Prefix {
	if half == 0 {
		return netip.PrefixFrom(p.Addr(), p.Bits()+1)
	}
	octets := p.Addr().AsSlice()
	octets[p.Bits()/8] |= 1 << (7 - p.Bits()%8)
	upper, _ := netip.AddrFromSlice(octets)
	return netip.PrefixFrom(upper, p.Bits()+1)
}
