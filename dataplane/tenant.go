package dataplane

import (
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
	// Subnets are all virtual subnets of the routing domain. The interfaces' own need not be among them.
	Subnets []Subnet
	// Interfaces are the compartment's doors to the virtual network.
	Interfaces []Interface
	// Router makes the gateway the router between the virtual subnets; nil where the hosts route.
	Router *Router
	// Records say where the customer addresses live. A record in a gateway's own virtual subnet is allowed.
	Records []Record
	// Routes say where customer addresses without a record are.
	Routes []CustomerRoute
	// External is the compartment's door to the Internet; nil where it has none.
	External *External
}

// Subnet is a virtual subnet.
type Subnet struct {
	VSID   uint32
	Prefix netip.Prefix
}

// gateway is the subnet's default gateway: its lowest address, which its filter answers for in HNV.
func (s Subnet) gateway() netip.Addr { return s.Prefix.Masked().Addr().Next() }

// Router is the external-router mode: hosts route inside a virtual subnet only and send all else to the gateway.
type Router struct {
	// MAC is that of the default gateway in every virtual subnet.
	MAC net.HardwareAddr
	// Through makes every routed packet pass the compartment, for its filters.
	Through bool
}

// Interface is an internal interface of a compartment.
type Interface struct {
	VSID uint32
	// Link is the name of its pair's end in the Default compartment. Both ends must have the same MTU, at most the
	// provider network's less the outer headers: the kernel silently drops a packet that is larger than this end admits,
	// unless it is a GSO packet, so that a smaller MTU stalls TCP only now and then.
	Link string
	// MAC is that of the compartment's end, which hosts address their frames to.
	MAC net.HardwareAddr
	// Addresses are those that the doors answer ARP and neighbour discovery for.
	Addresses []netip.Addr
	// Provider is the gateway's provider address that stands for the interface's address under the rule rewrite;
	// invalid where there is none.
	Provider netip.Addr
}

// External is a compartment's link to the Internet.
type External struct {
	// Link is the name of its pair's end in the Default compartment. Both ends must have the same MTU, at most the
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
	links, vsids := make(map[string]bool), t.vsids()
	interfaces := make(map[uint32]bool)
	for _, i := range t.Interfaces {
		if err := i.validate(); err != nil {
			bad("interface in VSID %d: %w", i.VSID, err)
		}
		if links[i.Link] || interfaces[i.VSID] {
			bad("interface in VSID %d: another one has its VSID or link %s", i.VSID, i.Link)
		}
		if i.Provider.IsValid() && !unicast(i.Provider) {
			bad("interface in VSID %d: provider address %v is not a unicast address", i.VSID, i.Provider)
		}
		links[i.Link], interfaces[i.VSID] = true, true
	}
	for _, s := range t.Subnets {
		if err := validVSID(s.VSID); err != nil || !s.Prefix.IsValid() {
			bad("virtual subnet %v in VSID %d: needs a prefix and a VSID within %d to %d", s.Prefix, s.VSID, minVSID, maxVSID)
		}
	}
	if t.Router != nil && (!unicastMAC(t.Router.MAC) || len(t.Interfaces) == 0) {
		bad("external router: needs a unicast MAC address and an internal interface, has %q and %d", t.Router.MAC,
			len(t.Interfaces))
	}
	errs = append(errs, t.validateRecords(vsids), t.validateStandIns())
	for _, r := range t.Routes {
		if err := r.validate(); err != nil {
			bad("customer route %v: %w", r.Prefix, err)
		} else if !vsids[r.VSID] {
			bad("customer route %v: VSID %d is none of the tenant's", r.Prefix, r.VSID)
		}
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

// vsids are all VSIDs of the tenant.
func (t Tenant) vsids() map[uint32]bool {
	vsids := make(map[uint32]bool)
	for _, s := range t.Subnets {
		vsids[s.VSID] = true
	}
	for _, i := range t.Interfaces {
		vsids[i.VSID] = true
	}
	return vsids
}

func (t Tenant) validateRecords(vsids map[uint32]bool) error {
	type machine struct {
		vsid uint32
		mac  [6]byte
	}
	var errs []error
	addresses, machines := make(map[netip.Addr]struct{}, len(t.Records)), make(map[machine]struct{})
	for _, r := range t.Records {
		if err := r.declarable(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.name(), err))
			continue
		}
		if !vsids[r.VSID] {
			errs = append(errs, fmt.Errorf("%s: VSID %d is none of the tenant's", r.name(), r.VSID))
		}
		var twice bool
		if r.Type == L2Only {
			_, twice = machines[machine{r.VSID, [6]byte(r.MAC)}]
			machines[machine{r.VSID, [6]byte(r.MAC)}] = struct{}{}
		} else {
			_, twice = addresses[r.CA]
			addresses[r.CA] = struct{}{}
		}
		if twice {
			errs = append(errs, fmt.Errorf("%s: another one is for the same address", r.name()))
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
