package dataplane

import (
	"errors"
	"fmt"
	"net"
)

// setL2Only writes one L2Only record and turns learning on in its virtual subnet. d.mu must be held.
func (d *Dataplane) setL2Only(id uint32, r Record, v doorsVsid) error {
	host, err := d.hosts.intern(hostKey{pa: r.PA, bound: v.bound()})
	if err != nil {
		return err
	}
	k := doorsVsidMac{Vsid: r.VSID, Mac: [6]byte(r.MAC)}
	if err := d.putL2Only(id, k, doorsL2only{Tenant: id, Host: host}); err != nil {
		return err
	}
	return d.setLearning(id)
}

func (d *Dataplane) putL2Only(id uint32, k doorsVsidMac, v doorsL2only) error {
	old, had := d.l2only.have[id][k]
	if had && old == v {
		return nil
	}
	if err := errors.Join(d.hosts.use(id, v.Host), d.l2only.put(id, k, v)); err != nil {
		return errors.Join(err, d.hosts.release(id, v.Host))
	}
	if had {
		d.lessons.revised(id, k)
		return d.hosts.release(id, old.Host)
	}
	d.learners[k.Vsid]++
	return nil
}

func (d *Dataplane) removeL2Only(id uint32, k doorsVsidMac) error {
	if err := d.dropL2Only(id, k); err != nil {
		return err
	}
	return d.setLearning(id)
}

func (d *Dataplane) dropL2Only(id uint32, k doorsVsidMac) error {
	old, had := d.l2only.have[id][k]
	if !had {
		return nil
	}
	if err := d.l2only.remove(id, k); err != nil {
		return err
	}
	if d.learners[k.Vsid]--; d.learners[k.Vsid] == 0 {
		delete(d.learners, k.Vsid)
	}
	d.lessons.revised(id, k)
	return d.hosts.release(id, old.Host)
}

// setAllL2Only makes want all that a tenant has.
func (d *Dataplane) setAllL2Only(id uint32, want map[doorsVsidMac]doorsL2only) error {
	var errs []error
	for k, v := range want {
		errs = append(errs, d.putL2Only(id, k, v))
	}
	for k := range d.l2only.have[id] {
		if _, ok := want[k]; !ok {
			errs = append(errs, d.dropL2Only(id, k))
		}
	}
	return few(errs)
}

// rebindL2Only makes L2Only records refer to their hosts by the provider addresses that their virtual subnets have now.
func (d *Dataplane) rebindL2Only(changed map[uint32]doorsVsid) error {
	var errs []error
	for tenant, entries := range d.l2only.have {
		for k, e := range entries {
			v, ok := changed[k.Vsid]
			if !ok {
				continue
			}
			host, err := d.hosts.intern(hostKey{pa: d.hosts.pa(e.Host), bound: v.bound()})
			if err != nil {
				errs = append(errs, fmt.Errorf("L2Only record for %v: %w", net.HardwareAddr(k.Mac[:]), err))
				continue
			}
			errs = append(errs, d.putL2Only(tenant, k, doorsL2only{Tenant: tenant, Host: host}))
		}
	}
	return few(errs)
}

// setLearning marks the virtual subnets that have L2Only records, and the tenant's links where one of them does.
func (d *Dataplane) setLearning(id uint32) error {
	var errs []error
	any := false
	for vsid, v := range d.vsids.have[id] {
		learn := d.learners[vsid] > 0
		any = any || learn
		errs = append(errs, d.vsids.put(id, vsid, v.learning(learn)))
	}
	for ifindex, p := range d.ports.have[id] {
		errs = append(errs, d.ports.put(id, ifindex, p.learning(any)))
	}
	return few(errs)
}

func (v doorsVsid) learning(on bool) doorsVsid {
	v.Flags &^= uint16(doorsVsidFlagsVSID_LEARN)
	if on {
		v.Flags |= uint16(doorsVsidFlagsVSID_LEARN)
	}
	return v
}

func (p doorsPort) learning(on bool) doorsPort {
	p.Flags &^= uint16(doorsPortFlagsPORT_LEARN)
	if on && p.Vsid != 0 {
		p.Flags |= uint16(doorsPortFlagsPORT_LEARN)
	}
	return p
}
