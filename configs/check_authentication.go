package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// authenticationKeys are the keys of authentication that not all methods have.
var authenticationKeys = []struct {
	key     string
	methods []AuthMethod
}{
	{"sharedSecret", []AuthMethod{AuthPSK}},
	{"previousSharedSecret", []AuthMethod{AuthPSK}},
	{"userName", []AuthMethod{AuthEAP}},
	{"password", []AuthMethod{AuthEAP}},
	{"dialAs", []AuthMethod{AuthEAP}},
}

func (c *checker) checkAuthentication(t tenantDoc, s SiteToSite, p *path) {
	a := p.key("authentication")
	method := s.Authentication.Method
	for _, k := range authenticationKeys {
		if method != "" && !slices.Contains(k.methods, method) {
			t.refuse(a, k.key, fmt.Sprintf("is of method %s only; leave it out", k.methods[0]))
		}
	}
	own := t.checkIdentity(s.Authentication.LocalIdentity, a.key("localIdentity"))
	if peer := t.checkIdentity(s.Authentication.RemoteIdentity, a.key("remoteIdentity")); !own || !peer {
		return
	}
	switch method {
	case AuthPSK:
		c.checkPSK(t, s, p)
	case AuthCertificate:
		c.checkCertificateSite(t, s, p)
	case AuthEAP:
		c.checkEAP(t, s, p)
	}
	if method != AuthPSK && s.Initiate == InitiateNever && method != "" {
		t.refuse(p, "ike", "is not used: the gateway's policy governs responders without a pre-shared key; leave it out")
	}
}

// checkIdentity tells whether an identity that the file gives has its form.
func (t tenantDoc) checkIdentity(id string, p *path) bool {
	err := checkIdentity(id)
	if err == nil || !t.doc.has(p) {
		return true
	}
	t.bad(p, "%q %v", shorten(id), err)
	return false
}

// refuse notes a problem if the file gives a key that has no place here.
func (t tenantDoc) refuse(p *path, key, why string) {
	if t.doc.has(p.key(key)) {
		t.bad(p.key(key), "%s", why)
	}
}

func (c *checker) checkPSK(t tenantDoc, s SiteToSite, p *path) {
	a := p.key("authentication")
	auth := s.Authentication
	if auth.SharedSecret.IsZero() && !t.doc.has(a.key("sharedSecret")) {
		t.bad(a, "lacks sharedSecret, which method PSK needs; want sharedSecret: {file: PATH} or so")
	}
	if !auth.PreviousSharedSecret.IsZero() && auth.PreviousSharedSecret.Equal(auth.SharedSecret) {
		t.bad(a.key("previousSharedSecret"), "is the same as sharedSecret; want the one that was there before, or leave it out")
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
	if c.gateway != nil && slices.Contains(c.gateway.OwnAddresses(), s.Destination.Address) {
		return // refused already
	}
	if taken, ok := c.destinations.take(s.Destination.Address, t.doc, d); !ok {
		t.bad(d, "%s is the destination of %s already; with a pre-shared key want one interface for each site",
			s.Destination, taken)
		return
	}
	// IKEv2 finds the key by identities (RFC 7296, 2.15), so two interfaces with one identity are as bad as with one
	// address.
	c.claimIdentities(t, s, p, d)
}

func (c *checker) checkCertificateSite(t tenantDoc, s SiteToSite, p *path) {
	c.checkCredentials(t, p, "certificate")
	c.checkAuthorities(t, p)
	c.checkOwnName(t, s, p)
	a := s.Authentication
	if err := checkSubject(a.RemoteIdentity); err != nil {
		t.bad(p.key("authentication").key("remoteIdentity"), "%q %v", shorten(a.RemoteIdentity), err)
		return
	}
	if a.RemoteIdentity != "" {
		c.claimIdentities(t, s, p, p.key("name"))
	}
}

// checkOwnName holds the identity that the gateway is to have towards a site to its certificate, which must confirm it.
func (c *checker) checkOwnName(t tenantDoc, s SiteToSite, p *path) {
	if c.gateway == nil || len(c.gateway.IKE.Certificate) == 0 {
		return
	}
	id := s.Authentication.LocalIdentity
	if id == "" || strings.Contains(id, "=") {
		return // a whole subject is written in more ways than one
	}
	cert := c.gateway.IKE.Certificate[0]
	names := slices.Concat(cert.DNSNames, cert.EmailAddresses)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, name := range names {
		if canonicalIdentity(name) == canonicalIdentity(id) {
			return
		}
	}
	t.bad(p.key("authentication").key("localIdentity"), "%q is no alternative name of ike.certificate of the gateway, which "+
		"has: %s; want one of these, or its whole subject", shorten(id), orNone(names))
}

func (c *checker) checkEAP(t tenantDoc, s SiteToSite, p *path) {
	a := p.key("authentication")
	auth := s.Authentication
	c.checkCredentials(t, p, "certificate")
	c.checkUserName(t, auth.UserName, t.declared(a.key("userName"), p.key("name")))
	if !utf8.Valid(auth.Password.Reveal()) {
		t.bad(a.key("password"), "is not text in UTF-8, which EAP-MSCHAPv2 takes (RFC 2759)")
	}
	if s.Destination.IsZero() {
		if !t.doc.has(p.key("destination")) {
			t.refuse(a, "dialAs", "is for a site that the gateway dials, and there is no destination; want one, or leave it out")
			t.refuse(a, "remoteIdentity", "is of a site that the gateway dials, and there is no destination; want one, or leave it "+
				"out: the site that dials is known by userName")
		}
	} else if s.Initiate != InitiateNever || auth.DialAs != nil {
		c.checkDialAs(t, s, p)
	}
	if c.gateway == nil || t.doc.has(a.key("password")) || c.hasAuthorities(t) ||
		c.gateway.doc.has(at("radius", "upstream", 0)) {
		return
	}
	t.bad(a, "says nothing that would let the site in; want its password, or certificateAuthorities of the tenant or the "+
		"gateway for EAP-TLS, or servers that know it in radius.upstream of the gateway")
}

func (c *checker) checkDialAs(t tenantDoc, s SiteToSite, p *path) {
	a := p.key("authentication")
	d := s.Authentication.DialAs
	if d == nil {
		if !t.doc.has(a.key("dialAs")) {
			t.bad(a, "lacks dialAs, the gateway's user at the site that it dials; want dialAs: {userName, password}, or "+
				"initiate: never")
		}
		return
	}
	c.checkAuthorities(t, p) // that vouch for the site
	if err := checkSubject(s.Authentication.RemoteIdentity); err != nil {
		t.bad(a.key("remoteIdentity"), "%q %v", shorten(s.Authentication.RemoteIdentity), err)
	}
	if err := checkUserNameForm(d.UserName); err != nil {
		t.bad(a.key("dialAs").key("userName"), "%q %v", shorten(d.UserName), err)
	}
	if !utf8.Valid(d.Password.Reveal()) {
		t.bad(a.key("dialAs").key("password"), "is not text in UTF-8, which EAP-MSCHAPv2 takes (RFC 2759)")
	}
	c.checkOnePassword(t, s, a.key("dialAs"))
}

// dialled is a user of the gateway's at a site.
type dialled struct {
	password Secret
	spot     spot
}

// checkOnePassword wants one password of a user at a site, since charon finds it by the two.
func (c *checker) checkOnePassword(t tenantDoc, s SiteToSite, p *path) {
	d := s.Authentication.DialAs
	key := strings.ToLower(d.UserName) + "\n" + canonicalIdentity(s.Authentication.RemoteIdentity)
	first, is := c.dials[key]
	switch {
	case !is:
		if c.dials == nil {
			c.dials = map[string]dialled{}
		}
		c.dials[key] = dialled{password: d.Password, spot: spot{doc: t.doc, p: p}}
	case !first.password.Equal(d.Password):
		t.bad(p, "the user %q of the site %q has another password by %s; want one for each user of a site, or a remoteIdentity for "+
			"each site", d.UserName, s.Authentication.RemoteIdentity, first.spot.place())
	}
}

// checkCredentials holds methods that need the gateway's certificate to its having one.
func (c *checker) checkCredentials(t tenantDoc, p *path, key string) {
	if c.gateway != nil && !c.gateway.doc.has(at("ike", key)) {
		t.bad(p.key("authentication").key("method"), "needs ike.%s of the gateway, which %s lacks; want it there", key,
			c.gateway.doc.place(at("ike")))
	}
}

// checkAuthorities wants an authority that vouches for the site.
func (c *checker) checkAuthorities(t tenantDoc, p *path) {
	if c.gateway != nil && !c.hasAuthorities(t) {
		t.bad(p.key("authentication").key("method"), "needs certificateAuthorities of the tenant or, in ike, of the gateway, and "+
			"neither has any; want them in one of the two")
	}
}

func (c *checker) hasAuthorities(t tenantDoc) bool {
	return t.doc.has(at("certificateAuthorities", 0)) || c.gateway.doc.has(at("ike", "certificateAuthorities", 0))
}

// checkUserName holds user names to being one person's or site's on the whole gateway, since all tenants share one RADIUS
// server and RADIUS compares without case.
func (c *checker) checkUserName(t tenantDoc, name string, p *path) {
	if name == "" {
		return
	}
	if err := checkUserNameForm(name); err != nil {
		t.bad(p, "%q %v", shorten(name), err)
		return
	}
	if taken, ok := c.users.take(strings.ToLower(name), t.doc, p); !ok {
		t.bad(p, "the user name %q is that of %s; want one of its own on the whole gateway", name, taken)
	}
}

// checkUserNameForm refuses what is not a user name for RADIUS.
func checkUserNameForm(name string) error {
	const most = 253 // RFC 2865, 5
	switch {
	case len(name) > most:
		return fmt.Errorf("has %d bytes, and RADIUS takes %d at most", len(name), most)
	case strings.TrimSpace(name) != name:
		return errSurroundingSpace
	case strings.ContainsFunc(name, unicode.IsControl):
		return errControl
	case strings.ContainsAny(name, "*%="):
		return errors.New("has one of * % =, by which strongSwan takes it for a pattern or a subject; want it without")
	}
	if kind := startOf(strings.ToLower(name), slices.Concat(otherKinds, identityKinds)); kind != "" {
		return fmt.Errorf("begins with %q, which strongSwan takes for the kind of an identity; want it without", kind)
	}
	if _, err := netip.ParseAddr(name); err == nil || severalAddresses(name) {
		return errors.New("is an address, which strongSwan would compare with addresses; want a name")
	}
	return nil
}
