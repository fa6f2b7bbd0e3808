package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/google/uuid"
)

// identity is how the maps know a tenant: by number.
type identity struct {
	routingDomain uuid.UUID
	name          string
}

func readTenants(m *ebpf.Map) (map[uint32]identity, error) {
	tenants := make(map[uint32]identity)
	err := each(m, func(k doorsTenantId, v doorsTenant) {
		name, _, _ := bytes.Cut(v.Name[:], []byte{0})
		tenants[v.Id] = identity{routingDomain: k.RoutingDomain, name: string(name)}
	})
	return tenants, err
}

// Tenants are those that the doors know, by routing domain with their names.
func (d *Dataplane) Tenants() (map[uuid.UUID]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	tenants, err := readTenants(d.objects.Tenants)
	names := make(map[uuid.UUID]string, len(tenants))
	for _, t := range tenants {
		names[t.routingDomain] = t.name
	}
	return names, err
}

// id is the tenant's number. d.mu must be held.
func (d *Dataplane) id(rdid uuid.UUID) (uint32, bool) {
	id, ok := d.ids[rdid]
	return id, ok
}

// identify finds or makes the tenant's number and keeps its name current. d.mu must be held.
func (d *Dataplane) identify(t Tenant) (uint32, error) {
	id, known := d.id(t.RoutingDomain)
	if !known {
		for id = 1; ; id++ {
			if _, taken := d.tenants[id]; !taken {
				break
			}
		}
		// A packet that was on its way when a tenant was removed may have left a counter of its number.
		if err := d.forgetDrops(id); err != nil {
			return 0, err
		}
	}
	want := identity{routingDomain: t.RoutingDomain, name: t.Name}
	if d.tenants[id] == want {
		return id, nil
	}
	value := doorsTenant{Id: id}
	copy(value.Name[:], t.Name)
	if err := d.objects.Tenants.Put(doorsTenantId{RoutingDomain: t.RoutingDomain}, value); err != nil {
		return 0, fmt.Errorf("write tenant %s: %w", t.Name, err)
	}
	d.tenants[id], d.ids[t.RoutingDomain] = want, id
	return id, nil
}

// entries are what a tenant has in each map.
type entries struct {
	vsids      map[uint32]doorsVsid
	ports      map[uint32]doorsPort
	interfaces map[doorsVsidAddress]doorsInterface
	records    map[doorsTenantAddress]doorsRecord
	l2only     map[doorsVsidMac]doorsL2only
	routes     []CustomerRoute
	standIns   map[doorsAddress]doorsStandIn
	owned      map[doorsOwnerKey]doorsOwner
	attach     map[int]string // ifindex to program
}

// SetTenant makes the doors know the tenant as t says, in place of what they knew of it before. Only what differs is
// written, additions first, and no other tenant's entries are touched. A declaration that is wrong in itself, or claims
// what another tenant has, changes nothing. A link that is not there is an error, after the rest has been done.
func (d *Dataplane) SetTenant(t Tenant) error {
	if err := t.validate(); err != nil {
		return fmt.Errorf("tenant %s: %w", t.Name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.conflicts(t); err != nil {
		return fmt.Errorf("tenant %s: %w", t.Name, err)
	}
	id, err := d.identify(t)
	if err := errors.Join(err, d.hosts.makeRoom()); err != nil {
		return err
	}
	want, err := d.resolve(id, t)
	err = errors.Join(err, d.put(id, want))
	d.lessons.taught(id, t.Subnets)
	if err != nil {
		return fmt.Errorf("tenant %s: %w", t.Name, err)
	}
	return nil
}

// RemoveTenant makes the doors forget a tenant and its counters. It is no error if they do not know it. Its links drop
// everything until they are deleted.
func (d *Dataplane) RemoveTenant(rdid uuid.UUID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, known := d.id(rdid)
	if !known {
		return nil
	}
	name := d.tenants[id].name
	if err := errors.Join(d.put(id, entries{}), d.forgetDrops(id)); err != nil {
		return fmt.Errorf("remove tenant %s: %w", name, err)
	}
	// Last, so that a removal that was broken off is found again.
	err := d.objects.Tenants.Delete(doorsTenantId{RoutingDomain: rdid})
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("remove tenant %s: %w", name, err)
	}
	delete(d.tenants, id)
	delete(d.ids, rdid)
	d.lessons.forget(id)
	return nil
}

// put makes the kernel hold want for the tenant. What lets packets in comes last and goes first.
func (d *Dataplane) put(id uint32, want entries) error {
	errs := []error{d.ports.add(id, want.ports), d.interfaces.add(id, want.interfaces), d.setAllL2Only(id, want.l2only)}
	change, err := d.records.diff(id, want.records, d.keepLearned(id))
	errs = append(errs, err, d.records.write(change))
	for ifindex, program := range want.attach {
		errs = append(errs, d.attach(program, ifindex))
	}
	errs = append(errs,
		d.vsids.add(id, want.vsids), d.standIns.add(id, want.standIns), d.owners.set(id, want.owned),
		d.standIns.prune(id, want.standIns), d.vsids.prune(id, want.vsids), d.interfaces.prune(id, want.interfaces),
		d.routes.set(id, want.routes, d.here(id)), d.records.removeAll(change.gone), d.ports.prune(id, want.ports),
		d.setLearning(id), d.hosts.sweep(), d.sweep())
	return errors.Join(errs...)
}

// conflicts finds what another tenant has already.
func (d *Dataplane) conflicts(t Tenant) error {
	id, _ := d.id(t.RoutingDomain)
	var errs []error
	for vsid := range t.vsids() {
		if other, taken := d.vsids.taken(id, vsid); taken {
			errs = append(errs, fmt.Errorf("VSID %d belongs to tenant %s", vsid, d.tenants[other].name))
		}
	}
	for _, i := range t.Interfaces {
		if other, taken := d.standIns.taken(id, toAddress(i.Provider)); i.Provider.IsValid() && taken {
			errs = append(errs, fmt.Errorf("provider address %v stands for an address of tenant %s", i.Provider,
				d.tenants[other].name))
		}
	}
	if t.External == nil {
		return errors.Join(errs...)
	}
	for _, p := range t.External.Owned {
		for _, k := range p.keys() {
			if other, taken := d.owners.taken(id, k); taken {
				errs = append(errs, fmt.Errorf("address %v, or ports of it, belong to tenant %s", p.Address, d.tenants[other].name))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// resolve is the entries that t makes. Interfaces whose link is missing and records whose provider address has no route
// are left out, with an error.
func (d *Dataplane) resolve(id uint32, t Tenant) (entries, error) {
	e := entries{
		vsids: make(map[uint32]doorsVsid), ports: make(map[uint32]doorsPort),
		interfaces: make(map[doorsVsidAddress]doorsInterface),
		records:    make(map[doorsTenantAddress]doorsRecord, len(t.Records)),
		l2only:     make(map[doorsVsidMac]doorsL2only), routes: t.Routes,
		standIns: make(map[doorsAddress]doorsStandIn),
		owned:    make(map[doorsOwnerKey]doorsOwner), attach: make(map[int]string),
	}
	free := d.freeTraffic()
	errs := []error{d.resolveSubnets(id, t, &e, free)}
	for _, i := range t.Interfaces {
		errs = append(errs, d.resolveInterface(id, i, t.Router, &e))
	}
	if t.Router != nil {
		e.route(id, t)
	}
	errs = append(errs, d.resolveRecords(id, t, &e))
	if t.External != nil {
		errs = append(errs, d.resolveExternal(id, *t.External, &e, free))
	}
	return e, errors.Join(errs...)
}

// resolveSubnets makes an entry of each virtual subnet, with its counter and provider address.
func (d *Dataplane) resolveSubnets(id uint32, t Tenant, e *entries, free *indexes) error {
	var errs []error
	for _, vsid := range slices.Sorted(maps.Keys(t.vsids())) {
		old, known := d.vsids.have[id][vsid]
		index, err := free.keep(uint32(old.Traffic), known)
		if err != nil {
			errs = append(errs, fmt.Errorf("VSID %d: %w", vsid, err))
			continue
		}
		e.vsids[vsid] = doorsVsid{Tenant: id, Traffic: uint16(index)}.bind(d.hosts.network.bound[vsid]).
			learning(old.Flags&uint16(doorsVsidFlagsVSID_LEARN) != 0)
	}
	return few(errs)
}

// bind gives the virtual subnet a provider address of its own, if that is valid.
func (v doorsVsid) bind(pa netip.Addr) doorsVsid {
	v.Flags, v.Provider = v.Flags&^uint16(doorsVsidFlagsVSID_BOUND), doorsAddress{}
	if pa.IsValid() {
		v.Flags, v.Provider = v.Flags|uint16(doorsVsidFlagsVSID_BOUND), toAddress(pa)
	}
	return v
}

func (d *Dataplane) resolveInterface(id uint32, i Interface, router *Router, e *entries) error {
	ifindex, err := d.linkOf(id, i.Link)
	if err != nil {
		return err
	}
	v, ok := e.vsids[i.VSID]
	if !ok {
		return nil // there is an error for its virtual subnet already
	}
	v.Ifindex, v.Mac, v.Flags = ifindex, [6]byte(i.MAC), v.Flags|uint16(doorsVsidFlagsVSID_INTERFACE)
	e.vsids[i.VSID] = v
	p := doorsPort{Tenant: id, Vsid: i.VSID, Traffic: v.Traffic, Mac: v.Mac}
	if router != nil {
		p.Flags, p.Router = uint16(doorsPortFlagsPORT_ROUTER), [6]byte(router.MAC)
	}
	e.ports[ifindex] = p.learning(d.ports.have[id][ifindex].Flags&uint16(doorsPortFlagsPORT_LEARN) != 0)
	e.attach[int(ifindex)] = doorsProgDoor1Tenant
	for _, a := range i.Addresses {
		e.interfaces[doorsVsidAddress{Vsid: i.VSID, Ip: toAddress(a)}] = doorsInterface{Tenant: id}
	}
	return d.standInFor(id, i, e)
}

// route makes the gateway the router of every virtual subnet. Those without an interface of their own lead into the
// compartment by the first one.
func (e *entries) route(id uint32, t Tenant) {
	first := e.vsids[t.Interfaces[0].VSID]
	for vsid, v := range e.vsids {
		if v.Flags&uint16(doorsVsidFlagsVSID_INTERFACE) == 0 {
			v.Ifindex, v.Mac = first.Ifindex, first.Mac
		}
		v.Router, v.Flags = [6]byte(t.Router.MAC), v.Flags|uint16(doorsVsidFlagsVSID_ROUTER)
		if t.Router.Through {
			v.Flags |= uint16(doorsVsidFlagsVSID_THROUGH)
		}
		e.vsids[vsid] = v
	}
	for _, s := range t.Subnets {
		k := doorsVsidAddress{Vsid: s.VSID, Ip: toAddress(s.gateway())}
		if _, own := e.interfaces[k]; !own {
			e.interfaces[k] = doorsInterface{Tenant: id, Flags: uint32(doorsInterfaceFlagsINTERFACE_ROUTER)}
		}
	}
}

func (d *Dataplane) resolveRecords(id uint32, t Tenant, e *entries) error {
	var errs []error
	for _, r := range t.Records {
		v, ok := e.vsids[r.VSID]
		if !ok {
			continue // there is an error for its virtual subnet already
		}
		entry, err := d.encode(r, v)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", r.name(), err))
		case r.Type == L2Only:
			e.l2only[doorsVsidMac{Vsid: r.VSID, Mac: entry.Mac}] = doorsL2only{Tenant: id, Host: entry.Host}
		default:
			e.records[doorsTenantAddress{Tenant: id, Ip: toAddress(r.CA)}] = entry
		}
	}
	return few(errs)
}

func (d *Dataplane) resolveExternal(id uint32, x External, e *entries, free *indexes) error {
	ifindex, err := d.linkOf(id, x.Link)
	if err != nil {
		return err
	}
	old, known := d.externalTraffic(id)
	index, err := free.keep(old, known)
	if err != nil {
		return err
	}
	mac := [6]byte(x.MAC)
	e.ports[ifindex] = doorsPort{Tenant: id, Traffic: uint16(index), Mac: mac}
	e.attach[int(ifindex)] = doorsProgDoor2Tenant
	for _, p := range x.Owned {
		for _, k := range p.keys() {
			e.owned[k] = doorsOwner{
				Tenant: id, Ifindex: ifindex, Traffic: index, Mac: mac, Flags: doorsOwnerFlagsOWNER_TENANT,
			}
		}
	}
	return nil
}

// linkOf is the ifindex of a tenant's link, which no other tenant and not the gateway itself may have.
func (d *Dataplane) linkOf(id uint32, name string) (uint32, error) {
	ifindex, _, err := d.link(name)
	if err != nil {
		return 0, err
	}
	if other, taken := d.ports.taken(id, ifindex); taken {
		return 0, fmt.Errorf("link %s belongs to tenant %s", name, d.tenants[other].name)
	}
	for a := range maps.Values(d.attached) {
		if a.ifindex == int(ifindex) && (a.program == doorsProgDoor1Wire || a.program == doorsProgDoor2Wire) {
			return 0, fmt.Errorf("link %s is the gateway's own", name)
		}
	}
	return ifindex, nil
}
