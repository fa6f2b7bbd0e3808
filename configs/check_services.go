package configs

import (
	"net/netip"
	"regexp/syntax"
	"slices"
	"strings"
)

func (c *checker) checkFilters(t tenantDoc) {
	var seen claims[string]
	for i, f := range t.Filters {
		p := at("filters", i)
		t.checkInterface(f.Interface, p.key("interface"), t.interfaces())
		if f.Interface == "" || f.Direction == "" {
			continue
		}
		if taken, ok := seen.take(f.Interface+" "+string(f.Direction), t.doc, p); !ok {
			t.bad(p, "%s has an %s filter already, %s; want one list for each direction", f.Interface, f.Direction, taken)
		}
	}
}

func (c *checker) checkRemoteAccess(t tenantDoc) {
	ra := t.RemoteAccess
	if ra == nil {
		return
	}
	p := at("remoteAccess")
	c.checkPattern(t, p.key("tenantName"))
	if !t.doc.has(p.key("addressRange")) && !t.doc.has(p.key("ipv6Prefix")) {
		t.bad(p, "has no addresses for clients; want addressRange, ipv6Prefix or both")
	}
	if !ra.AddressRange.IsZero() {
		c.checkClientRange(t, ra.AddressRange, p.key("addressRange"))
	}
	if ra.IPv6Prefix.IsValid() {
		t.checkClientPrefix(ra.IPv6Prefix, p.key("ipv6Prefix"))
	}
	for i, u := range ra.Users {
		if u.Name != "" {
			c.checkUserName(t, u.Name, p.key("users").item(i).key("name"))
		}
	}
}

// checkPattern refuses patterns that claim everybody or nobody, and those of another tenant.
func (c *checker) checkPattern(t tenantDoc, p *path) {
	re := t.RemoteAccess.TenantName
	if re == nil {
		return
	}
	if re.MatchString("") {
		t.bad(p, "matches every user name, those of other tenants too; want a pattern for this tenant's, such as .*%s.*",
			t.Name)
	}
	if tree, err := syntax.Parse(re.String(), syntax.Perl); err == nil && matchesNothing(tree.Simplify()) {
		t.bad(p, "matches no user name at all; want a pattern for this tenant's, such as .*%s.*", t.Name)
	}
	if taken, ok := c.patterns.take(strings.ToLower(re.String()), t.doc, p); !ok {
		t.bad(p, "the pattern is that of %s; want one that tells the tenants apart", taken)
	}
}

// matchesNothing tells whether no text at all can match, as far as the form of the pattern shows it.
func matchesNothing(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpNoMatch:
		return true
	case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
		return slices.ContainsFunc(re.Sub, matchesNothing)
	case syntax.OpCharClass:
		return len(re.Rune) == 0
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return !matchesNothing(sub) })
	}
	return false
}

func (c *checker) checkClientRange(t tenantDoc, r AddressRange, p *path) {
	if !r.First.Is4() {
		t.bad(p, "%s is not IPv4; want an IPv4 range here and IPv6 as ipv6Prefix", r)
		return
	}
	for i, s := range t.VirtualSubnets {
		if s.Prefix.IsValid() && r.overlapsPrefix(s.Prefix) {
			t.bad(p, "%s overlaps %s; want addresses apart from it", r, t.doc.place(at("virtualSubnets", i, "prefix")))
		}
	}
	for i, s := range t.SiteToSite {
		for j, sp := range s.Subnets {
			if sp.Prefix.IsValid() && sp.Prefix.Bits() > 0 && r.overlapsPrefix(sp.Prefix) {
				t.bad(p, "%s overlaps %s; want addresses apart from it", r, t.doc.place(at("siteToSite", i, "subnets", j)))
			}
		}
	}
}

func (t tenantDoc) checkClientPrefix(prefix netip.Prefix, p *path) {
	if prefix.Addr().Is4() || prefix.Bits() < 48 || prefix.Bits() > 112 {
		t.bad(p, "%s is no IPv6 prefix of a length from /48 to /112; want one such as 2001:db8:a::/64", prefix)
		return
	}
	for i, s := range t.VirtualSubnets {
		if s.Prefix.IsValid() && s.Prefix.Overlaps(prefix) {
			t.bad(p, "%s overlaps %s; want a prefix apart from it", prefix, t.doc.place(at("virtualSubnets", i, "prefix")))
		}
	}
}
