package dataplane

import (
	"errors"
	"maps"
)

// Release makes the tenants that the doors know let go of the VSIDs and public addresses that wanted gives to another
// one, so that these can be set in any order, two that swap something included. It adds nothing and touches nothing
// else; a tenant that is not in wanted loses what others want of it.
func (d *Dataplane) Release(wanted []Tenant) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	vsids, claims := make(map[uint32]uint32), make(map[doorsAddress]map[doorsOwnerKey]uint32)
	standIns := make(map[doorsAddress]uint32)
	for _, t := range wanted {
		id, known := d.id(t.RoutingDomain)
		if !known {
			id = 0 // nobody's number: whoever has what this tenant wants is another
		}
		for vsid := range t.vsids() {
			vsids[vsid] = id
		}
		for _, i := range t.Interfaces {
			if i.Provider.IsValid() {
				standIns[toAddress(i.Provider)] = id
			}
		}
		if t.External == nil {
			continue
		}
		for _, p := range t.External.Owned {
			for _, k := range p.keys() {
				if claims[k.Ip] == nil {
					claims[k.Ip] = make(map[doorsOwnerKey]uint32)
				}
				claims[k.Ip][k] = id
			}
		}
	}
	var errs []error
	for id := range maps.Clone(d.tenants) {
		errs = append(errs, d.releaseVSIDs(id, vsids), d.releaseStandIns(id, standIns), d.releaseOwned(id, claims))
	}
	return errors.Join(errs...)
}

// releaseVSIDs makes a tenant let go of the VSIDs that others own. d.mu must be held.
func (d *Dataplane) releaseVSIDs(id uint32, owners map[uint32]uint32) error {
	lost := func(vsid uint32) bool {
		owner, wanted := owners[vsid]
		return wanted && owner != id
	}
	vsids, interfaces := maps.Clone(d.vsids.have[id]), maps.Clone(d.interfaces.have[id])
	maps.DeleteFunc(vsids, func(vsid uint32, _ doorsVsid) bool { return lost(vsid) })
	maps.DeleteFunc(interfaces, func(k doorsVsidAddress, _ doorsInterface) bool { return lost(k.Vsid) })
	errs := []error{d.vsids.prune(id, vsids), d.interfaces.prune(id, interfaces)}
	for k := range d.l2only.have[id] {
		if lost(k.Vsid) {
			errs = append(errs, d.dropL2Only(id, k))
		}
	}
	return few(errs)
}

// releaseStandIns makes a tenant let go of the provider addresses that stand for others' addresses. d.mu must be held.
func (d *Dataplane) releaseStandIns(id uint32, owners map[doorsAddress]uint32) error {
	keep := maps.Clone(d.standIns.have[id])
	maps.DeleteFunc(keep, func(pa doorsAddress, _ doorsStandIn) bool {
		owner, wanted := owners[pa]
		return wanted && owner != id
	})
	return d.standIns.prune(id, keep)
}

// releaseOwned makes a tenant let go of the public addresses, or parts of them, that others own. d.mu must be held.
func (d *Dataplane) releaseOwned(id uint32, claims map[doorsAddress]map[doorsOwnerKey]uint32) error {
	mine := d.owners.of(id)
	had := len(mine)
	maps.DeleteFunc(mine, func(k doorsOwnerKey, _ doorsOwner) bool {
		for other, owner := range claims[k.Ip] {
			if owner != id && overlap(k, other) {
				return true
			}
		}
		return false
	})
	if len(mine) == had {
		return nil
	}
	return d.owners.set(id, mine)
}
