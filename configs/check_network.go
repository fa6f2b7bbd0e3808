package configs

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

func (c *checker) checkVirtualSubnets(t tenantDoc) {
	for i, s := range t.VirtualSubnets {
		p := at("virtualSubnets", i)
		if s.VSID != 0 {
			if taken, ok := c.vsids.take(s.VSID, t.doc, p.key("vsid")); !ok {
				t.bad(p.key("vsid"), "VSID %d is taken by %s; want one of its own", s.VSID, taken)
			}
		}
		if !s.Prefix.IsValid() {
			continue
		}
		if err := checkSubnet(s.Prefix); err != nil {
			t.bad(p.key("prefix"), "%s %v", s.Prefix, err)
		}
		for j, other := range t.VirtualSubnets[:i] {
			where := t.doc.place(at("virtualSubnets", j, "prefix"))
			switch {
			case !other.Prefix.IsValid():
			case s.Prefix.Overlaps(other.Prefix):
				t.bad(p.key("prefix"), "%s overlaps %s of %s; want subnets apart from each other", s.Prefix, other.Prefix, where)
			case j == 0 && s.Prefix.Addr().Is4() != other.Prefix.Addr().Is4() && !t.DualStack:
				t.bad(p.key("prefix"), "%s is not of the address family of %s; want IPv4 or IPv6 in all subnets of a tenant, or "+
					"dualStack: true where none of its hosts is a Windows Server", s.Prefix, where)
			}
		}
	}
}

// checkSubnet refuses prefixes that cannot be a subnet with a default gateway and machines.
func checkSubnet(p netip.Prefix) error {
	a := p.Addr()
	if a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.Is4() && a.As4()[0] == 0 {
		return errors.New("is not for machines on a network; want private or public unicast addresses")
	}
	if most := a.BitLen() - 2; p.Bits() > most {
		return fmt.Errorf("has no room for a default gateway and a machine; want a length up to /%d", most)
	}
	return nil
}

// checkMember refuses an address that no machine can have in the virtual subnet.
func checkMember(a netip.Addr, s VirtualSubnet) error {
	switch {
	case !s.Prefix.Contains(a):
		return fmt.Errorf("%s is not in %s of VSID %d; want an address in it", a, s.Prefix, s.VSID)
	case a == s.DefaultGateway():
		return fmt.Errorf("%s is the default gateway of VSID %d, which lives on the hosts; want another address", a, s.VSID)
	case isEdge(a, s.Prefix):
		return fmt.Errorf("%s is the network or broadcast address of %s; want another address", a, s.Prefix)
	}
	return nil
}

func (c *checker) checkInternalInterfaces(t tenantDoc) {
	var vsids claims[uint32]
	var addresses claims[netip.Addr]
	for i, in := range t.InternalInterfaces {
		p := at("internalInterfaces", i)
		if in.VSID != 0 {
			if taken, ok := vsids.take(in.VSID, t.doc, p.key("vsid")); !ok {
				t.bad(p.key("vsid"), "VSID %d has an internal interface already, %s; want one for each", in.VSID, taken)
			}
		}
		c.checkInterfaceProvider(t, i)
		s, ok := t.checkVSID(in.VSID, func(key, format string, args ...any) { t.bad(p.key(key), format, args...) })
		for j, a := range in.Addresses {
			where := p.key("addresses").item(j)
			if !a.IsValid() {
				continue
			}
			if taken, ok := addresses.take(a.Addr(), t.doc, where); !ok {
				t.bad(where, "%s is taken by %s; want each address once", a.Addr(), taken)
			}
			if !ok {
				continue
			}
			if err := checkMember(a.Addr(), s); err != nil {
				t.bad(where, "%v", err)
			} else if a.Bits() != s.Prefix.Bits() {
				t.bad(where, "%s has another length than VSID %d; want %s/%d", a, s.VSID, a.Addr(), s.Prefix.Bits())
			}
		}
	}
	t.checkExternalRouter()
	c.requireInternal(t)
}

// checkExternalRouter tells the default gateways' MAC address from the interfaces': door 1 goes by it.
func (t tenantDoc) checkExternalRouter() {
	if t.ExternalRouter == nil || t.ExternalRouter.MACAddress == nil {
		return
	}
	for i, in := range t.InternalInterfaces {
		if bytes.Equal(in.MACAddress, t.ExternalRouter.MACAddress) {
			t.bad(at("externalRouter", "macAddress"), "%s is that of %s; want one of its own", in.MACAddress,
				t.doc.place(at("internalInterfaces", i, "macAddress")))
		}
	}
}

// requireInternal holds everything that needs an address of the compartment in the virtual network to having one.
func (c *checker) requireInternal(t tenantDoc) {
	if len(t.InternalInterfaces) > 0 || t.doc.has(at("internalInterfaces", 0)) {
		return
	}
	for _, user := range []struct {
		key  string
		uses bool
	}{
		{"siteToSite", len(t.SiteToSite) > 0}, {"bgp", t.BGP != nil}, {"nat", t.NAT != nil},
		{"externalRouter", t.ExternalRouter != nil},
	} {
		if user.uses {
			t.bad(at(user.key), "needs an interface in the virtual network; want at least one of internalInterfaces")
		}
	}
}

func (c *checker) checkForwardingInterfaces(t tenantDoc) {
	for i, f := range t.ForwardingInterfaces {
		p := at("forwardingInterfaces", i)
		if f.Parent != "" {
			if err := checkName(f.Parent, 15); err != nil {
				t.bad(p.key("parent"), "%v", err)
			}
			key := fmt.Sprintf("%s.%d", f.Parent, f.VLAN)
			if taken, ok := c.parents.take(key, t.doc, p.key("parent")); !ok {
				t.bad(p.key("parent"), "VLAN %d of %s is taken by %s; want one of its own", f.VLAN, f.Parent, taken)
			}
		}
		for j, a := range f.Addresses {
			where := p.key("addresses").item(j)
			if !a.IsValid() {
				continue
			}
			if isEdge(a.Addr(), a) {
				t.bad(where, "%s is the network or broadcast address of %s; want a host's address", a.Addr(), a.Masked())
			}
			for k, s := range t.VirtualSubnets {
				if s.Prefix.IsValid() && s.Prefix.Overlaps(a.Masked()) {
					t.bad(where, "%s overlaps %s; want a subnet apart from the virtual ones", a.Masked(),
						t.doc.place(at("virtualSubnets", k, "prefix")))
				}
			}
		}
	}
}

func (c *checker) checkDNS(t tenantDoc) {
	if t.DNS == nil {
		return
	}
	for i, domain := range t.DNS.SearchDomains {
		if domain != "" && !isHostName(domain) {
			t.bad(at("dns", "searchDomains", i), "%q is not a domain name; want one such as %s.example", shorten(domain),
				strings.ToLower(t.Name))
		}
	}
}
