package fib

import "net/netip"

// Beneath tells the links that an address is reached by, whether their tunnels are there (see [Table.SetDown]) or not.
func (t *Table) Beneath(a netip.Addr) []string {
	now := t.current()
	v := newView(now.routes, now.links, nil, nil)
	return v.names(v.resolve([]netip.Addr{a}))
}
