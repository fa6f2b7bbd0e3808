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

func (c *checker) checkAuthentication(t tenantDoc, s SiteToSite, p *path) {
	a := p.key("authentication")
	switch s.Authentication.Method {
	case AuthPSK:
		c.checkPSK(t, s, p)
		t.refuse(a, "userName", "is of EAP only; leave it out or use method: EAP")
	case AuthCertificate:
		t.refuse(a, "sharedSecret", "is of method PSK only; leave it out")
		t.refuse(a, "userName", "is of EAP only; leave it out or use method: EAP")
		c.checkCredentials(t, a, "certificateAuthorities", "certificate")
		where := identityPath(t, s.Authentication, p)
		if name := s.Authentication.RemoteIdentity; name != "" {
			if taken, ok := c.identities.take(strings.ToLower(name), t.doc, where); !ok {
				t.bad(where, "the identity %q is that of %s; want one of its own on the whole gateway", name, taken)
			}
		}
	case AuthEAP:
		t.refuse(a, "sharedSecret", "is of method PSK only; leave it out")
		c.checkCredentials(t, a, "certificate")
		where := identityPath(t, s.Authentication, p)
		if name := s.Authentication.UserName; name != "" {
			c.claimUser(t, name, where)
		}
	}
	if s.Authentication.Method != AuthPSK && s.Initiate == InitiateNever && s.Authentication.Method != "" {
		t.refuse(p, "ike", "is not used: the gateway's policy governs responders without a pre-shared key; leave it out")
	}
}

// refuse notes a problem if the file gives a key that has no place here.
func (t tenantDoc) refuse(p *path, key, why string) {
	if t.doc.has(p.key(key)) {
		t.bad(p.key(key), "%s", why)
	}
}

// identityPath is where the identity of a site stands: the interface's name unless there is one of its own.
func identityPath(t tenantDoc, a Authentication, p *path) *path {
	key := p.key("authentication").key("remoteIdentity")
	if a.Method == AuthEAP {
		key = p.key("authentication").key("userName")
	}
	if t.doc.has(key) {
		return key
	}
	return p.key("name")
}

// checkCredentials holds methods that need certificates to the gateway's having them.
func (c *checker) checkCredentials(t tenantDoc, p *path, keys ...string) {
	if c.gateway == nil {
		return
	}
	for _, key := range keys {
		if !c.gateway.doc.has(at("ike", key)) {
			t.bad(p.key("method"), "needs ike.%s of the gateway, which %s lacks; want it there", key,
				c.gateway.doc.place(at("ike")))
		}
	}
}

// claimUser holds user names to being one person's or site's on the whole gateway, since all tenants share one RADIUS
// server and RADIUS compares without case.
func (c *checker) claimUser(t tenantDoc, name string, p *path) {
	if taken, ok := c.users.take(strings.ToLower(name), t.doc, p); !ok {
		t.bad(p, "the user name %q is that of %s; want one of its own on the whole gateway", name, taken)
	}
}

func (c *checker) checkPSK(t tenantDoc, s SiteToSite, p *path) {
	a := p.key("authentication")
	if s.Authentication.SharedSecret.IsZero() && !t.doc.has(a.key("sharedSecret")) {
		t.bad(a, "lacks sharedSecret, which method PSK needs; want sharedSecret: {file: PATH} or so")
	}
	d := p.key("destination")
	switch {
	case s.Destination.Host != "":
		t.bad(d, "%q is a name, but with a pre-shared key the address tells who the site is; want an address", s.Destination)
		return
	case !s.Destination.Address.IsValid():
		if !t.doc.has(d) {
			t.bad(p, "lacks destination; with a pre-shared key the address tells who the site is; want an address")
		}
		return
	case !s.SourceAddress.IsValid():
		return
	}
	// IKEv2 finds the key by identities (RFC 7296, 2.15), so two interfaces with one identity are as bad as with one
	// address.
	key := s.SourceAddress.String() + " address " + s.Destination.String()
	if taken, ok := c.tunnels.take(key, t.doc, d); !ok {
		t.bad(d, "%s is the destination of %s already; with a pre-shared key want one interface for each site",
			s.Destination, taken)
		return
	}
	where := d
	if t.doc.has(a.key("remoteIdentity")) {
		where = a.key("remoteIdentity")
	}
	key = s.SourceAddress.String() + " identity " + strings.ToLower(s.Authentication.RemoteIdentity)
	if taken, ok := c.tunnels.take(key, t.doc, where); !ok {
		t.bad(where, "the identity %q is that of %s; want one of its own", s.Authentication.RemoteIdentity, taken)
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
				spot{policy: t.policy.file, line: line, subject: Change{DisabledInterface: &d}.subject()}.bad("%v", err)
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
