package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

func (c *checker) checkSiteToSite(t tenantDoc) {
	for i, s := range t.SiteToSite {
		p := at("siteToSite", i)
		c.checkEnds(t, s, p)
		c.checkInitiate(t, s, p)
		c.checkAuthentication(t, s, p)
		c.checkSitePrefixes(t, s, p)
		t.doc.checkPolicy(s.IKE, p.key("ike"))
		if s.IdleDisconnect != 0 && s.Initiate == InitiateAlways {
			t.bad(p.key("idleDisconnect"), "contradicts initiate: always, which keeps the tunnel up; want one of them")
		}
	}
}

// checkEnds holds a tunnel's source to the gateway's addresses, and its destination to being a place elsewhere.
func (c *checker) checkEnds(t tenantDoc, s SiteToSite, p *path) {
	d, source := s.Destination.Address, s.SourceAddress
	if d.IsValid() && source.IsValid() && d.Is4() != source.Is4() {
		t.bad(p.key("destination"), "%s is not of the address family of the source %s; want both IPv4 or both IPv6",
			d, source)
	}
	if c.gateway == nil {
		return
	}
	own := c.gateway.OwnAddresses()
	undecided := slices.Contains(own, netip.Addr{}) // an address that did not decode may be the right one
	switch {
	case source.IsValid() && !slices.Contains(own, source) && !undecided:
		t.bad(p.key("sourceAddress"), "%s is none of the gateway's external addresses; want one of: %s", source,
			addresses(own))
	case !source.IsValid() && d.IsValid() && len(own) > 0 && !undecided && !t.doc.has(p.key("sourceAddress")):
		t.bad(p.key("destination"), "%s is of an address family that the gateway has no external address of; it has: %s",
			d, addresses(own))
	}
	if d.IsValid() && slices.Contains(own, d) {
		t.bad(p.key("destination"), "%s is the gateway's own; want the site's address", d)
	}
	for _, r := range c.gateway.External.NATAddresses {
		if d.IsValid() && r.Contains(d) {
			t.bad(p.key("destination"), "%s is one of the gateway's natAddresses %s; want the site's address", d, r)
		}
	}
}

func addresses(list []netip.Addr) string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}

func (c *checker) checkInitiate(t tenantDoc, s SiteToSite, p *path) {
	declared := t.doc.has(p.key("initiate"))
	switch {
	case !declared || s.Initiate == InitiateNever:
	case s.Destination.IsZero() && !t.doc.has(p.key("destination")):
		t.bad(p.key("initiate"), "the gateway cannot dial without destination; want one, or initiate: never")
	case s.Initiate == InitiateOnDemand && !t.doc.has(p.key("subnets").item(0)):
		t.bad(p.key("initiate"), "there are no subnets whose packets would dial; want subnets, or initiate: always or never")
	}
}

func (c *checker) checkSitePrefixes(t tenantDoc, s SiteToSite, p *path) {
	var seen claims[netip.Prefix]
	check := func(list []SitePrefix, p *path) {
		for i, sp := range list {
			where := p.item(i)
			if !sp.Prefix.IsValid() {
				continue
			}
			if taken, ok := seen.take(sp.Prefix, t.doc, where); !ok {
				t.bad(where, "%s stands in %s already; keep one", sp.Prefix, taken)
			}
			t.checkSteals(sp.Prefix, where)
			if a := sp.Prefix.Addr(); a.IsMulticast() || a.IsLoopback() {
				t.bad(where, "%s is not for machines on a network; want unicast addresses", sp.Prefix)
			}
			// Packets of the compartment into the tunnel need a source that the site can answer.
			if like := t.InternalAddress(sp.Prefix.Addr()); !like.IsValid() && !t.undecided() {
				t.bad(where, "%s is of an address family that no internal interface has an address of; want the other",
					sp.Prefix)
			}
		}
	}
	check(s.Subnets, p.key("subnets"))
	check(s.PostConnectionSubnets, p.key("postConnectionSubnets"))
}

// checkDisabledInterfaces holds the statements of the policy file that are in force to the tenant's S2S interfaces.
func (t tenantDoc) checkDisabledInterfaces() {
	disabled := t.policy.disabled
	for i, d := range disabled.list {
		if line := disabled.line(i); line != 0 && disabled.live(i) {
			if err := t.checkDisabled(d); err != nil {
				spot{policy: t.policy.file, line: line, subject: Change{DisabledInterface: &d}.subject()}.bad(
					"%v; want it there, or the statement taken out", err)
			}
		}
	}
}

// checkDisabled refuses to disable what is no S2S interface of the tenant.
func (t *Tenant) checkDisabled(d DisabledInterface) error {
	var names []string
	for _, s := range t.SiteToSite {
		names = append(names, s.Name)
	}
	if slices.Contains(names, d.Name) || slices.Contains(names, "") {
		return nil
	}
	if near := nearest(d.Name, names); near != "" {
		return fmt.Errorf("the tenant has no S2S interface %q; did you mean %q?", d.Name, near)
	}
	return fmt.Errorf("the tenant has no S2S interface %q; it has: %s", d.Name, orNone(names))
}

// undecided tells whether nothing can be said of the addresses of the internal interfaces, for want of them or since
// one did not decode.
func (t tenantDoc) undecided() bool {
	own := 0
	for _, in := range t.InternalInterfaces {
		for _, a := range in.Addresses {
			if !a.IsValid() {
				return true
			}
			own++
		}
	}
	return own == 0
}
