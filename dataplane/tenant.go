package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/uuid"
)

// VSIDs that a virtual subnet may have (RFC 7637, section 3.2).
const (
	minVSID = 0x1000
	maxVSID = 0xfffffe
)

// Tenant is all that the doors know of one tenant.
type Tenant struct {
	// Name is what the counters and listings show, at most 63 bytes.
	Name string
	// RoutingDomain tells tenants apart, across restarts and changes of name.
	RoutingDomain uuid.UUID
	// Interfaces are the compartment's doors to the virtual network.
	Interfaces []Interface
	// Records say where the customer addresses live. A record in a gateway's own virtual subnet is allowed.
	Records []Record
	// External is the compartment's door to the Internet; nil where it has none.
	External *External
}

// Interface is an internal interface of a compartment.
type Interface struct {
	VSID uint32
	// Link is the name of its veth's end in the Default compartment. Both ends must have the same MTU, at most the
	// backend link's less 42 bytes: the kernel silently drops a packet that is larger than this end admits, unless it is
	// a GSO packet, so that a smaller MTU stalls TCP only now and then.
	Link string
	// MAC is that of the compartment's end, which hosts address their frames to.
	MAC net.HardwareAddr
	// Addresses are those that the doors answer ARP and neighbour discovery for.
	Addresses []netip.Addr
}

// Record is a lookup record: where a customer address lives.
type Record struct {
	// CA is the customer address, unique in the routing domain.
	CA netip.Addr
	// VSID is the virtual subnet of the customer address, which packets to it carry.
	VSID uint32
	MAC  net.HardwareAddr
	// PA is the provider address of the host; IPv4.
	PA netip.Addr
}

// External is a compartment's link to the Internet.
type External struct {
	// Link is the name of its veth's end in the Default compartment. Both ends must have the same MTU, at most the
	// external link's.
	Link string
	// MAC is that of the compartment's end.
	MAC net.HardwareAddr
	// Owned are the public addresses of the tenant, or its shares of them.
	Owned []Ports
}

// Ports is a public address, or a range of its TCP and UDP ports and ICMP ids.
type Ports struct {
	Address netip.Addr
	// First and Last bound the range; both 0 mean the whole address, with every protocol.
	First, Last uint16
}

func (p Ports) whole() bool { return p.First == 0 && p.Last == 0 }

// validate finds what is wrong with the declaration by itself.
func (t Tenant) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if t.Name == "" || len(t.Name) > 63 {
		bad("the name must have 1 to 63 bytes")
	}
	if t.RoutingDomain == uuid.Nil {
		bad("the routing domain id must not be zero")
	}
	links, vsids, records := make(map[string]bool), make(map[uint32]bool), make(map[netip.Addr]bool)
	for _, i := range t.Interfaces {
		if err := i.validate(); err != nil {
			bad("interface in VSID %d: %w", i.VSID, err)
		}
		if links[i.Link] || vsids[i.VSID] {
			bad("interface in VSID %d: another one has its VSID or link %s", i.VSID, i.Link)
		}
		links[i.Link], vsids[i.VSID] = true, true
	}
	for _, r := range t.Records {
		if err := r.validate(); err != nil {
			bad("record for %v: %w", r.CA, err)
		}
		if records[r.CA] {
			bad("record for %v: another one is for the same address", r.CA)
		}
		records[r.CA] = true
	}
	if t.External != nil {
		if err := t.External.validate(); err != nil {
			bad("external link: %w", err)
		}
		if links[t.External.Link] {
			bad("external link: %s is an internal interface's", t.External.Link)
		}
	}
	return few(errs)
}

func (i Interface) validate() error {
	if i.Link == "" || !unicastMAC(i.MAC) {
		return fmt.Errorf("needs a link and a unicast MAC address, has %q and %q", i.Link, i.MAC)
	}
	for _, a := range i.Addresses {
		if !unicast(a) {
			return fmt.Errorf("%v is not a unicast address", a)
		}
	}
	return validVSID(i.VSID)
}

func (r Record) validate() error {
	switch {
	case !unicast(r.CA):
		return errors.New("the customer address is not a unicast address")
	case !unicastMAC(r.MAC):
		return fmt.Errorf("%q is not a unicast MAC address", r.MAC)
	case !unicast(r.PA) || !r.PA.Is4():
		return fmt.Errorf("provider address %v is not a unicast IPv4 address", r.PA)
	}
	return validVSID(r.VSID)
}

func (e External) validate() error {
	if e.Link == "" || !unicastMAC(e.MAC) {
		return fmt.Errorf("needs a link and a unicast MAC address, has %q and %q", e.Link, e.MAC)
	}
	for _, p := range e.Owned {
		if !unicast(p.Address) || p.First > p.Last {
			return fmt.Errorf("%v with ports %d-%d cannot be owned", p.Address, p.First, p.Last)
		}
	}
	return nil
}

func validVSID(vsid uint32) error {
	if vsid < minVSID || vsid > maxVSID {
		return fmt.Errorf("VSID %d is not within %d to %d", vsid, minVSID, maxVSID)
	}
	return nil
}

// unicast tells whether a is an address that one machine can have beyond its link, in its plain form.
func unicast(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
		return false
	}
	if a.Is4() {
		return a.As4()[0] < 224
	}
	return !a.IsLinkLocalUnicast()
}

func unicastMAC(m net.HardwareAddr) bool {
	return len(m) == 6 && m[0]&1 == 0 && [6]byte(m) != [6]byte{}
}
