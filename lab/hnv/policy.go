package hnv

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
)

// Subnet is a virtual subnet of a routing domain, IPv4 or IPv6. Its lowest address is the router's.
type Subnet struct {
	RoutingDomain string
	VSID          uint32
	Prefix        netip.Prefix
	// ExternalRouter tells that hosts do not route here: the router's address is a customer address like others, with
	// a record that names its MAC and the gateway's PA, and what leaves the subnet goes to that MAC.
	ExternalRouter bool
}

// RecordType is how a lookup record came to be and what it knows, in the book's words.
type RecordType string

// The types of lookup records. Static is the zero value.
const (
	Static  RecordType = ""
	Dynamic RecordType = "Dynamic" // learned from ARP or ND
	L2Only  RecordType = "L2Only"  // the MAC is known, its customer addresses are to be learned
)

// Record says where a customer address lives.
type Record struct {
	RoutingDomain string
	VSID          uint32
	CA            netip.Addr // not valid in an L2Only record
	MAC           net.HardwareAddr
	PA            netip.Addr
	Type          RecordType
}

// Route is a customer route: what is in no virtual subnet of the routing domain goes to NextHop, which has a record.
type Route struct {
	RoutingDomain string
	Prefix        netip.Prefix
	NextHop       netip.Addr
}

// Policy is what the controller of a data centre tells a host.
type Policy struct {
	Subnets []Subnet
	Records []Record
	Routes  []Route
}

// RouterMAC is the distributed router's MAC, the same on every host.
var RouterMAC = net.HardwareAddr{0x02, 0x48, 0x4e, 0x56, 0x00, 0x01}

// clone is a copy that shares nothing which changes.
func (p *Policy) clone() Policy {
	return Policy{slices.Clone(p.Subnets), slices.Clone(p.Records), slices.Clone(p.Routes)}
}

// subnet finds the virtual subnet of a VSID.
func (p *Policy) subnet(vsid uint32) (Subnet, bool) {
	for _, s := range p.Subnets {
		if s.VSID == vsid {
			return s, true
		}
	}
	return Subnet{}, false
}

// names tells whether a record of the routing domain names the provider address.
func (p *Policy) names(domain string, pa netip.Addr) bool {
	return slices.ContainsFunc(p.Records, func(r Record) bool { return r.RoutingDomain == domain && r.PA == pa })
}

// record finds a customer address.
func (p *Policy) record(domain string, ca netip.Addr) *Record {
	return p.find(func(r *Record) bool { return r.Type != L2Only && r.RoutingDomain == domain && r.CA == ca })
}

// owner finds a record of a MAC in a virtual subnet.
func (p *Policy) owner(vsid uint32, mac net.HardwareAddr) *Record {
	return p.find(func(r *Record) bool { return r.VSID == vsid && bytes.Equal(r.MAC, mac) })
}

func (p *Policy) find(match func(*Record) bool) *Record {
	for i := range p.Records {
		if match(&p.Records[i]) {
			return &p.Records[i]
		}
	}
	return nil
}

// move makes every record of a MAC in a virtual subnet name another provider address, where it names the old one; it
// returns those that it changed, as they are now.
func (p *Policy) move(vsid uint32, mac net.HardwareAddr, from, to netip.Addr) []Record {
	var moved []Record
	for i := range p.Records {
		r := &p.Records[i]
		if r.VSID == vsid && bytes.Equal(r.MAC, mac) && r.PA == from && from != to {
			r.PA = to
			moved = append(moved, *r)
		}
	}
	return moved
}

// forget removes what was learned of a MAC in a virtual subnet.
func (p *Policy) forget(vsid uint32, mac net.HardwareAddr) {
	p.Records = slices.DeleteFunc(p.Records, func(r Record) bool {
		return r.Type == Dynamic && r.VSID == vsid && bytes.Equal(r.MAC, mac)
	})
}

// learn makes what an ARP or ND message tells a Dynamic record: where an L2Only record has the sender's MAC at the
// provider address that the message came from, and for addresses of the virtual subnet that the controller said nothing
// of. It returns the record and whether it is new.
func (p *Policy) learn(in Subnet, m message, pa netip.Addr) (Record, bool) {
	known := slices.ContainsFunc(p.Records, func(r Record) bool {
		return r.Type == L2Only && r.VSID == in.VSID && bytes.Equal(r.MAC, m.sender) && r.PA == pa
	})
	if !known || !in.Prefix.Contains(m.from) || m.from == routerAddress(in.Prefix) && !in.ExternalRouter {
		return Record{}, false
	}
	learned := Record{in.RoutingDomain, in.VSID, m.from, bytes.Clone(m.sender), pa, Dynamic}
	if old := p.record(in.RoutingDomain, m.from); old != nil {
		if old.Type != Dynamic || bytes.Equal(old.MAC, learned.MAC) && old.PA == pa {
			return Record{}, false
		}
		*old = learned
		return learned, true
	}
	p.Records = append(p.Records, learned)
	return learned, true
}

// peers are the provider addresses, other than the host's own, that records of a virtual subnet name.
func (p *Policy) peers(vsid uint32, own netip.Addr) []netip.Addr {
	var found []netip.Addr
	for _, r := range p.Records {
		if r.VSID == vsid && r.PA != own && !slices.Contains(found, r.PA) {
			found = append(found, r.PA)
		}
	}
	return found
}

// routerAddress is the lowest address of a subnet.
func routerAddress(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }
