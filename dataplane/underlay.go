package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
)

// underlay is the provider network, as far as it must be known to send to a host: which of the gateway's own provider
// addresses is the source, which link sends, and to which next hop.
type underlay struct {
	providers []ownProvider
	routes    []ProviderRoute
	bound     map[uint32]netip.Addr // the provider address of VSIDs that have one of their own
}

type ownProvider struct {
	Provider
	ifindex uint32 // 0 where the link is missing
	mtu     uint16
}

// underlay finds the links of the gateway's provider addresses. A missing one is an error, and the rest counts.
func (d *Dataplane) underlay(g Gateway) (*underlay, error) {
	u := &underlay{routes: g.ProviderRoutes, bound: make(map[uint32]netip.Addr)}
	var errs []error
	for _, p := range g.Providers {
		own := ownProvider{Provider: p, mtu: uint16(min(g.ProviderMTU, 0xffff))}
		l, err := d.links.LinkByName(p.Link)
		if err != nil {
			errs = append(errs, fmt.Errorf("provider address %v: find link %s: %w", p.Address.Addr(), p.Link, err))
		} else {
			own.ifindex = uint32(l.Attrs().Index)
			if own.mtu == 0 {
				own.mtu = uint16(min(l.Attrs().MTU, 0xffff))
			}
		}
		for _, vsid := range p.VSIDs {
			u.bound[vsid] = p.Address.Addr()
		}
		u.providers = append(u.providers, own)
	}
	return u, errors.Join(errs...)
}

// own tells whether pa is one of the gateway's provider addresses.
func (u *underlay) own(pa netip.Addr) bool {
	for _, p := range u.providers {
		if p.Address.Addr() == pa {
			return true
		}
	}
	return false
}

// usable tells whether what is sent to k may come from the provider address.
func (k hostKey) usable(p ownProvider) bool {
	if k.bound.IsValid() {
		return p.Address.Addr() == k.bound
	}
	return len(p.VSIDs) == 0
}

// path finds how a host is reached. Of several provider addresses that may send to it, the first in whose subnet it
// lies counts, then the first in whose subnet the next hop of the longest provider route lies.
func (u *underlay) path(k hostKey) (doorsHost, error) {
	h := doorsHost{Pa: toAddress(k.pa)}
	if k.pa.Is6() {
		h.Flags |= uint8(doorsHostFlagsHOST_IPV6)
	}
	if k.bound.IsValid() {
		h.Flags, h.Local = h.Flags|uint8(doorsHostFlagsHOST_BOUND), toAddress(k.bound)
	}
	if u.own(k.pa) {
		h.Local = h.Pa // no link: nothing is sent to the gateway itself
		return h, nil
	}
	hop, longest := k.pa, -1
	source, found := u.near(hop, k.usable)
	for _, r := range u.routes {
		if found && longest < 0 || !r.Prefix.Contains(k.pa) || r.Prefix.Bits() <= longest {
			continue
		}
		if p, ok := u.near(r.NextHop, k.usable); ok {
			hop, longest, source, found = r.NextHop, r.Prefix.Bits(), p, true
		}
	}
	if !found {
		return h, fmt.Errorf("provider address %v has no route: it lies in no subnet of %s, and no provider route leads to it",
			k.pa, k.sources())
	}
	h.Local, h.NextHop = toAddress(source.Address.Addr()), toAddress(hop)
	h.Ifindex, h.Mtu = source.ifindex, source.mtu
	return h, nil
}

// near finds the first provider address that may be used and whose subnet has a in it.
func (u *underlay) near(a netip.Addr, usable func(ownProvider) bool) (ownProvider, bool) {
	for _, p := range u.providers {
		if p.Address.Contains(a) && usable(p) {
			return p, true
		}
	}
	return ownProvider{}, false
}

func (k hostKey) sources() string {
	if k.bound.IsValid() {
		return fmt.Sprintf("%v, the gateway's provider address for that virtual subnet", k.bound)
	}
	return "the gateway's provider addresses"
}
