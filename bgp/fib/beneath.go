package fib

import "net/netip"

// Beneath tells the links that an address is reached by, whether their tunnels are there (see [Table.SetDown]) or not.
func (t *Table) Beneath(a netip.Addr) []string {
	now := t.current()
	v := newView(now.routes, now.links, nil, nil)
	return v.names(v.resolve([]netip.Addr{a}))
}

// Pinned is the prefix of the route that leads to an address, of those that are neither BGP's nor default routes; not ok:
// none does. A learned route that is longer would lead there instead (law 6).
func (t *Table) Pinned(a netip.Addr) (prefix netip.Prefix, ok bool) {
	v := t.current()
	for _, bits := range v.lengths[family(a)] {
		prefix, err := a.Prefix(bits)
		if err != nil {
			return netip.Prefix{}, false
		}
		if _, there := v.decisions[prefix]; there {
			return prefix, true
		}
	}
	return netip.Prefix{}, false
}
