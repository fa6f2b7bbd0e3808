package dataplane

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// rewritten tells whether the record has the rule rewrite.
func (v doorsRecord) rewritten() bool { return v.Vsid&uint32(doorsRecordFlagsRECORD_REWRITE) != 0 }

// use notes what a record means beyond itself: its host, from which NVGRE is taken then; or, under the rule rewrite, the
// provider address that stands for its customer address.
func (t *recordTable) use(k doorsTenantAddress, v doorsRecord) error {
	if !v.rewritten() {
		return t.hosts.use(k.Tenant, v.Host)
	}
	t.hosts.hold(v.Host)
	pa := doorsTenantAddress{Tenant: k.Tenant, Ip: toAddress(t.hosts.pa(v.Host))}
	if err := t.rewrites.Put(pa, doorsStandIn{Tenant: k.Tenant, Vsid: v.Vsid >> 8, Ca: k.Ip}); err != nil {
		return fmt.Errorf("write what provider address %v stands for: %w", fromAddress(pa.Ip), err)
	}
	return nil
}

// release undoes use of a record that is not there any more; now is the record in its place, if there is one.
func (t *recordTable) release(k doorsTenantAddress, v, now doorsRecord) error {
	if !v.rewritten() {
		return t.hosts.release(k.Tenant, v.Host)
	}
	pa := doorsTenantAddress{Tenant: k.Tenant, Ip: toAddress(t.hosts.pa(v.Host))}
	t.hosts.letGo(v.Host)
	stays := now.rewritten() && toAddress(t.hosts.pa(now.Host)) == pa.Ip
	if ca, taken := t.standsFor(pa); stays || !taken || ca != k.Ip {
		return nil
	}
	if err := t.rewrites.Delete(pa); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete what provider address %v stands for: %w", fromAddress(pa.Ip), err)
	}
	return nil
}

// standsFor is the customer address that a host's provider address stands for in a routing domain.
func (t *recordTable) standsFor(pa doorsTenantAddress) (ca doorsAddress, ok bool) {
	var s doorsStandIn
	err := t.rewrites.Lookup(pa, &s)
	return s.Ca, err == nil
}

// standInFor makes the interface's provider address stand for its first customer address of the same family.
func (d *Dataplane) standInFor(id uint32, i Interface, e *entries) error {
	if !i.Provider.IsValid() {
		return nil
	}
	if !d.hosts.network.own(i.Provider) {
		return fmt.Errorf("interface in VSID %d: %v is none of the gateway's provider addresses", i.VSID, i.Provider)
	}
	for _, a := range i.Addresses {
		if a.Is4() != i.Provider.Is4() {
			continue
		}
		k := doorsVsidAddress{Vsid: i.VSID, Ip: toAddress(a)}
		own := e.interfaces[k]
		own.Provider = toAddress(i.Provider)
		e.interfaces[k] = own
		e.standIns[own.Provider] = doorsStandIn{Tenant: id, Vsid: i.VSID, Ca: k.Ip}
		return nil
	}
	return fmt.Errorf("interface in VSID %d: it has no address of the family of %v", i.VSID, i.Provider)
}

// freeToStandIn tells whether a provider address may stand for the customer address of a record.
func (d *Dataplane) freeToStandIn(id uint32, r Record) error {
	if r.Rule != Rewrite {
		return nil
	}
	ca, taken := d.records.standsFor(doorsTenantAddress{Tenant: id, Ip: toAddress(r.PA)})
	if taken && ca != toAddress(r.CA) {
		return fmt.Errorf("provider address %v stands for %v already", r.PA, fromAddress(ca))
	}
	return nil
}

// validateStandIns finds provider addresses that would stand for two customer addresses.
func (t Tenant) validateStandIns() error {
	var errs []error
	taken := make(map[netip.Addr]string)
	claim := func(pa netip.Addr, name string) {
		if other, ok := taken[pa]; ok {
			errs = append(errs, fmt.Errorf("%s: provider address %v stands for another already: %s", name, pa, other))
		}
		taken[pa] = name
	}
	for _, i := range t.Interfaces {
		if i.Provider.IsValid() {
			claim(i.Provider, fmt.Sprintf("interface in VSID %d", i.VSID))
		}
	}
	for _, r := range t.Records {
		if r.Rule == Rewrite {
			claim(r.PA, r.name())
		}
	}
	return few(errs)
}
