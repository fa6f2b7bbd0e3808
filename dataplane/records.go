package dataplane

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/uuid"
)

// fewRecords is how many records are read while changes wait.
const fewRecords = 1024

// Records are the lookup records of a routing domain as the kernel has them, in order of customer address, behind those
// that have none. There are none of a tenant that the doors do not know. Changes go on while many are read.
func (d *Dataplane) Records(rdid uuid.UUID) ([]Record, error) {
	var addresses []doorsAddress
	var values []doorsRecord
	collect := func(k doorsTenantAddress, v doorsRecord) {
		addresses, values = append(addresses, k.Ip), append(values, v)
	}
	d.mu.Lock()
	id, known := d.id(rdid)
	if !known {
		d.mu.Unlock()
		return nil, nil
	}
	var all []Record
	for k, v := range d.l2only.have[id] {
		all = append(all, Record{Type: L2Only, VSID: k.Vsid, MAC: k.Mac[:], PA: d.hosts.pa(v.Host)})
	}
	var err error
	many, kernel := d.records.tenants[id].len() > fewRecords, d.records.kernel
	if !many {
		err = d.records.eachOf(id, collect)
	}
	d.mu.Unlock()
	if many {
		err = each(kernel, func(k doorsTenantAddress, v doorsRecord) {
			if k.Tenant == id {
				collect(k, v)
			}
		})
	}
	pas := d.providerAddresses()
	for i, v := range values {
		if v.Host < uint32(len(pas)) {
			all = append(all, decode(addresses[i], v, pas[v.Host]))
		}
	}
	slices.SortFunc(all, func(a, b Record) int {
		return cmp.Or(a.CA.Compare(b.CA), cmp.Compare(a.VSID, b.VSID), bytes.Compare(a.MAC, b.MAC))
	})
	return all, err
}

// providerAddresses are those of all hosts, by index.
func (d *Dataplane) providerAddresses() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	pas := make([]netip.Addr, len(d.hosts.entries))
	for i := range pas {
		pas[i] = d.hosts.entries[i].key.pa
	}
	return pas
}

// SetRecord adds one lookup record, or replaces the one for its customer address. Nothing else of the tenant is
// touched, and how long it takes does not depend on how many records there are.
func (d *Dataplane) SetRecord(rdid uuid.UUID, r Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, err := d.known(rdid)
	if err != nil {
		return fmt.Errorf("%s: %w", r.name(), err)
	}
	err = r.declarable()
	if err == nil {
		err = d.setRecord(id, r)
	}
	if err != nil {
		return fmt.Errorf("tenant %s: %s: %w", d.tenants[id].name, r.name(), err)
	}
	return nil
}

// declarable is validate for records that are not learned.
func (r Record) declarable() error {
	if r.Type == Dynamic {
		return errors.New("a Dynamic record is learned, not declared")
	}
	return r.validate()
}

// setRecord writes one record, declared or learned. d.mu must be held.
func (d *Dataplane) setRecord(id uint32, r Record) error {
	if err := r.validate(); err != nil {
		return err
	}
	v, ok := d.vsids.have[id][r.VSID]
	if !ok {
		return fmt.Errorf("VSID %d is none of the tenant's", r.VSID)
	}
	if err := d.hosts.makeRoom(); err != nil {
		return err
	}
	if r.Type == L2Only {
		return d.setL2Only(id, r, v)
	}
	e, err := d.encode(r, v)
	if err := errors.Join(err, d.freeToStandIn(id, r)); err != nil {
		return err
	}
	return d.records.set(doorsTenantAddress{Tenant: id, Ip: toAddress(r.CA)}, e)
}

// DeleteRecord deletes the lookup record for r's customer address or, if it is an L2Only one, for its VSID and MAC
// address. It is no error if there is none.
func (d *Dataplane) DeleteRecord(rdid uuid.UUID, r Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, known := d.id(rdid)
	if !known {
		return nil
	}
	var err error
	switch {
	case r.Type != L2Only:
		err = d.records.remove(doorsTenantAddress{Tenant: id, Ip: toAddress(r.CA)})
	case len(r.MAC) == 6:
		err = d.removeL2Only(id, doorsVsidMac{Vsid: r.VSID, Mac: [6]byte(r.MAC)})
	}
	if err != nil {
		return fmt.Errorf("tenant %s: %s: %w", d.tenants[id].name, r.name(), err)
	}
	return nil
}

// known is the number of a tenant that there must be. d.mu must be held.
func (d *Dataplane) known(rdid uuid.UUID) (uint32, error) {
	id, ok := d.id(rdid)
	if !ok {
		return 0, fmt.Errorf("the doors know no tenant with the routing domain %v", rdid)
	}
	return id, nil
}
