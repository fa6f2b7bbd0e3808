package gateway

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/vpn"
	"bulkhead/vpn/peerconfig"
)

// PeerConfig writes what the device at the other end of a tenant's site-to-site interface needs: for one of
// [peerconfig.Devices]. The secret is in it only where it is asked for.
func (g *Gateway) PeerConfig(tenant, iface, device string, secret bool) (string, error) {
	plan, err := g.inForce()
	if err != nil {
		return "", err
	}
	t := plan.tenant(tenant)
	if t == nil {
		return "", fmt.Errorf("no tenant is called %q; declared are %v", tenant, plan.names())
	}
	t.policy.mu.Lock() // an interface may be disabled just now
	defer t.policy.mu.Unlock()
	site := slices.IndexFunc(t.tenant.SiteToSite, func(s configs.SiteToSite) bool { return s.Name == iface })
	if site < 0 {
		return "", fmt.Errorf("tenant %s has no site-to-site interface %q", tenant, iface)
	}
	return peerconfig.Render(device, t.peerParams(plan.policy.config.Gateway, t.tenant.SiteToSite[site], secret))
}

// peerParams are what both ends of a tunnel must agree on.
func (t *TenantPlan) peerParams(g *configs.Gateway, s configs.SiteToSite, secret bool) peerconfig.Params {
	i := tunnel(g, t.tenant, s, 0)
	p := peerconfig.Params{
		Tenant: t.Name, Name: s.Name, Gateway: s.SourceAddress, Site: s.Destination.Address,
		GatewayID: i.LocalID, SiteID: i.RemoteID, Method: i.Method, UserName: i.UserName, Policy: i.Policy,
		Networks: t.networks(), SiteNetworks: t.Sites[s.Name],
	}
	for _, l := range t.Compartment.Links {
		if l.Kind == compartments.XFRM && l.Name == s.Name {
			p.MTU = l.MTU
		}
	}
	if own := g.IKE.Certificate; p.GatewayID == "" && p.Method != vpn.PSK && len(own) > 0 {
		p.GatewayID = subject(own[0])
	}
	if secret {
		p.Secret = vpn.Secret(s.Authentication.SharedSecret.Reveal())
		if s.Authentication.Method == configs.AuthEAP {
			p.Secret = vpn.Secret(s.Authentication.Password.Reveal())
		}
	}
	return p
}

// networks are the prefixes that the tenant's sites reach through the gateway.
func (t *TenantPlan) networks() []netip.Prefix {
	return slices.Clone(t.Compartment.VirtualPrefixes)
}

// subject is a certificate's subject as strongSwan writes it: in the order of the certificate, which RFC 4514 turns round.
func subject(c *x509.Certificate) string {
	var parts []string
	for _, rdn := range c.Subject.ToRDNSequence() {
		parts = append(parts, pkix.RDNSequence{rdn}.String())
	}
	return strings.Join(parts, ", ")
}
