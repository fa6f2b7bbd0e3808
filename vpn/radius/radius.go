// Package radius writes the configuration of the FreeRADIUS that decides about EAP users for charon, both on the
// gateway itself. It answers on the loopback address of the Default compartment only.
//
// A user who is a site's is held against what is declared of it: a password (EAP-MSCHAPv2, RFC 2759), or a certificate
// whose common name is the user name (EAP-TLS, RFC 5216) and whose authority is among those that may vouch for the site,
// of which there is an EAP module for each set, so that a tenant's own authority has no say about another tenant's
// sites, whatever it calls itself. All other users are asked of the provider's servers. charon is told by the Class
// attribute (RFC 2865, 5.25) that a user is a site, see [vpn.SiteGroup]; the provider's servers cannot say so.
package radius

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"bulkhead/vpn"
)

// Port is the UDP port at 127.0.0.1 that FreeRADIUS answers on. It is not RADIUS's own 1812, which the distribution's
// FreeRADIUS has.
const Port = 21812

// Config is the whole desired state.
type Config struct {
	// Certificate is the gateway's, in DER, leaf first, and PrivateKey its key in PEM. Without them there is no EAP-TLS.
	Certificate [][]byte
	PrivateKey  vpn.Secret
	// RevocationLists are CRLs in DER, and Responders has the OCSP responders asked that certificates name (RFC 6960). What
	// is on no list and of no responder that answers is good, unless Strict: then it must be held against the authority's
	// list where there is one, and by a responder where there is none.
	RevocationLists    [][]byte
	Responders, Strict bool
	// Sites are the users of S2S interfaces.
	Sites []Site
	// Upstream are the provider's servers, in the order in which they are asked. Without, users who are no sites are
	// refused.
	Upstream []Server
}

// Site is the user of one S2S interface.
type Site struct {
	// Name is the user name; it is compared without regard to case.
	Name string
	// Password lets the site in by EAP-MSCHAPv2.
	Password vpn.Secret
	// Authorities (DER) let it in by EAP-TLS with a certificate that one of them issued to the name. A site with neither
	// is asked of the provider's servers.
	Authorities [][]byte
}

// Server is one of the provider's.
type Server struct {
	Address netip.AddrPort
	Secret  vpn.Secret
}

// check finds what FreeRADIUS would misread.
func (c Config) check() error {
	var errs []error
	seen := map[string]bool{}
	for _, s := range c.Sites {
		name := strings.ToLower(s.Name)
		switch {
		case name == "":
			errs = append(errs, errors.New("a site without a user name: give it one"))
		case len(s.Name) > 253: // RFC 2865, 5: an attribute's value
			errs = append(errs, fmt.Errorf("the user name %.20q... is longer than the 253 bytes of a RADIUS attribute", s.Name))
		case seen[name]:
			errs = append(errs, fmt.Errorf("two sites have the user name %q, which RADIUS compares without case", s.Name))
		case !utf8.Valid(s.Password):
			errs = append(errs, fmt.Errorf("the password of %q is not UTF-8", s.Name))
		}
		seen[name] = true
	}
	for _, s := range c.Upstream {
		if !s.Address.IsValid() || len(s.Secret) == 0 {
			errs = append(errs, fmt.Errorf("the RADIUS server %v needs an address and a secret", s.Address))
		}
	}
	if (len(c.Certificate) == 0) != (len(c.PrivateKey) == 0) {
		errs = append(errs, errors.New("a certificate needs its private key, and the other way round"))
	}
	return errors.Join(errs...)
}
