package fib

import (
	"net/netip"
	"slices"
)

// hopSet is what routes go by: BGP's next hops, resolved into one nexthop object.
type hopSet struct {
	hops []netip.Addr
	six  bool
	// refs are the entries that go by it.
	refs int
	// object in the kernel that has these ways; 0: none. Without ways it drops packets.
	object uint32
	ways   []way
}

// resolve finds the kernel's ways. A next hop of the other family (RFC 8950, and what peers make of an address of IPv4 in
// IPv6) names a link that resolves nothing just as well; elsewhere IPv4 can go by a gateway of IPv6, but not the reverse.
func (s *hopSet) resolve(v *view) []way {
	var ways []way
	for _, w := range v.resolve(s.hops) {
		switch {
		case w.via.Is6() == s.six:
		case v.links[w.link].noARP:
			w.via = anyHop(s.six)
		case s.six:
			continue
		}
		ways = append(ways, w)
	}
	return sortWays(ways)
}

// hopSets are the sets by number, from 1, each once.
type hopSets struct {
	all    []*hopSet
	number map[string]uint32
	// free numbers, fresh sets that were never resolved, and loose ones that may be without use.
	free, fresh, loose []uint32
	scratch            []byte
}

func (s *hopSets) get(number uint32) *hopSet {
	if number == 0 {
		return nil
	}
	return s.all[number-1]
}

// numbers of all sets.
func (s *hopSets) numbers() (all []uint32) {
	for i, set := range s.all {
		if set != nil {
			all = append(all, uint32(i+1))
		}
	}
	return all
}

// take finds or makes the set of next hops for prefixes of a family, and counts one use of it.
func (s *hopSets) take(hops []netip.Addr, six bool) uint32 {
	if len(hops) > 1 {
		hops = slices.Clone(hops)
		slices.SortFunc(hops, netip.Addr.Compare)
		hops = slices.Compact(hops)
	}
	s.scratch = s.scratch[:0]
	if six {
		s.scratch = append(s.scratch, '6')
	}
	for _, h := range hops {
		octets := h.As16()
		s.scratch = append(append(s.scratch, byte(h.BitLen())), octets[:]...)
	}
	if n, there := s.number[string(s.scratch)]; there {
		s.get(n).refs++
		return n
	}
	set := &hopSet{hops: slices.Clone(hops), six: six, refs: 1}
	var n uint32
	if last := len(s.free) - 1; last >= 0 {
		n = s.free[last]
		s.free = s.free[:last]
		s.all[n-1] = set
	} else {
		s.all = append(s.all, set)
		n = uint32(len(s.all))
	}
	s.number[string(s.scratch)] = n
	s.fresh = append(s.fresh, n)
	return n
}

// release counts one use less.
func (s *hopSets) release(number uint32) {
	if set := s.get(number); set != nil {
		if set.refs--; set.refs == 0 {
			s.loose = append(s.loose, number)
		}
	}
}

// forget drops the sets that nothing uses and yields them.
func (s *hopSets) forget() (gone []*hopSet) {
	for _, n := range s.loose {
		set := s.get(n)
		if set == nil || set.refs > 0 {
			continue
		}
		gone = append(gone, set)
		s.all[n-1] = nil
		s.free = append(s.free, n)
	}
	s.loose = nil
	if len(gone) > 0 {
		for name, n := range s.number {
			if s.all[n-1] == nil {
				delete(s.number, name)
			}
		}
		s.fresh = slices.DeleteFunc(s.fresh, func(n uint32) bool { return s.all[n-1] == nil })
	}
	return gone
}
