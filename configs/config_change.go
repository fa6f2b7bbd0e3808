package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// standing is what a Config keeps of its checks, so that each further object is checked at the same cost however many
// there are.
type standing struct {
	policies  map[string]*policy // by tenant
	ways      *reach
	rewriters map[netip.Addr]rewriter // by provider address
	torn      []string
	long      []*policyFile // those that are to be compacted
}

// Change changes the policy of the named tenant or gateway: all of it or nothing. A tenant's changes are each held against
// what is declared and against the changes before it, as [Load] would; the gateway's are when all have been made. Then
// commit is called, to write them down; if it fails, nothing is changed and the error is its own. The cost does not depend
// on how much is declared, but for the gateway's own, against which every lookup record is held anew. Calls must not
// overlap with each other or with reading.
func (c *Config) Change(name string, changes []Change, commit func() error) (err error) {
	var undo []func()
	defer func() {
		if err != nil {
			for _, u := range slices.Backward(undo) {
				u()
			}
		}
	}()
	for _, change := range changes {
		u, err := c.change(name, change)
		if err != nil {
			return fmt.Errorf("%s: %w", change, err)
		}
		undo = append(undo, u)
	}
	if name == c.Gateway.Name && len(changes) > 0 {
		if err := c.checkProvider(); err != nil {
			return err
		}
	}
	return commit()
}

func (c *Config) change(name string, change Change) (undo func(), err error) {
	p := c.standing.policies[name]
	switch {
	case name != c.Gateway.Name && p == nil:
		return nil, fmt.Errorf("no tenant and no gateway is called %q", name)
	case change.empty():
		return nil, errors.New("changes nothing")
	case change.ofGateway() != (p == nil):
		return nil, change.misplaced()
	case p == nil:
		return c.changeProvider(change), nil
	case change.Record != nil:
		return c.changeRecord(p, change)
	case change.DisabledInterface != nil:
		return p.changeDisabled(change)
	case change.BGPPeer != nil:
		return p.changePeer(change)
	}
	return p.changeRoute(change)
}

// firstOf gathers the first complaint as an error.
func firstOf(err *error) complaint {
	return func(key, format string, args ...any) {
		if *err == nil {
			*err = fmt.Errorf(format, args...)
		}
	}
}

func (c *Config) changeRecord(p *policy, change Change) (undo func(), err error) {
	r := change.Record
	key := r.key()
	old, had := p.records.get(key)
	if !change.Remove {
		p.tenant.checkRecord(r, c.standing.ways, firstOf(&err))
		if err == nil {
			err = c.checkUnique(p, r, key)
		}
		if err != nil {
			return nil, err
		}
	}
	set := func(r *LookupRecord) {
		if before, had := p.records.get(key); had && before.Rule == RuleRewrite {
			delete(c.standing.rewriters, before.ProviderAddress)
		}
		p.set(key, r)
		if r != nil && r.Rule == RuleRewrite {
			c.standing.rewriters[r.ProviderAddress] = rewriter{p.tenant.Name, r.CustomerAddress}
		}
	}
	if change.Remove {
		set(nil)
	} else {
		set(r)
	}
	return func() {
		if had {
			set(&old)
		} else {
			set(nil)
		}
	}, nil
}

// checkUnique holds a record against the others.
func (c *Config) checkUnique(p *policy, r *LookupRecord, key recordKey) error {
	if p.hasMAC(r) {
		if i, ok := p.macs.find([6]byte(r.MACAddress)); ok && p.records.list[i].key() != key {
			return fmt.Errorf("MAC address %s is that of the record for %s; want each once in a routing domain", r.MACAddress,
				p.records.list[i].subject())
		}
		for _, in := range p.tenant.InternalInterfaces {
			if slices.Equal(in.MACAddress, r.MACAddress) {
				return fmt.Errorf("MAC address %s is that of internal interface %s; want the VM's", r.MACAddress, in.Name)
			}
		}
		if router := p.tenant.ExternalRouter; router != nil && slices.Equal(router.MACAddress, r.MACAddress) {
			return fmt.Errorf("MAC address %s is that of the external router; want the VM's", r.MACAddress)
		}
	}
	if r.Rule != RuleRewrite {
		return nil
	}
	if other, ok := c.standing.rewriters[r.ProviderAddress]; ok && other != (rewriter{p.tenant.Name, r.CustomerAddress}) {
		return fmt.Errorf("provider address %s is that of the record for %s of tenant %s; want one for each customer address, "+
			"for the rule rewrite", r.ProviderAddress, other.ca, other.tenant)
	}
	return nil
}

// set makes the record with a key be r; nil for none.
func (p *policy) set(key recordKey, r *LookupRecord) {
	if i, had := p.records.by.find(key); had {
		if old := &p.records.list[i]; p.hasMAC(old) {
			p.macs.remove([6]byte(old.MACAddress))
		}
		if r == nil {
			if last := len(p.records.list) - 1; int(i) != last && p.hasMAC(&p.records.list[last]) {
				p.macs.move(p.mac(uint32(last)), i)
			}
			p.records.remove(key)
			p.share()
			return
		}
	}
	if r == nil {
		return
	}
	p.records.put(*r, 0)
	if i, _ := p.records.by.find(key); p.hasMAC(r) {
		p.macs.add(i)
	}
	p.share()
}

func (p *policy) changeRoute(change Change) (undo func(), err error) {
	r := change.CustomerRoute
	old, had := p.routes.get(r.key())
	if change.Remove {
		p.routes.remove(r.key())
	} else {
		if p.tenant.checkCustomerRoute(r, firstOf(&err)); err != nil {
			return nil, err
		}
		p.routes.put(*r, 0)
	}
	p.share()
	return func() {
		if had {
			p.routes.put(old, 0)
		} else {
			p.routes.remove(r.key())
		}
		p.share()
	}, nil
}

func (p *policy) changeDisabled(change Change) (undo func(), err error) {
	d := *change.DisabledInterface
	set := func(disabled bool) {
		if disabled {
			p.disabled.put(d, 0)
		} else {
			p.disabled.remove(d.Name)
		}
		p.disable()
	}
	if err := p.tenant.checkDisabled(d); err != nil && !change.Remove {
		return nil, err
	}
	_, had := p.disabled.get(d.Name)
	set(!change.Remove)
	return func() { set(had) }, nil
}

// changeProvider changes the provider network.
func (c *Config) changeProvider(change Change) (undo func()) {
	before, ways := c.Gateway.Backend, c.standing.ways
	b := &c.Gateway.Backend
	if a := change.ProviderAddress; a != nil {
		b.ProviderAddresses = replaced(b.ProviderAddresses, *a, (*ProviderAddress).key, change.Remove)
	} else {
		b.ProviderRoutes = replaced(b.ProviderRoutes, *change.ProviderRoute, (*ProviderRoute).key, change.Remove)
	}
	c.standing.ways = newReach(b)
	return func() { c.Gateway.Backend, c.standing.ways = before, ways }
}

// replaced is the list with the item in the place of the one with its key, or without that one.
func replaced[T any, K comparable](list []T, item T, key func(*T) K, remove bool) []T {
	list = slices.Clone(list)
	i := slices.IndexFunc(list, func(other T) bool { return key(&other) == key(&item) })
	switch {
	case remove && i >= 0:
		return slices.Delete(list, i, i+1)
	case remove:
		return list
	case i >= 0:
		list[i] = item
		return list
	}
	return append(list, item)
}

// checkProvider holds the provider network, and all that goes by it, against each other.
func (c *Config) checkProvider() error {
	var problems Problems
	file := &policyFile{problems: &problems}
	b := c.Gateway.Backend
	provider{
		addresses: b.ProviderAddresses, routes: b.ProviderRoutes,
		address: func(i int) spot { return spot{policy: file, subject: b.ProviderAddresses[i].Address.String()} },
		route:   func(i int) spot { return spot{policy: file, subject: b.ProviderRoutes[i].Destination.String()} },
	}.check()
	if len(problems) > 0 {
		return errors.New(problems[0].Path + ": " + problems[0].Message)
	}
	if len(b.ProviderAddresses) == 0 {
		return errors.New("the gateway would have no provider address; want at least one")
	}
	if err := b.checkMTU(); err != nil {
		return fmt.Errorf("backend.mtu: %w", err)
	}
	for _, a := range b.ProviderAddresses {
		if slices.Contains(c.Gateway.OwnAddresses(), a.Address.Addr()) {
			return fmt.Errorf("%s is the gateway's address on the Internet; want one of its own", a.Address.Addr())
		}
	}
	for _, t := range c.Tenants {
		for _, in := range t.InternalInterfaces {
			if in.ProviderAddress.IsValid() && c.standing.ways.index(in.ProviderAddress) < 0 {
				return fmt.Errorf("tenant %s: internal interface %s has the provider address %s", t.Name, in.Name, in.ProviderAddress)
			}
		}
		for i := range t.LookupRecords {
			var err error
			if t.checkRecord(&t.LookupRecords[i], c.standing.ways, firstOf(&err)); err != nil {
				return fmt.Errorf("tenant %s: lookup record for %s: %w", t.Name, t.LookupRecords[i].subject(), err)
			}
		}
	}
	return nil
}
