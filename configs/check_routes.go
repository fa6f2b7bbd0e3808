package configs

import (
	"fmt"
	"net/netip"
)

func (c *checker) checkRoutes(t tenantDoc) {
	var seen claims[string]
	for i, r := range t.Routes {
		p := at("routes", i)
		hop, dev := t.doc.has(p.key("nextHop")), t.doc.has(p.key("interface"))
		if hop == dev {
			t.bad(p, "has %s; want exactly one of them", map[bool]string{
				true: "both nextHop and interface", false: "neither nextHop nor interface"}[hop])
		}
		if r.Prefix.IsValid() {
			t.checkSteals(r.Prefix, p.key("prefix"))
			if taken, ok := seen.take(fmt.Sprint(r.Prefix, r.NextHop, r.Interface), t.doc, p); !ok {
				t.bad(p, "the same route as %s; keep one", taken)
			}
		}
		t.checkInterface(r.Interface, p.key("interface"), t.routable())
		if r.NextHop.IsValid() {
			t.checkNextHop(r, p.key("nextHop"))
		}
	}
}

// routable lists the interfaces that a static route can name: behind the internal ones is nothing but the virtual
// network, whose routes are its own.
func (t tenantDoc) routable() []string {
	var names []string
	for _, f := range t.ForwardingInterfaces {
		names = append(names, f.Name)
	}
	for _, s := range t.SiteToSite {
		names = append(names, s.Name)
	}
	return names
}

// checkSteals refuses a prefix that would lead packets for a virtual subnet elsewhere. A wider one is fine: the virtual
// subnet's own route is the more specific.
func (t tenantDoc) checkSteals(prefix netip.Prefix, p *path) {
	for i, s := range t.VirtualSubnets {
		if containsPrefix(s.Prefix, prefix) {
			t.bad(p, "%s lies in the virtual subnet %s of %s; want a prefix elsewhere", prefix, s.Prefix,
				t.doc.place(at("virtualSubnets", i, "prefix")))
		}
	}
}

// checkNextHop refuses a router that nothing leads to.
func (t tenantDoc) checkNextHop(r Route, p *path) {
	if r.Prefix.IsValid() && r.Prefix.Addr().Is4() != r.NextHop.Is4() {
		t.bad(p, "%s is not of the prefix's address family; want one that is", r.NextHop)
		return
	}
	for _, own := range t.ownAddresses() {
		if own.Addr() == r.NextHop {
			t.bad(p, "%s is the compartment's own address; want another router's", r.NextHop)
			return
		}
	}
	if s, ok := t.SubnetOf(r.NextHop); ok {
		if err := checkMember(r.NextHop, s); err != nil {
			t.bad(p, "%v", err)
		}
		return
	}
	reachable := append(t.ownAddresses(), t.SitePrefixes()...)
	for _, prefix := range append(reachable, t.VirtualPrefixes()...) {
		if !prefix.IsValid() || prefix.Contains(r.NextHop) {
			return // or it cannot be told, since a prefix did not decode
		}
	}
	t.bad(p, "%s is nowhere reachable; want an address in a virtual subnet, a forwarding interface's subnet or a site's "+
		"prefix", r.NextHop)
}

// ownAddresses lists the compartment's addresses with the lengths of their subnets.
func (t *Tenant) ownAddresses() []netip.Prefix {
	var out []netip.Prefix
	for _, in := range t.InternalInterfaces {
		out = append(out, in.Addresses...)
	}
	for _, f := range t.ForwardingInterfaces {
		out = append(out, f.Addresses...)
	}
	return out
}
