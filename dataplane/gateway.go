package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
)

// Gateway is what the doors know of the gateway itself.
type Gateway struct {
	// Backend is the link on the provider network, External the one on the Internet; both by name, in the namespace of
	// the caller. They may be the same. Empty where there is none.
	Backend, External string
	// Providers are the gateway's own provider addresses, in order of preference: NVGRE is received on all of them.
	Providers []Provider
	// ProviderRoutes lead to provider addresses outside of the subnets of Providers.
	ProviderRoutes []ProviderRoute
	// OwnAddresses are the gateway's own public addresses, which tenants may not reach through door 2.
	OwnAddresses []netip.Addr
	// PoolPrefixes are the public addresses that tenants may own. What comes for one that none owns is dropped.
	PoolPrefixes []netip.Prefix
	// ProviderMTU is the largest outer IP packet, in bytes; 0: what the sending link admits.
	ProviderMTU int
}

// Provider is a provider address of the gateway's own.
type Provider struct {
	// Address is IPv4 or IPv6, with the length of its subnet.
	Address netip.Prefix
	// Link is the name of the link that sends from it: the backend NIC, or the VLAN device on that.
	Link string
	// VLAN is the 802.1Q VLAN of outer frames to it; 0 for none.
	VLAN uint16
	// VSIDs are the virtual subnets that use this address and no other. Where there are none, it is for all virtual
	// subnets that no other address names.
	VSIDs []uint32
}

// ProviderRoute is a route on the provider network.
type ProviderRoute struct {
	Prefix netip.Prefix
	// NextHop is a router in the subnet of one of the gateway's provider addresses.
	NextHop netip.Addr
}

func (g Gateway) validate() error {
	vsids := make(map[uint32]netip.Prefix)
	for _, p := range g.Providers {
		if !p.Address.IsValid() || !unicast(p.Address.Addr()) || p.Link == "" {
			return fmt.Errorf("gateway: provider address %v on link %q: needs a unicast address and a link", p.Address, p.Link)
		}
		if p.VLAN > 4094 {
			return fmt.Errorf("gateway: provider address %v: VLAN %d is not within 0 to 4094", p.Address, p.VLAN)
		}
		for _, vsid := range p.VSIDs {
			if err := validVSID(vsid); err != nil {
				return fmt.Errorf("gateway: provider address %v: %w", p.Address, err)
			}
			if other, taken := vsids[vsid]; taken {
				return fmt.Errorf("gateway: provider addresses %v and %v both name VSID %d", other, p.Address, vsid)
			}
			vsids[vsid] = p.Address
		}
	}
	for _, r := range g.ProviderRoutes {
		if !r.Prefix.IsValid() || !unicast(r.NextHop) || r.Prefix.Addr().Is4() != r.NextHop.Is4() {
			return fmt.Errorf("gateway: provider route %v by %v: needs a prefix and a next hop of one family", r.Prefix,
				r.NextHop)
		}
	}
	for _, a := range g.OwnAddresses {
		if !unicast(a) {
			return fmt.Errorf("gateway: %v is not an address that it can have", a)
		}
	}
	for _, p := range g.PoolPrefixes {
		if !p.IsValid() {
			return fmt.Errorf("gateway: invalid pool prefix %v", p)
		}
	}
	return nil
}

// SetGateway makes the doors know the gateway as g says and stand on its links, in place of what was set before. How
// each host is reached is found anew; what goes to one that cannot be reached any more is dropped and counted. A link
// that is not there is an error, after the rest has been done.
func (d *Dataplane) SetGateway(g Gateway) error {
	if err := g.validate(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	want := doorsGateway{Layout: doorsLayoutLAYOUT}
	var errs []error
	if g.Backend != "" {
		ifindex, _, err := d.link(g.Backend)
		errs = append(errs, err)
		want.Backend = ifindex
	}
	if g.External != "" {
		ifindex, mac, err := d.link(g.External)
		errs = append(errs, err)
		want.External, want.ExternalMac = ifindex, mac
	}
	network, err := d.underlay(g)
	locals := g.locals()
	errs = append(errs, err, d.hosts.setUnderlay(network), d.rebind(network))
	errs = append(errs, d.local.add(0, locals), d.owners.setPool(g.PoolPrefixes), d.putGateway(want))
	errs = append(errs, d.standOn(doorsProgDoor1Wire, want.Backend), d.standOn(doorsProgDoor2Wire, want.External))
	errs = append(errs, d.local.prune(0, locals))
	d.lessons.notify()
	return errors.Join(errs...)
}

// rebind makes virtual subnets use the provider addresses that the network has for them now. d.mu must be held.
func (d *Dataplane) rebind(network *underlay) error {
	changed := make(map[uint32]doorsVsid)
	var errs []error
	for tenant, vsids := range d.vsids.have {
		for vsid, v := range vsids {
			if bound := v.bind(network.bound[vsid]); bound != v {
				errs = append(errs, d.vsids.put(tenant, vsid, bound))
				changed[vsid] = bound
			}
		}
	}
	if len(changed) > 0 {
		errs = append(errs, d.records.rebind(changed), d.rebindL2Only(changed), d.hosts.sweep())
	}
	return few(errs)
}

// Providers are the gateway's own provider addresses, as SetGateway was told of them last.
func (d *Dataplane) Providers() []Provider {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Provider
	for _, p := range d.hosts.network.providers {
		all = append(all, p.Provider)
	}
	return all
}

// ProviderRoutes are the routes on the provider network, as SetGateway was told of them last.
func (d *Dataplane) ProviderRoutes() []ProviderRoute {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hosts.network.routes
}

// locals are the gateway's own addresses with their roles.
func (g Gateway) locals() map[doorsAddress]doorsLocal {
	locals := make(map[doorsAddress]doorsLocal)
	for _, p := range g.Providers {
		l := doorsLocal{Roles: uint32(doorsRoleROLE_PROVIDER), Vlan: uint32(p.VLAN)}
		if len(p.VSIDs) > 0 {
			l.Roles |= uint32(doorsRoleROLE_BOUND)
		}
		locals[toAddress(p.Address.Addr())] = l
	}
	for _, a := range g.OwnAddresses {
		l := locals[toAddress(a)]
		l.Roles |= uint32(doorsRoleROLE_OWN)
		locals[toAddress(a)] = l
	}
	return locals
}

func (d *Dataplane) putGateway(want doorsGateway) error {
	var have doorsGateway
	if err := d.objects.Gateway.Lookup(uint32(0), &have); err == nil && have == want {
		return nil
	}
	if err := d.objects.Gateway.Put(uint32(0), want); err != nil {
		return fmt.Errorf("write map gateway: %w", err)
	}
	return nil
}

// standOn puts a door's outer program on the link, if there is one, and takes it off all others.
func (d *Dataplane) standOn(program string, ifindex uint32) error {
	if ifindex != 0 {
		if err := d.attach(program, int(ifindex)); err != nil {
			return err
		}
	}
	var errs []error
	for pin, a := range d.attached {
		if a.program == program && a.ifindex != int(ifindex) {
			errs = append(errs, d.detach(pin))
		}
	}
	return errors.Join(errs...)
}

// link finds a link's ifindex and MAC address in the namespace that the doors were opened in.
func (d *Dataplane) link(name string) (uint32, [6]byte, error) {
	var mac [6]byte
	l, err := d.links.LinkByName(name)
	if err != nil {
		return 0, mac, fmt.Errorf("find link %s: %w", name, err)
	}
	copy(mac[:], l.Attrs().HardwareAddr)
	return uint32(l.Attrs().Index), mac, nil
}
