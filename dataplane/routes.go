package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/google/uuid"
)

// CustomerRoute says where destinations without a lookup record of their own are: at the next hop, whose record counts
// (New-NetVirtualizationCustomerRoute).
type CustomerRoute struct {
	VSID   uint32
	Prefix netip.Prefix
	// NextHop is a customer address; invalid where the prefix is on-link. Destinations on-link have records of their own
	// or are unknown. The gateway's own address stands for the compartment.
	NextHop netip.Addr
	// Metric decides between routes for one prefix: the lowest counts.
	Metric uint32
}

func (r CustomerRoute) validate() error {
	switch {
	case !r.Prefix.IsValid() || r.Prefix.Addr().Is4In6() || r.Prefix != r.Prefix.Masked():
		return fmt.Errorf("%v is not a prefix", r.Prefix)
	case r.NextHop.IsValid() && (!unicast(r.NextHop) || r.NextHop.Is4() != r.Prefix.Addr().Is4()):
		return fmt.Errorf("next hop %v is not a unicast address of the prefix's family", r.NextHop)
	}
	return validVSID(r.VSID)
}

// routeTable is the map of customer routes, which has the best of each prefix only. Dataplane.mu must be held.
type routeTable struct {
	*table[doorsRouteKey, doorsRoute]
	all map[uint32]map[doorsRouteKey][]CustomerRoute // by tenant; the best first
}

func readRoutes(m *ebpf.Map) (*routeTable, error) {
	best, err := readTable(m, "customer route", func(k doorsRouteKey, _ doorsRoute) uint32 { return k.Tenant })
	t := &routeTable{table: best, all: make(map[uint32]map[doorsRouteKey][]CustomerRoute)}
	for tenant, entries := range best.have {
		t.all[tenant] = make(map[doorsRouteKey][]CustomerRoute)
		for k, v := range entries {
			t.all[tenant][k] = []CustomerRoute{fromRoute(k, v)}
		}
	}
	return t, err
}

func toRouteKey(tenant uint32, p netip.Prefix) doorsRouteKey {
	const tenantBits = 32
	length := p.Bits()
	if p.Addr().Is4() {
		length += mappedBits
	}
	return doorsRouteKey{Prefixlen: uint32(tenantBits + length), Tenant: tenant, Ip: toAddress(p.Addr())}
}

func fromRoute(k doorsRouteKey, v doorsRoute) CustomerRoute {
	address, length := fromAddress(k.Ip), int(k.Prefixlen)-32
	if address.Is4() {
		length -= mappedBits
	}
	r := CustomerRoute{VSID: v.Vsid, Prefix: netip.PrefixFrom(address, length), Metric: v.Metric}
	if v.Flags&uint32(doorsRouteFlagsROUTE_ON_LINK) == 0 {
		r.NextHop = fromAddress(v.NextHop)
	}
	return r
}

// value is what the kernel has for a route. here tells whether an address is the gateway's own in the routing domain.
func (r CustomerRoute) value(here func(netip.Addr) bool) doorsRoute {
	v := doorsRoute{Vsid: r.VSID, Metric: r.Metric}
	switch {
	case !r.NextHop.IsValid():
		v.Flags = uint32(doorsRouteFlagsROUTE_ON_LINK)
	case here(r.NextHop):
		v.NextHop, v.Flags = toAddress(r.NextHop), uint32(doorsRouteFlagsROUTE_HERE)
	default:
		v.NextHop = toAddress(r.NextHop)
	}
	return v
}

func compareRoutes(a, b CustomerRoute) int {
	return cmp.Or(cmp.Compare(a.Metric, b.Metric), a.NextHop.Compare(b.NextHop), cmp.Compare(a.VSID, b.VSID))
}

// same tells whether two routes are one, as far as a declaration names it.
func (r CustomerRoute) same(other CustomerRoute) bool {
	return r.VSID == other.VSID && r.Prefix == other.Prefix && r.NextHop == other.NextHop
}

// set makes routes all that a tenant has: it adds before it deletes.
func (t *routeTable) set(tenant uint32, routes []CustomerRoute, here func(netip.Addr) bool) error {
	all := make(map[doorsRouteKey][]CustomerRoute)
	for _, r := range routes {
		k := toRouteKey(tenant, r.Prefix)
		all[k] = append(all[k], r)
	}
	best := make(map[doorsRouteKey]doorsRoute)
	for k := range all {
		slices.SortFunc(all[k], compareRoutes)
		best[k] = all[k][0].value(here)
	}
	t.all[tenant] = all
	if len(all) == 0 {
		delete(t.all, tenant)
	}
	return errors.Join(t.add(tenant, best), t.prune(tenant, best))
}

// change replaces the routes for one prefix.
func (t *routeTable) change(tenant uint32, k doorsRouteKey, routes []CustomerRoute, here func(netip.Addr) bool) error {
	if len(routes) == 0 {
		delete(t.all[tenant], k)
		return t.remove(tenant, k)
	}
	slices.SortFunc(routes, compareRoutes)
	if t.all[tenant] == nil {
		t.all[tenant] = make(map[doorsRouteKey][]CustomerRoute)
	}
	t.all[tenant][k] = routes
	return t.put(tenant, k, routes[0].value(here))
}

// SetRoute adds one customer route or changes its metric. Nothing else of the tenant is touched.
func (d *Dataplane) SetRoute(rdid uuid.UUID, r CustomerRoute) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, err := d.known(rdid)
	if err != nil {
		return fmt.Errorf("customer route %v: %w", r.Prefix, err)
	}
	err = r.validate()
	if _, ok := d.vsids.have[id][r.VSID]; !ok && err == nil {
		err = fmt.Errorf("VSID %d is none of the tenant's", r.VSID)
	}
	if err == nil {
		k := toRouteKey(id, r.Prefix)
		err = d.routes.change(id, k, append(without(d.routes.all[id][k], r), r), d.here(id))
	}
	if err != nil {
		return fmt.Errorf("tenant %s: customer route %v: %w", d.tenants[id].name, r.Prefix, err)
	}
	return nil
}

// DeleteRoute deletes the customer route with that VSID, prefix and next hop. It is no error if there is none.
func (d *Dataplane) DeleteRoute(rdid uuid.UUID, r CustomerRoute) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, known := d.id(rdid)
	if !known {
		return nil
	}
	k := toRouteKey(id, r.Prefix.Masked())
	if err := d.routes.change(id, k, without(d.routes.all[id][k], r), d.here(id)); err != nil {
		return fmt.Errorf("tenant %s: customer route %v: %w", d.tenants[id].name, r.Prefix, err)
	}
	return nil
}

func without(routes []CustomerRoute, r CustomerRoute) []CustomerRoute {
	return slices.DeleteFunc(slices.Clone(routes), r.same)
}

// Routes are a tenant's customer routes, in order of prefix and preference.
func (d *Dataplane) Routes(rdid uuid.UUID) ([]CustomerRoute, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, _ := d.id(rdid)
	var all []CustomerRoute
	for _, routes := range d.routes.all[id] {
		all = append(all, routes...)
	}
	slices.SortFunc(all, func(a, b CustomerRoute) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
			compareRoutes(a, b))
	})
	return all, nil
}

// here tells which addresses are the gateway's own in the tenant's virtual subnets. d.mu must be held.
func (d *Dataplane) here(tenant uint32) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		for k := range d.interfaces.have[tenant] {
			if k.Ip == toAddress(a) {
				return true
			}
		}
		return false
	}
}
