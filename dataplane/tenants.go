package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"maps"

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
	for id, t := range d.tenants {
		if t.routingDomain == rdid {
			return id, true
		}
	}
	return 0, false
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
	d.tenants[id] = want
	return id, nil
}

// entries are what a tenant has in each map.
type entries struct {
	vsids      map[uint32]doorsVsid
	ports      map[uint32]doorsPort
	interfaces map[doorsVsidAddress]uint32
	providers  map[doorsTenantAddress]uint32
	records    map[doorsTenantAddress]doorsRecord
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
	if err != nil {
		return err
	}
	want, err := d.resolve(id, t)
	if err := errors.Join(err, d.put(id, want)); err != nil {
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
	return nil
}

// put makes the kernel hold want for the tenant. What lets packets in comes last and goes first.
func (d *Dataplane) put(id uint32, want entries) error {
	errs := []error{
		d.ports.add(id, want.ports), d.records.add(id, want.records), d.providers.add(id, want.providers),
		d.interfaces.add(id, want.interfaces),
	}
	for ifindex, program := range want.attach {
		errs = append(errs, d.attach(program, ifindex))
	}
	errs = append(errs,
		d.vsids.add(id, want.vsids), d.owners.set(id, want.owned), d.vsids.prune(id, want.vsids),
		d.interfaces.prune(id, want.interfaces), d.providers.prune(id, want.providers),
		d.records.prune(id, want.records), d.ports.prune(id, want.ports), d.sweep())
	return errors.Join(errs...)
}

// conflicts finds what another tenant has already.
func (d *Dataplane) conflicts(t Tenant) error {
	id, _ := d.id(t.RoutingDomain)
	var errs []error
	for _, i := range t.Interfaces {
		if other, taken := d.vsids.taken(id, i.VSID); taken {
			errs = append(errs, fmt.Errorf("VSID %d belongs to tenant %s", i.VSID, d.tenants[other].name))
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

// resolve is the entries that t makes. Interfaces whose link is missing are left out, with an error.
func (d *Dataplane) resolve(id uint32, t Tenant) (entries, error) {
	e := entries{
		vsids: make(map[uint32]doorsVsid), ports: make(map[uint32]doorsPort),
		interfaces: make(map[doorsVsidAddress]uint32), providers: make(map[doorsTenantAddress]uint32),
		records: make(map[doorsTenantAddress]doorsRecord), owned: make(map[doorsOwnerKey]doorsOwner),
		attach: make(map[int]string),
	}
	for _, r := range t.Records {
		e.providers[doorsTenantAddress{Tenant: id, Ip: toAddress(r.PA)}] = 1
		e.records[doorsTenantAddress{Tenant: id, Ip: toAddress(r.CA)}] = doorsRecord{
			Pa: toAddress(r.PA), Vsid: r.VSID, Mac: [6]byte(r.MAC),
		}
	}
	indexes := d.freeTraffic()
	var errs []error
	for _, i := range t.Interfaces {
		errs = append(errs, d.resolveInterface(id, i, &e, indexes))
	}
	if t.External != nil {
		errs = append(errs, d.resolveExternal(id, *t.External, &e, indexes))
	}
	return e, errors.Join(errs...)
}

func (d *Dataplane) resolveInterface(id uint32, i Interface, e *entries, free *indexes) error {
	ifindex, err := d.linkOf(id, i.Link)
	if err != nil {
		return err
	}
	old, known := d.vsids.have[id][i.VSID]
	index, err := free.keep(old.Traffic, known)
	if err != nil {
		return err
	}
	mac := [6]byte(i.MAC)
	e.vsids[i.VSID] = doorsVsid{Tenant: id, Ifindex: ifindex, Traffic: index, Mac: mac}
	e.ports[ifindex] = doorsPort{Tenant: id, Traffic: index, Mac: mac}
	e.attach[int(ifindex)] = doorsProgDoor1Tenant
	for _, a := range i.Addresses {
		e.interfaces[doorsVsidAddress{Vsid: i.VSID, Ip: toAddress(a)}] = id
	}
	return nil
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
	e.ports[ifindex] = doorsPort{Tenant: id, Traffic: index, Mac: mac}
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
