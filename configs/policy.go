package configs

import (
	"net/netip"
	"slices"
)

// recordKey is what a statement knows a lookup record by: its customer address or, of type L2Only, VSID and MAC address.
type recordKey struct {
	ca   netip.Addr
	vsid uint32
	mac  [6]byte
}

func (r *LookupRecord) key() recordKey {
	if r.Type != RecordL2Only {
		return recordKey{ca: r.CustomerAddress}
	}
	if len(r.MACAddress) != 6 {
		return recordKey{}
	}
	return recordKey{vsid: r.VSID, mac: [6]byte(r.MACAddress)}
}

// routeKey is what a statement knows a customer route by.
type routeKey struct {
	vsid    uint32
	prefix  netip.Prefix
	nextHop netip.Addr
}

func (r *CustomerRoute) key() routeKey {
	if !r.Prefix.IsValid() || !r.NextHop.IsValid() {
		return routeKey{}
	}
	return routeKey{r.VSID, r.Prefix, r.NextHop}
}

func (d *DisabledInterface) key() string { return d.Name }

func (s *SwitchedPeer) key() string { return s.Name }

// policy is a tenant's lookup records, customer routes, disabled interfaces and switched BGP peers, from its YAML and its
// policy file.
type policy struct {
	tenant  *Tenant
	file    *policyFile // nil if there is none
	records *objects[LookupRecord, recordKey]
	routes  *objects[CustomerRoute, routeKey]
	// disabled are S2S interfaces.
	disabled *objects[DisabledInterface, string]
	// switched are BGP peers that the operator started or stopped; the YAML switches none.
	switched *objects[SwitchedPeer, string]
	// macs finds records by MAC address: all but those of type L2Only and those of the gateway's own interfaces.
	macs *index[[6]byte]
}

// newPolicy takes up what the YAML and then the policy file of a tenant declare.
func newPolicy(t tenantDoc, file *policyFile) *policy {
	p := &policy{tenant: t.Tenant, file: file}
	p.records = newObjects(t.LookupRecords, (*LookupRecord).key, func(first, at2 int) {
		one, key, what := at("lookupRecords", first), "customerAddress", "customer address once in a routing domain"
		if t.LookupRecords[first].Type == RecordL2Only {
			key, what = "macAddress", "MAC address once in a VSID"
		}
		t.bad(at("lookupRecords", at2, key), "%s is taken by %s; want each %s", t.LookupRecords[first].subject(),
			t.doc.place(one.key(key)), what)
	})
	p.routes = newObjects(t.CustomerRoutes, (*CustomerRoute).key, func(first, at2 int) {
		t.bad(at("customerRoutes", at2), "the same route as %s; keep one", t.doc.place(at("customerRoutes", first)))
	})
	p.disabled = newObjects(t.disabledInterfaces(), (*DisabledInterface).key, func(int, int) {}) // names are checked elsewhere
	p.switched = newObjects(nil, (*SwitchedPeer).key, func(int, int) {})
	if file == nil {
		return p
	}
	file.object = t.doc.object()
	file.statements(false, func(c Change, line uint32) {
		switch {
		case c.Record != nil && c.Remove:
			p.records.drop(c.Record.key(), line)
		case c.Record != nil:
			p.records.put(*c.Record, line)
		case c.DisabledInterface != nil && c.Remove:
			p.disabled.drop(c.DisabledInterface.Name, line)
		case c.DisabledInterface != nil:
			p.disabled.put(*c.DisabledInterface, line)
		case c.BGPPeer != nil && c.Remove:
			p.switched.drop(c.BGPPeer.Name, line)
		case c.BGPPeer != nil:
			p.switched.put(*c.BGPPeer, line)
		case c.Remove:
			p.routes.drop(c.CustomerRoute.key(), line)
		default:
			p.routes.put(*c.CustomerRoute, line)
		}
	})
	file.weigh(p.records.words, p.routes.words, p.disabled.words, p.switched.words)
	return p
}

// subject is what messages call the record.
func (r *LookupRecord) subject() string {
	if r.Type == RecordL2Only {
		return r.MACAddress.String()
	}
	return r.CustomerAddress.String()
}

// recordSpot is where a record is declared.
func (t tenantDoc) recordSpot(i int) spot {
	if line := t.policy.records.line(i); line != 0 {
		return spot{policy: t.policy.file, line: line, subject: Change{Record: &t.policy.records.list[i]}.subject()}
	}
	return spot{doc: t.doc, p: at("lookupRecords", i)}
}

// routeSpot is where a customer route is declared.
func (t tenantDoc) routeSpot(i int) spot {
	if line := t.policy.routes.line(i); line != 0 {
		return spot{policy: t.policy.file, line: line, subject: Change{CustomerRoute: &t.policy.routes.list[i]}.subject()}
	}
	return spot{doc: t.doc, p: at("customerRoutes", i)}
}

// settle makes the tenant have what is declared when all is said.
func (p *policy) settle() {
	p.records.settle()
	p.routes.settle()
	p.disabled.settle()
	p.switched.settle()
	p.share()
	p.disable()
	p.switchPeers()
	p.macs = newIndex(len(p.records.list), p.mac)
	for i := range p.records.list {
		if p.hasMAC(&p.records.list[i]) {
			p.macs.add(uint32(i))
		}
	}
}

// share makes the tenant have the lists.
func (p *policy) share() {
	p.tenant.LookupRecords, p.tenant.CustomerRoutes = p.records.list, p.routes.list
}

// disable makes the tenant's S2S interfaces disabled or not. The list that was there stays as it is, for those who read it.
func (p *policy) disable() {
	p.tenant.SiteToSite = slices.Clone(p.tenant.SiteToSite)
	for i := range p.tenant.SiteToSite {
		s := &p.tenant.SiteToSite[i]
		_, s.Disabled = p.disabled.get(s.Name)
	}
}

// disabledInterfaces are the S2S interfaces that the tenant's YAML disables.
func (t *Tenant) disabledInterfaces() (out []DisabledInterface) {
	for _, s := range t.SiteToSite {
		if s.Disabled {
			out = append(out, DisabledInterface{Name: s.Name})
		}
	}
	return out
}

func (p *policy) mac(i uint32) [6]byte { return [6]byte(p.records.list[i].MACAddress) }

// hasMAC tells whether the record's MAC address must be no other record's.
func (p *policy) hasMAC(r *LookupRecord) bool {
	return len(r.MACAddress) == 6 && r.Type != RecordL2Only && !p.tenant.isOwn(r)
}

// isOwn tells whether a record describes one of the tenant's own internal interfaces.
func (t *Tenant) isOwn(r *LookupRecord) bool {
	if r.Type != RecordGatewayWildcard {
		return false
	}
	_, own := t.interfaceOf(r.CustomerAddress)
	return own
}

// interfaceOf finds the internal interface that has an address.
func (t *Tenant) interfaceOf(a netip.Addr) (InternalInterface, bool) {
	for _, i := range t.InternalInterfaces {
		for _, own := range i.Addresses {
			if own.Addr() == a {
				return i, true
			}
		}
	}
	return InternalInterface{}, false
}
