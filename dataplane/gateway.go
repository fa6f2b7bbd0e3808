package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Gateway is what the doors know of the gateway itself.
type Gateway struct {
	// Backend is the link on the provider network, External the one on the Internet; both by name, in the namespace of
	// the caller. They may be the same. Empty where there is none.
	Backend, External string
	// ProviderAddresses are where NVGRE is received. The first IPv4 one is where it is sent from.
	ProviderAddresses []netip.Addr
	// OwnAddresses are the gateway's own public addresses, which tenants may not reach through door 2.
	OwnAddresses []netip.Addr
	// PoolPrefixes are the public addresses that tenants may own. What comes for one that none owns is dropped.
	PoolPrefixes []netip.Prefix
}

// SetGateway makes the doors know the gateway as g says and stand on its links, in place of what was set before.
// A link that is not there is an error, after the rest has been done.
func (d *Dataplane) SetGateway(g Gateway) error {
	roles, err := g.roles()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	want := doorsGateway{Layout: doorsLayoutLAYOUT, Provider4: g.provider4()}
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
	errs = append(errs, d.local.add(0, roles), d.owners.setPool(g.PoolPrefixes), d.putGateway(want))
	errs = append(errs, d.standOn(doorsProgDoor1Wire, want.Backend), d.standOn(doorsProgDoor2Wire, want.External))
	errs = append(errs, d.local.prune(0, roles))
	return errors.Join(errs...)
}

// provider4 is the address that NVGRE is sent from, in network order, 0 if there is none.
func (g Gateway) provider4() uint32 {
	for _, a := range g.ProviderAddresses {
		if a = a.Unmap(); a.Is4() {
			bytes := a.As4()
			return binary.NativeEndian.Uint32(bytes[:])
		}
	}
	return 0
}

func (g Gateway) roles() (map[doorsAddress]doorsRole, error) {
	roles := make(map[doorsAddress]doorsRole)
	for role, addresses := range map[doorsRole][]netip.Addr{
		doorsRoleROLE_PROVIDER: g.ProviderAddresses, doorsRoleROLE_OWN: g.OwnAddresses,
	} {
		for _, a := range addresses {
			if !unicast(a) {
				return nil, fmt.Errorf("gateway: %v is not an address that it can have", a)
			}
			roles[toAddress(a)] |= role
		}
	}
	for _, p := range g.PoolPrefixes {
		if !p.IsValid() {
			return nil, fmt.Errorf("gateway: invalid pool prefix %v", p)
		}
	}
	return roles, nil
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
