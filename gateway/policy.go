package gateway

import (
	"fmt"
	"slices"
	"sync"

	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/dataplane"
	"bulkhead/vpn"
)

// policy is the declaration in force. Its lookup records, customer routes and the like change one by one while it is.
type policy struct {
	folder string // that it was read from, and that changes are written to

	mu     sync.Mutex
	config *configs.Config // guarded by mu; but for what changes, it may be read without
}

// change holds changes against what is declared, writes them to the folder and puts them in force: all or none. able, where
// it is not nil, tells whether the machine can take what would be in force then, before it is written.
func (p *policy) change(name string, changes []configs.Change, able func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.config.Change(name, changes, func() error {
		if able != nil {
			if err := able(); err != nil {
				return err
			}
		}
		if err := configs.AppendChanges(p.folder, name, changes); err != nil {
			return fmt.Errorf("write the changes to %s: %w", p.folder, err)
		}
		return nil
	})
}

// doors is all that the doors are to know of the tenant, with the records and routes that are in force now.
func (p *TenantPlan) doors() dataplane.Tenant {
	p.policy.mu.Lock()
	defer p.policy.mu.Unlock()
	t := p.Doors
	t.Records = make([]dataplane.Record, len(p.tenant.LookupRecords))
	for i, r := range p.tenant.LookupRecords {
		t.Records[i] = doorRecord(r)
	}
	t.Routes = slices.Clone(t.Routes)
	for _, r := range p.tenant.CustomerRoutes {
		t.Routes = append(t.Routes, doorRoute(r))
	}
	return t
}

// compartment is all that the tenant's compartment is to hold, with the routes that are in force now, its tunnels being in
// these states.
func (p *TenantPlan) compartment(state func(iface string) vpn.State) compartments.Config {
	p.policy.mu.Lock()
	defer p.policy.mu.Unlock()
	c := p.Compartment
	c.Routes = slices.Concat(c.Routes, behindVMs(p.tenant))
	dials := p.dials()
	c.Routes = append(c.Routes, siteRoutes(p.SiteRoutes, c.Routes, func(iface string) vpn.State {
		now := state(iface)
		if p.disabled(iface) || !dials[iface] && now != vpn.Connected {
			return vpn.Unreachable // a packet could not change that
		}
		return now
	})...)
	return c
}

// dials are the site-to-site interfaces, and whether a packet may dial them. policy.mu must be held.
func (p *TenantPlan) dials() map[string]bool {
	dials := map[string]bool{}
	for _, i := range p.VPN {
		dials[i.Name] = i.Initiate != vpn.Never && !p.disabled(i.Name)
	}
	return dials
}

// disabled tells whether an interface is, be it as declared or by a change of policy. policy.mu must be held.
func (p *TenantPlan) disabled(iface string) bool {
	return slices.ContainsFunc(p.tenant.SiteToSite, func(s configs.SiteToSite) bool { return s.Name == iface && s.Disabled })
}
