package configs

import (
	"fmt"
	"net/netip"
	"slices"
)

// reach says which provider addresses the gateway can send to, from which of its own. Lookup records go by it, of which
// there may be a million, so it looks no list through but the gateway's own addresses.
type reach struct {
	own   []ProviderAddress
	bound map[uint32][]int // own addresses that name a VSID
	free  []int            // own addresses that name none
	// routes are next hops by destination; lengths are the destinations' lengths, longest first.
	routes  map[netip.Prefix]netip.Addr
	lengths []int
	// unknown is set where something did not decode, so that nothing can be told unreachable.
	unknown bool
}

func newReach(b *Backend) *reach {
	r := &reach{own: b.ProviderAddresses, bound: map[uint32][]int{}, routes: map[netip.Prefix]netip.Addr{}}
	for i, a := range r.own {
		r.unknown = r.unknown || !a.Address.IsValid()
		for _, v := range a.VSIDs {
			r.bound[v] = append(r.bound[v], i)
		}
		if len(a.VSIDs) == 0 {
			r.free = append(r.free, i)
		}
	}
	for _, route := range b.ProviderRoutes {
		r.unknown = r.unknown || !route.Destination.IsValid() || !route.NextHop.IsValid()
		r.routes[route.Destination] = route.NextHop
		if bits := route.Destination.Bits(); !slices.Contains(r.lengths, bits) {
			r.lengths = append(r.lengths, bits)
		}
	}
	slices.Sort(r.lengths)
	slices.Reverse(r.lengths)
	r.unknown = r.unknown || len(r.own) == 0
	return r
}

// index is the position of an own address, -1 if it is none.
func (r *reach) index(a netip.Addr) int {
	for i := range r.own {
		if r.own[i].Address.Addr() == a {
			return i
		}
	}
	return -1
}

// usable lists the own addresses that a virtual subnet may use.
func (r *reach) usable(vsid uint32) []int {
	if bound := r.bound[vsid]; len(bound) > 0 {
		return bound
	}
	return r.free
}

// check refuses a host's address that the gateway cannot send to on behalf of a virtual subnet.
func (r *reach) check(pa netip.Addr, vsid uint32) error {
	if r.unknown {
		return nil
	}
	usable := r.usable(vsid)
	if len(usable) == 0 {
		return fmt.Errorf("no provider address of the gateway is for VSID %d, since all name other vsids; want one that "+
			"names it or none", vsid)
	}
	family := false
	for _, i := range usable {
		own := r.own[i].Address
		if own.Contains(pa) {
			if isEdge(pa, own) {
				return fmt.Errorf("%s is the network or broadcast address of %s; want a host's address", pa, own.Masked())
			}
			return nil
		}
		family = family || own.Addr().Is4() == pa.Is4()
	}
	if !family {
		return fmt.Errorf("%s is of an address family that the gateway has no provider address of; want one of the other",
			pa)
	}
	if hop, ok := r.nextHop(pa); ok {
		for _, i := range usable {
			if r.own[i].Address.Contains(hop) {
				return nil
			}
		}
		return fmt.Errorf("the way to %s leads through %s, which is in no subnet of the provider addresses that VSID %d "+
			"uses; want a way through one", pa, hop, vsid)
	}
	return fmt.Errorf("nothing leads to %s: it is in no subnet of the provider addresses that VSID %d uses and behind no "+
		"provider route; want a host's address or a route to it", pa, vsid)
}

// nextHop is the router of the most specific provider route to an address.
func (r *reach) nextHop(a netip.Addr) (netip.Addr, bool) {
	for _, bits := range r.lengths {
		if p, err := a.Prefix(bits); err == nil {
			if hop, ok := r.routes[p]; ok {
				return hop, true
			}
		}
	}
	return netip.Addr{}, false
}
