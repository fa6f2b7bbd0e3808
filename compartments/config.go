package compartments

import (
	"fmt"
	"net"
	"net/netip"
)

// Protocol marks the routes and addresses that this package made (rtm_protocol, IFA_PROTO): it changes and removes no
// others. The number is used by nothing else that is known to /etc/iproute2/rt_protos, FRR or BIRD.
const Protocol = 177

// Config is everything that one compartment holds of links, addresses and routes.
type Config struct {
	// Links in the compartment. A pair or xfrm link that is not among them is removed; other kinds are left alone.
	Links []Link
	// Routes of the compartment; those of other routing protocols are left alone.
	Routes []Route
	// VirtualPrefixes are the prefixes of the virtual subnets. Nothing that arrives on an outside link may claim an
	// address in them.
	VirtualPrefixes []netip.Prefix
}

// Kind of a link.
type Kind string

// The kinds of links.
const (
	// Pair is one end of a pair whose other end is in the Default compartment, at a door: netkit where the kernel has
	// it (Linux 6.7), veth where not. A pair that stands stays of its kind.
	Pair Kind = "pair"
	// XFRM is an xfrm interface: it carries the traffic of the SAs that have its if_id.
	XFRM Kind = "xfrm"
)

// Link is one link of a compartment.
type Link struct {
	// Name in the compartment, at most 15 octets.
	Name string
	// Kind of the link.
	Kind Kind
	// Peer is the name of a pair's other end, in the Default compartment.
	Peer string
	// MAC of the end in the compartment; the kernel's choice where nil. Pair only.
	MAC net.HardwareAddr
	// MTU in octets; left as it is where 0.
	MTU int
	// NoARP tells that whatever is behind the link rewrites MACs, so that nothing resolves them here.
	NoARP bool
	// IfID of an xfrm link, not 0.
	IfID uint32
	// Addresses of the link, each with the prefix of its subnet.
	Addresses []netip.Prefix
	// Outside tells that the link leads out of the tenant's virtual network: to a site or to the Internet.
	Outside bool
	// Alias is shown to operators at both ends of the link.
	Alias string
}

// Route is one route of a compartment. Routes of the same prefix and metric on several links become one multipath route
// (ECMP); they must agree on Source.
type Route struct {
	// Prefix that the route is for.
	Prefix netip.Prefix
	// NextHop is the gateway; none makes a route to what is directly on the link.
	NextHop netip.Addr
	// Link that the packets leave by. It may be left out with a NextHop that another route leads to.
	Link string
	// Source is the address of the compartment that its own packets carry; the kernel's choice where none.
	Source netip.Addr
	// Metric: the lowest wins. IPv6 knows no 0 and takes 1024 instead.
	Metric uint32
	// Unreachable makes a route that refuses packets with an ICMP error; Link, NextHop and Source do not count.
	Unreachable bool
}

// Default is what the gateway declares of the Default compartment.
type Default struct {
	// NICs that the gateway uses.
	NICs []NIC
	// Routes of the Default compartment, as to the provider's networks and the Internet.
	Routes []Route
}

// NIC is a network interface of the Default compartment. It must be there; the gateway never makes or removes one, but
// only devices for VLANs on it.
type NIC struct {
	// Name of the interface.
	Name string
	// MTU in octets; left as it is where 0.
	MTU int
	// Addresses that the gateway needs on it. Those that others put there are left alone.
	Addresses []netip.Prefix
	// VLANs of the NIC that the gateway has addresses in.
	VLANs []VLAN
}

// VLAN is a tagged network (802.1Q) on a NIC. Its device is made, and removed when it is declared no longer; one that
// somebody else made is used and left alone.
type VLAN struct {
	// ID in the tag, 1 to 4094.
	ID uint16
	// Addresses that the gateway needs on the device, whose name is [VLANName] and whose MTU is the NIC's.
	Addresses []netip.Prefix
}

// check finds what the kernel would refuse or misread.
func (l Link) check() error {
	switch {
	case l.Name == "" || len(l.Name) > maxName:
		return fmt.Errorf("link %q: a name has 1 to %d octets", l.Name, maxName)
	case l.Kind == Pair && (l.Peer == "" || len(l.Peer) > maxName):
		return fmt.Errorf("link %s: a pair needs a peer with a name of 1 to %d octets", l.Name, maxName)
	case l.Kind == XFRM && l.IfID == 0:
		return fmt.Errorf("link %s: an xfrm link needs an if_id", l.Name)
	case l.Kind != Pair && l.Kind != XFRM:
		return fmt.Errorf("link %s: kind %q is neither pair nor xfrm", l.Name, l.Kind)
	}
	return nil
}

// maxName is the longest name of a link: IFNAMSIZ less the terminating zero.
const maxName = 15
