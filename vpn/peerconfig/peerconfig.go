// Package peerconfig writes what a customer types into the device at the other end of a site-to-site interface, so that
// it agrees with the gateway.
//
// The text is a start for a person who knows the device, and says what is left to him: where his certificates are, or
// what his interfaces are called. Algorithms that a device has no word for are left out and named; where nothing is left
// that both ends know, Render says so instead.
package peerconfig

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/vpn"
)

// Placeholders for secrets that Params do not have.
const (
	pskPlaceholder      = "<pre-shared key>"
	passwordPlaceholder = "<password>"
)

// defaultMTU fits into ESP in UDP over any path that carries 1500 octets, whatever the algorithms.
const defaultMTU = 1400

// Params are what both ends must agree on.
type Params struct {
	// Tenant and Name of the S2S interface at the gateway. The device's objects are named after it.
	Tenant, Name string
	// Gateway is the gateway's address that the tunnel uses. Site is the site's; invalid where it is unknown, or changes.
	Gateway, Site netip.Addr
	// GatewayID and SiteID are the IKE identities that the ends present, as [vpn.Interface] has them; with a pre-shared key
	// the addresses where empty.
	GatewayID, SiteID string
	// Method of authentication; a pre-shared key where empty.
	Method vpn.Method
	// Secret is the pre-shared key, or with EAP the site's password. A placeholder takes its place where it is empty.
	Secret vpn.Secret
	// UserName of the site when it dials with EAP.
	UserName string
	// Policy is what is negotiated.
	Policy vpn.Policy
	// Networks are the tenant's prefixes behind the gateway, SiteNetworks those of the site.
	Networks, SiteNetworks []netip.Prefix
	// MTU of the tunnel in octets, as the gateway's interface has it; 1400 where 0.
	MTU int

	own netip.Addr // the device's own address: behind NAT it differs from Site, and is its identity if nothing else is
}

// renderers write the text for one kind of device each.
var renderers = map[string]func(*text, Params, policy) error{
	"strongswan":   strongswan,
	"cisco-ios-xe": iosXE,
	"vyos":         vyos,
	"windows":      windows,
	"fortigate":    fortigate,
	"generic":      generic,
}

// Devices are the devices that Render knows, in alphabetical order.
func Devices() []string { return slices.Sorted(maps.Keys(renderers)) }

// Render writes the configuration of a device for the other end.
func Render(device string, p Params) (string, error) {
	render, known := renderers[device]
	if !known {
		return "", fmt.Errorf("unknown device %q: one of %s", device, strings.Join(Devices(), ", "))
	}
	p, err := p.complete()
	if err != nil {
		return "", fmt.Errorf("configuration for the peer of %s: %w", p.Name, err)
	}
	ike, err := parse(p.Policy.IKEProposals)
	if err == nil {
		err = checkIKE(ike)
	}
	if err != nil {
		return "", fmt.Errorf("configuration for the peer of %s: %w", p.Name, err)
	}
	esp, err := parse(p.Policy.ESPProposals)
	if err != nil {
		return "", fmt.Errorf("configuration for the peer of %s: %w", p.Name, err)
	}
	var t text
	if err := render(&t, p, policy{ike, esp}); err != nil {
		return "", fmt.Errorf("configuration for the peer of %s: %s: %w", p.Name, device, err)
	}
	return t.String(), nil
}

// complete fills in what was left out, and finds what would break a line of any device.
func (p Params) complete() (Params, error) {
	p.Method = cmp.Or(p.Method, vpn.PSK)
	p.MTU = cmp.Or(p.MTU, defaultMTU)
	p.Name = identifier(p.Name)
	if !p.Gateway.IsValid() {
		return p, errors.New("the gateway's address is unknown")
	}
	p.Gateway, p.Site = p.Gateway.Unmap(), p.Site.Unmap()
	p.own = p.Site
	if kind, id := identity(p.SiteID); kind == addressID {
		p.own, _ = netip.ParseAddr(id)
	}
	if p.Method == vpn.PSK {
		p.GatewayID = cmp.Or(p.GatewayID, p.Gateway.String())
		if p.SiteID == "" && p.Site.IsValid() {
			p.SiteID = p.Site.String()
		}
		if p.SiteID == "" {
			return p, errors.New("with a pre-shared key the site needs an address or an identity")
		}
	} else if p.GatewayID == "" {
		return p, errors.New("the gateway's identity is unknown: it has no certificate yet")
	}
	for what, s := range map[string]string{
		"name": p.Name, "identity": p.SiteID, "gateway's identity": p.GatewayID, "user name": p.UserName,
		"secret": string(p.Secret),
	} {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return p, fmt.Errorf("the %s has a control character, which no device takes", what)
		}
	}
	return p, nil
}

// errEAP is that a device has no way to log in as a site.
var errEAP = errors.New("it cannot dial as a site with EAP: use a pre-shared key or certificates")

// secret is the secret or its placeholder, quoted as the device wants it.
func (p Params) secret(quote func(string) string) string {
	switch {
	case len(p.Secret) > 0:
		return quote(string(p.Secret))
	case p.Method == vpn.EAP:
		return passwordPlaceholder
	}
	return pskPlaceholder
}

// address is an address, or a word for what stands in its place.
func address(a netip.Addr, unknown string) string {
	if a.IsValid() {
		return a.String()
	}
	return unknown
}

// text is a text that grows by lines.
type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// leftOut tells which proposals the device has no words for.
func (t *text) leftOut(comment, kind string, proposals []string) {
	if len(proposals) > 0 {
		t.line("%s Left out, since this device cannot say all of them, or not beside the others: %s proposals %s.", comment, kind,
			strings.Join(proposals, ", "))
	}
}
